/* The floor of a fan-out: an epoll loop that sends what one connection says to all others, one send each.
 *
 * Each connection sends one line to begin with (ignored). Then a connection that sends 'P' followed by four
 * bytes (big endian) n makes the server send n bytes, framed as one WebSocket text frame, to every connection.
 * Prints its port. cc -O2 floor.c -o floor
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 20000
static int open_fds[MAX], count;

int main(void) {
    struct rlimit limit = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &limit);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 4096);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    int loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    static char in[65536], out[65536];
    for (;;) {
        int found = epoll_wait(loop, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int fresh = accept(listener, 0, 0);
                setsockopt(fresh, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                event.events = EPOLLIN;
                event.data.fd = fresh;
                epoll_ctl(loop, EPOLL_CTL_ADD, fresh, &event);
                open_fds[count++] = fresh;
                continue;
            }
            ssize_t got = read(fd, in, sizeof in);
            if (got <= 0) {
                close(fd);
                for (int j = 0; j < count; j++)
                    if (open_fds[j] == fd) open_fds[j--] = open_fds[--count];
                continue;
            }
            for (ssize_t at = 0; at + 5 <= got; at++) {
                if (in[at] != 'P') continue;
                uint32_t length;
                memcpy(&length, in + at + 1, 4);
                length = ntohl(length);
                at += 4;
                if (length < 126 || length > 60000) continue;
                out[0] = (char)0x81;
                out[1] = 126;
                out[2] = (char)(length >> 8);
                out[3] = (char)length;
                memset(out + 4, 'x', length);
                for (int j = 0; j < count; j++) send(open_fds[j], out, length + 4, MSG_DONTWAIT | MSG_NOSIGNAL);
            }
        }
    }
}
