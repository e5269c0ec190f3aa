"""Event streams over a real connection."""

import asyncio

import pytest
from litestar import Request, Router, get
from litestar.response import Stream

from twelvefold.web.application import Application
from twelvefold.web.hub import Hub, event_block
from twelvefold.web.mount import Mount
from twelvefold.web.server import Server
from twelvefold.web.sse import EventStreams

GET = b"GET /v1/feed HTTP/1.1\r\nHost: s\r\nAccept: text/event-stream\r\n%s\r\n"


@pytest.fixture
async def hub():
    return Hub(asyncio.get_running_loop())


@pytest.fixture
async def streams(hub):
    return EventStreams(hub, heartbeat_seconds=0.05, max_backlog_bytes=100_000)


@pytest.fixture
async def server(serve, hub, streams):
    @get("/")
    async def feed(request: Request) -> Stream:
        after = int(request.headers.get("last-event-id", "0"))

        async def replay():
            return [event_block(b"%d" % n, event="n", event_id=str(n)) for n in range(after + 1, 4)]

        return streams.open("feed", replay=replay).response()

    app = Application([Mount(name="feed", routers=(Router("/v1/feed", route_handlers=[feed]),))], version="1")
    return await serve(app, hub=hub, on_drain=[streams.drain])


async def events(client, count):
    """The next `count` events, without heartbeats; and how many heartbeats came between."""
    found, heartbeats = [], 0
    async with asyncio.timeout(5):
        while len(found) < count:
            await client.reader.readline()  # a chunk's size
            while block := await client.reader.readline():
                if block == b"\r\n":
                    break
                lines = (
                    block + await client.reader.readuntil(b"\n\n")
                    if not block.startswith((b":", b"retry"))
                    else block
                )
                if block.startswith(b":"):
                    heartbeats += 1
                    await client.reader.readline()
                elif block.startswith(b"retry"):
                    await client.reader.readline()
                else:
                    found.append(lines)
    return found, heartbeats


async def opened(connect, server, more=b""):
    client = await connect(server)
    await client.send(GET % more)
    block = await client.reader.readuntil(b"\r\n\r\n")
    assert b"HTTP/1.1 200" in block
    assert b"text/event-stream" in block
    assert b"cache-control: no-store" in block
    return client


async def test_what_was_missed_comes_first_and_then_what_happens(connect, server, hub, eventually):
    client = await opened(connect, server, b"Last-Event-ID: 1\r\n")
    await eventually(lambda: hub.listeners("feed") == 1)
    hub.publish("feed", b'{"a":4}', event="n", event_id="4")
    hub.publish("feed", b'{"a":5}', event="n", event_id="5")
    found, _ = await events(client, 4)
    assert found == [
        b"id: 2\nevent: n\ndata: 2\n\n", b"id: 3\nevent: n\ndata: 3\n\n",
        b'id: 4\nevent: n\ndata: {"a":4}\n\n', b'id: 5\nevent: n\ndata: {"a":5}\n\n',
    ]  # fmt: skip


async def test_silence_is_broken_by_comments(connect, server, hub, eventually):
    client = await opened(connect, server)
    await events(client, 3)
    async with asyncio.timeout(5):
        for _ in range(2):
            await client.reader.readuntil(b": still here\n")
        hub.publish("feed", b"1")
        await client.reader.readuntil(b"data: 1\n")


async def test_a_client_that_has_gone_is_noticed(connect, server, hub, streams, eventually):
    client = await opened(connect, server)
    await eventually(lambda: hub.listeners("feed") == 1)
    client.writer.transport.abort()
    await eventually(lambda: hub.listeners("feed") == 0 and len(streams) == 0)


async def test_a_client_that_does_not_read_is_cut_at_the_bound(connect, server, hub, streams, eventually):
    slow = await opened(connect, server)
    await eventually(lambda: hub.listeners("feed") == 1)
    slow.writer.transport.pause_reading()
    stream = next(iter(streams._open))
    while hub.listeners("feed"):
        hub.publish("feed", b"x" * 20_000)
        await asyncio.sleep(0)
        assert stream._backlog_bytes <= 100_000
        if stream._ended:
            slow.writer.transport.resume_reading()
            break
    said = b""
    async with asyncio.timeout(10):
        while not said.endswith(b"\r\n0\r\n\r\n"):
            said = (said + await slow.reader.read(1 << 20))[-100:]
    await eventually(lambda: hub.listeners("feed") == 0)


async def test_the_drain_ends_streams_in_order(connect, server, hub, eventually):
    client = await opened(connect, server)
    await eventually(lambda: hub.listeners("feed") == 1)
    hub.publish("feed", b"last", event="n", event_id="9")
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await Server.stop(server)
    said = await client.rest()
    assert b"data: last" in said
    assert said.endswith(b"0\r\n\r\n")
    assert asyncio.get_running_loop().time() - began < 5
