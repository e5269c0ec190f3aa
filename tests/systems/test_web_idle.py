"""Ten thousand connections that say nothing: they are kept, they cost little, and the rest is served."""

import contextlib
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.drill

IDLE = 10_000
MAX_BYTES_EACH = 8 * 1024
SERVER = """
import asyncio, sys, uvloop
from twelvefold.web.application import Application
from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind
from twelvefold.web.server import Server, raise_file_limit

async def main():
    raise_file_limit()
    server = Server(Application(version="0"), sockets=[bind("127.0.0.1", 0)],
                    limits=Limits(max_connections=int(sys.argv[1]), drain_seconds=1))
    stop = asyncio.Event()
    await server.start()
    print(server.port, flush=True)
    asyncio.get_running_loop().add_reader(0, stop.set)
    await stop.wait()
    await server.stop()

uvloop.run(main())
"""
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n"


@contextlib.contextmanager
def serving(max_connections):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(max_connections)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def ask(connection):
    connection.sendall(REQUEST)
    return connection.recv(4096).split(b"\r\n", 1)[0]  # head and body come in one segment


@pytest.fixture
def many():
    """How many connections this process may open; the limit is put back afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(IDLE + 500, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield min(IDLE, wanted - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections_cost_little_and_disturb_nobody(many):
    if many < IDLE:
        pytest.skip(f"this process may open {many} files only; raise it with: ulimit -Hn {IDLE + 1000}")
    with serving(IDLE + 100) as (process, port), contextlib.ExitStack() as stack:
        before = resident_bytes(process.pid)
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(many)]
        assert all(ask(connection) == b"HTTP/1.1 200 OK" for connection in idle)
        each = (resident_bytes(process.pid) - before) / many
        assert each <= MAX_BYTES_EACH, f"{each:.0f} bytes a connection"
        with socket.create_connection(("127.0.0.1", port), timeout=5) as late:
            assert ask(late) == b"HTTP/1.1 200 OK"
        assert all(ask(connection) == b"HTTP/1.1 200 OK" for connection in idle[::100])


def test_one_connection_too_many_is_told_why():
    with serving(50) as (_, port), contextlib.ExitStack() as stack:
        kept = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(50)]
        assert all(ask(connection) == b"HTTP/1.1 200 OK" for connection in kept)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as refused:
            said = refused.recv(4096)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in said
        assert b'"code":"overloaded"' in said
        assert all(ask(connection) == b"HTTP/1.1 200 OK" for connection in kept)
