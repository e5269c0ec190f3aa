"""A web process: its port, and its end."""

import asyncio
import os
import signal
import socket

import pytest

from twelvefold.kernel.errors import ConfigurationError
from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind, reserve
from twelvefold.web.server import Server, raise_file_limit

GET = b"GET /%s HTTP/1.1\r\nHost: s\r\n\r\n"


class App:
    def __init__(self):
        self.go = asyncio.Event()
        self.waiting = 0
        self.done = 0

    async def __call__(self, scope, receive, send):
        if scope["path"] == "/wait":
            self.waiting += 1
            await self.go.wait()
        elif scope["path"] == "/never":
            self.waiting += 1
            await asyncio.Event().wait()
        self.done += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def app():
    return App()


async def test_a_port_that_is_taken_is_named_with_the_fix():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* taken .*--port") as caught:
            reserve("127.0.0.1", port)
        assert caught.value.field == "server.port"


async def test_a_host_that_is_not_ours_is_named():
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        reserve("192.0.2.1", 0)
    with pytest.raises(ConfigurationError, match=r"server\.host"):
        reserve("no such host", 0)


async def test_several_servers_share_a_reserved_port(app, connect):
    with reserve("127.0.0.1", 0) as reservation:
        port = reservation.getsockname()[1]
        servers = [
            Server(app, sockets=[bind("127.0.0.1", port)], limits=Limits(drain_seconds=0.5)) for _ in range(2)
        ]
        for server in servers:
            await server.start()
        for _ in range(40):
            client = await connect(servers[0])
            await client.send(GET % b"a")
            assert (await client.response())[0] == 200
        assert all(server.connections for server in servers)
        for server in servers:
            await server.stop()
    with reserve("127.0.0.1", port):
        pass


async def test_the_drain_finishes_what_was_accepted_and_takes_no_more(app, connect, eventually):
    server = Server(app, sockets=[bind("127.0.0.1", 0)], limits=Limits(drain_seconds=5))
    await server.start()
    busy, piped, idle = [await connect(server) for _ in range(3)]
    await idle.send(GET % b"a")
    assert (await idle.response())[0] == 200
    await busy.send(GET % b"wait")
    await piped.send(GET % b"wait" + GET % b"a")
    await eventually(lambda: app.waiting == 2)
    stopping = asyncio.ensure_future(server.stop())
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(server)
    assert not stopping.done()
    app.go.set()
    assert (await busy.response())[0] == 200
    assert await busy.rest() == b""
    assert [(await piped.response())[0] for _ in range(2)] == [200, 200]
    await stopping
    assert app.done == 4


async def test_a_request_that_never_ends_is_cut_at_the_deadline(app, connect, eventually):
    server = Server(app, sockets=[bind("127.0.0.1", 0)], limits=Limits(drain_seconds=0.1))
    await server.start()
    client = await connect(server)
    await client.send(GET % b"never")
    await eventually(lambda: app.waiting == 1)
    await asyncio.wait_for(server.stop(), 5)
    assert b"200" not in await client.rest()


async def test_connections_that_wait_to_be_accepted_are_served(app, connect):
    server = Server(app, sockets=[bind("127.0.0.1", 0)], limits=Limits(drain_seconds=2))
    await server.start()
    clients = [await connect(server) for _ in range(50)]
    for client in clients:
        client.writer.write(GET % b"a")
    await asyncio.gather(server.stop(), *(client.response() for client in clients))
    assert app.done == 50


async def test_sigterm_drains(app, eventually):
    server = Server(app, sockets=[bind("127.0.0.1", 0)], limits=Limits(drain_seconds=1))
    serving = asyncio.ensure_future(server.serve())
    await eventually(lambda: server.hall)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)
    assert server.hall is None


async def test_connections_are_bounded_by_the_files_a_process_may_open(app):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
        server = Server(
            app, sockets=[bind("127.0.0.1", 0)], limits=Limits(max_connections=50_000, drain_seconds=0.5)
        )
        await server.start()
        assert server.hall.limits.max_connections == 1000 - 256
        await server.stop()
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(hard, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_hot_answers_are_timed_by_sample_and_cost_nothing_else(serve, connect, app):
    response = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"

    class Context:
        def answer(self, segment):
            return response if segment == b"hot" else None

        def start(self, segment, done):
            return False

    class Lane:
        def context(self, host, tail, client):
            return Context()

    server = await serve(app, lane=Lane())
    client = await connect(server)
    timings = server.hall.timings

    async def hit(agent=0):
        await client.send(b"GET /hot HTTP/1.1\r\nHost: s\r\nA: %d\r\n\r\n" % agent)
        assert (await client.response())[0] == 302

    for agents in ((0, 0), (0, 1, 0, 1)):  # one kind of headers, then several
        for agent in agents:
            await hit(agent)
        before = sum(timings.sampled)
        connection = next(iter(server.hall.connections))
        answer, hot = connection._answer, connection._hot
        assert connection.time_next()
        await hit()
        assert sum(timings.sampled) == before + 1
        assert (connection._answer, connection._hot) == (answer, hot)
        assert connection._write == connection.transport.write
        await hit()
        assert sum(timings.sampled) == before + 1
