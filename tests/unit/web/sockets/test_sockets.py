"""WebSockets end to end: a third-party client, and raw bytes where a client would never go."""

import asyncio
import contextlib

import msgspec
import pytest
from tests.unit.web.sockets.endpoints import (
    close_code,
    masked,
    opened,
)
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from twelvefold.web.frames import BINARY, PING, TEXT, Decoder, encode


async def test_a_client_echoes_text_and_binary_of_all_sizes(url, log):
    async with ws_connect(f"{url}/echo", compression=None) as client:
        for message in ("", "hällo", "x" * 1000, b"", b"\x00\xff" * 100):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["frag", "men", "ted"])
        assert await client.recv() == "fragmented"
        await (await client.ping(b"are you there"))
    assert log[0] == "opened"
    assert log[-1] == ("closed", 1000)


async def test_the_server_can_close_with_a_code_and_a_reason(url, log):
    async with ws_connect(f"{url}/echo") as client:
        await client.send("bye")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "as you wish")
    assert log[-1] == ("closed", 4001)


async def test_a_handler_that_fails_closes_its_own_socket_and_no_other(url, log):
    async with ws_connect(f"{url}/echo") as other, ws_connect(f"{url}/echo") as client:
        await client.send("boom")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd.code == 1011
        assert "boom" not in caught.value.rcvd.reason
        await other.send("fine")
        assert await other.recv() == "fine"


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x81\x02hi", 1002), (masked(TEXT, b"\xff"), 1007), (masked(BINARY, b"a" * 1001), 1009),
     (masked(3), 1002), (masked(8, b"\x03\xed"), 1002), (masked(8, b"\x03"), 1002)],
)  # fmt: skip
async def test_a_client_that_breaks_the_protocol_is_told_the_code(connect, server, log, frame, code):
    client = await opened(connect, server)
    await client.send(frame)
    assert await close_code(client) == code
    assert log[-1] == ("closed", code)


async def test_a_close_is_answered_with_its_code(connect, server, log):
    client = await opened(connect, server)
    await client.send(masked(8, (3000).to_bytes(2) + b"done") + masked(TEXT, b"too late"))
    assert await client.rest() == b"\x88\x02" + (3000).to_bytes(2)
    assert log == ["opened", ("closed", 3000)]
    client = await opened(connect, server)
    await client.send(masked(8))
    assert await client.rest() == b"\x88\x00"
    assert log[-1] == ("closed", 1005)


async def test_a_ping_is_answered_with_its_payload(connect, server):
    client = await opened(connect, server)
    await client.send(masked(PING, b"x" * 125))
    assert await client.reader.readexactly(127) == encode(0xA, b"x" * 125)


async def test_a_connection_that_breaks_is_told_to_the_handler_once(connect, server, log, eventually):
    client = await opened(connect, server)
    client.writer.transport.abort()
    await eventually(lambda: server.connections == 0)
    assert log == ["opened", ("closed", 1006)]


async def test_a_silent_client_is_pinged_and_then_dropped(connect, server, log, eventually):
    client = await opened(connect, server)
    socket = next(iter(server.hall.connections))
    socket.sweep(now := socket._hall.now)
    socket.sweep(now + 26)
    assert await client.reader.readexactly(2) == encode(PING, b"")
    await client.send(masked(0xA))
    await eventually(lambda: socket.heard)
    socket.sweep(now + 27)
    socket.sweep(now + 60)
    socket.sweep(now + 78)
    await eventually(lambda: server.connections == 0)
    assert log[-1] == ("closed", 1006)


async def test_a_client_that_never_answers_our_close_is_dropped(connect, server, log, eventually):
    client = await opened(connect, server)
    await client.send(masked(TEXT, b"bye"))
    await eventually(lambda: "bye" in log)
    socket = next(iter(server.hall.connections))
    socket.sweep(socket._hall.now + 6)
    await eventually(lambda: server.connections == 0)
    assert log[-1] == ("closed", 1006)


async def test_a_client_that_stays_after_its_fault_was_told_is_heard_no_more_and_dropped(
    connect, server, log, eventually
):
    client = await opened(connect, server)
    await client.send(masked(3) + masked(TEXT, b"still here"))
    assert await close_code(client) == 1002
    socket = next(iter(server.hall.connections))
    await client.send(masked(TEXT, b"and here") * 1000)
    socket.sweep(socket._hall.now + 6)
    await eventually(lambda: server.connections == 0)
    assert log == ["opened", ("closed", 1002)]


async def test_the_drain_tells_clients_to_come_back(url, server):
    async with ws_connect(f"{url}/echo") as client:
        stopping = asyncio.ensure_future(server.stop())
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd.code == 1012
    await stopping


async def test_the_same_endpoints_work_on_another_asgi_server(app, hub, url, log, eventually):
    import uvicorn

    from twelvefold.web.ports import bind

    sock = bind("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, ws="websockets-sansio", lifespan="off")
    theirs = uvicorn.Server(config)
    theirs.capture_signals = contextlib.nullcontext
    serving = asyncio.ensure_future(theirs.serve(sockets=[sock]))
    await eventually(lambda: theirs.started)
    base = f"ws://127.0.0.1:{sock.getsockname()[1]}"
    async with ws_connect(f"{base}/echo") as client:
        await client.send("hi")
        assert await client.recv() == "hi"
        await client.send(b"\x00")
        assert await client.recv() == b"\x00"
        await client.send("bye")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd.code == 4001
    assert log[-1] == ("closed", 4001)
    async with ws_connect(f"{base}/listen?in=z") as client:
        await eventually(lambda: hub.listeners("z") == 1)
        hub.publish("z", msgspec.json.encode({"a": 1}))
        assert await client.recv() == '{"a":1}'
    await eventually(lambda: hub.listeners("z") == 0)
    with pytest.raises(InvalidStatus):
        await ws_connect(f"{base}/nowhere")
    theirs.should_exit = True
    await serving


def test_an_idle_decoder_holds_nothing():
    decoder = Decoder(100)
    decoder.feed(masked(TEXT, b"a"))
    assert decoder._buffer is decoder._message is decoder._utf8 is None
