"""Who becomes a WebSocket, and what is said to who does not."""

import asyncio
import contextlib
import json

import pytest
from tests.unit.web.sockets.endpoints import (
    Echo,
    Keys,
    masked,
    shake,
)
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.web import sockets
from twelvefold.web.application import Application
from twelvefold.web.frames import TEXT, encode
from twelvefold.web.guard import Guard
from twelvefold.web.socket_routes import SocketRoute


async def test_compression_is_not_offered(url):
    async with ws_connect(f"{url}/echo", compression="deflate") as client:
        assert client.protocol.extensions == []
        await client.send("a" * 500)
        assert await client.recv() == "a" * 500


async def test_a_subprotocol_is_agreed_on(url):
    async with ws_connect(f"{url}/echo", subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "b"


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/no/such/live", None, 403), ("/nowhere", None, 404), ("/broken", None, 500), ("/room", None, 401),
     ("/room", "narrow", 403), ("/room", "wrong", 401)],
)  # fmt: skip
async def test_a_refused_handshake_is_answered_with_a_problem(url, path, key, status):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with pytest.raises(InvalidStatus) as caught:
        await ws_connect(f"{url}{path}", additional_headers=headers)
    assert caught.value.response.status_code == status
    told = json.loads(caught.value.response.body)
    assert told["status"] == status
    assert told["request_id"] == caught.value.response.headers["x-request-id"]
    assert "secret detail" not in caught.value.response.body.decode()


async def test_a_key_with_the_scope_gets_in_and_a_cookie_only_from_our_own_page(url, server):
    async with ws_connect(f"{url}/room", additional_headers={"authorization": "Bearer good"}):
        pass
    cookie = {"cookie": "twelvefold_session=good"}
    async with ws_connect(f"{url}/room", additional_headers=cookie, origin=f"http://127.0.0.1:{server.port}"):
        pass
    for origin in ("http://evil.example", None):
        with pytest.raises(InvalidStatus) as caught:
            await ws_connect(f"{url}/room", additional_headers=cookie, origin=origin)
        assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(shake(version="8"), 426), (shake(key="short"), 400), (shake(key="!" * 24), 400),
     (shake().replace(b"Sec-WebSocket-Key", b"X-Nothing"), 400), (shake(more="Content-Length: 2\r\n") + b"hi", 400),
     (shake().replace(b"GET", b"POST"), 404), (shake().replace(b"HTTP/1.1", b"HTTP/1.0"), 404),
     (b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n" + shake(), 200)],
)  # fmt: skip
async def test_a_handshake_that_is_not_one_is_refused(connect, server, request_bytes, status):
    client = await connect(server)
    await client.send(request_bytes)
    answered, headers, _ = await client.response()
    assert answered == status
    if status == 426:
        assert headers["sec-websocket-version"] == "13"
    if status == 200:  # an upgrade behind a request that is still being answered
        assert (await client.response())[0] == 400


async def test_frames_may_follow_the_handshake_at_once(connect, server):
    client = await connect(server)
    await client.send(shake() + masked(TEXT, b"early") + masked(TEXT, b"bird"))
    assert (await client.response(head=True))[0] == 101
    assert await client.reader.readexactly(7) == encode(TEXT, b"early")
    assert await client.reader.readexactly(6) == encode(TEXT, b"bird")


async def test_the_handshake_and_frames_may_come_byte_by_byte(connect, server):
    client = await connect(server)
    for byte in shake() + masked(TEXT, b"slow"):
        await client.send(bytes((byte,)))
    assert (await client.response(head=True))[0] == 101
    assert await client.reader.readexactly(6) == encode(TEXT, b"slow")


async def test_a_client_that_leaves_during_the_handshake_leaves_nothing_behind(connect, server, eventually):
    client = await connect(server)
    await client.send(shake("/never"))
    await eventually(lambda: any(isinstance(c, sockets.WebSocket) for c in server.hall.connections))
    socket = next(iter(server.hall.connections))
    client.writer.transport.abort()
    await eventually(lambda: server.connections == 0)
    assert socket._task is None or socket._task.cancelling()


async def test_a_handshake_that_takes_too_long_is_given_up(connect, server, monkeypatch):
    monkeypatch.setattr(sockets, "HANDSHAKE_SECONDS", 0.02)
    client = await connect(server)
    await client.send(shake("/never"))
    assert (await client.response())[0] == 503


async def test_what_a_client_sends_before_our_answer_is_bounded(connect, server, eventually):
    client = await connect(server)
    await client.send(shake("/never"))
    with contextlib.suppress(OSError):
        await client.send(b"x" * 200_000)
    await eventually(lambda: server.connections == 0)


@pytest.mark.parametrize("trouble", [None, EngineUnavailableError("database", "away")])
async def test_a_revoked_key_loses_the_sockets_it_opened_and_an_engine_that_is_away_costs_nobody_one(
    serve, trouble, eventually
):
    asked = asyncio.Event()

    class Revocable(Keys):
        answers = None

        async def principal_of_key(self, key):
            if self.answers is None:
                return await super().principal_of_key(key)
            asked.set()
            if isinstance(self.answers, Exception):
                raise self.answers
            return None

    async def room(_handshake):
        return Echo([])

    keys, clock = Revocable(), ManualClock()
    app = Application(
        sockets=(SocketRoute("/room", room, scope="room:read"),), guard=Guard(keys, clock), version="0"
    )
    server = await serve(app)
    address = f"ws://127.0.0.1:{server.port}/room"
    async with ws_connect(address, additional_headers={"authorization": "Bearer good"}) as client:
        (socket,) = server.hall.connections
        keys.answers = trouble or "nobody"
        clock.advance(ms=2_000)
        socket.sweep(socket._hall.now + sockets.RECHECK_SECONDS + 1)
        async with asyncio.timeout(5):
            await asked.wait()
        if trouble is None:
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd.code == 1008
        else:
            await eventually(lambda: socket._task is None)
            await client.send("still here")
            assert await client.recv() == "still here"


async def test_the_http_connection_is_gone_after_the_handshake(connect, server):
    import gc
    import weakref

    gc.disable()
    try:
        client = await connect(server)
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n")
        await client.response()
        http = weakref.ref(next(iter(server.hall.connections)))
        await client.send(shake())
        await client.response(head=True)
        assert http() is None
    finally:
        gc.enable()
