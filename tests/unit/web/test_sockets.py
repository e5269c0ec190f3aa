"""WebSockets end to end: a third-party client, and raw bytes where a client would never go."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import EngineUnavailableError, ForbiddenError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web import sockets
from twelvefold.web.application import Application
from twelvefold.web.frames import BINARY, PING, TEXT, Decoder, encode
from twelvefold.web.guard import Guard
from twelvefold.web.hub import Hub
from twelvefold.web.socket_routes import Accepted, SocketHandler, SocketRoute

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SHAKE = (
    "GET {path} HTTP/1.1\r\nHost: s.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{more}\r\n"
)


def shake(path="/echo", *, key=KEY, version="13", more=""):
    return SHAKE.format(path=path, key=key, version=version, more=more).encode()


def masked(opcode, payload=b"", *, fin=True):
    mask = b"\x37\xfa\x21\x3d"
    size = len(payload)
    head = bytes((0x80 * fin | opcode, 0x80 | size)) if size < 126 else (
        bytes((0x80 * fin | opcode, 0xFE)) + size.to_bytes(2))  # fmt: skip
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Echo(SocketHandler):
    def __init__(self, log):
        self.log = log

    def opened(self, socket):
        self.log.append("opened")

    def received(self, socket, message):
        self.log.append(message)
        if message == "boom":
            raise RuntimeError("boom")
        if message == "bye":
            socket.close(4001, "as you wish")
        elif isinstance(message, str):
            socket.send_text(message.encode())
        else:
            socket.send(encode(BINARY, message))

    def closed(self, socket, code):
        self.log.append(("closed", code))


class Listener(SocketHandler):
    """Listens to the channels named in the query."""

    def __init__(self, hub, names):
        self.hub, self.names = hub, names

    def opened(self, socket):
        for name in self.names:
            self.hub.join(socket, name)


class Keys:
    async def principal_of_key(self, key):
        scopes = {"good": frozenset({"room:read"}), "narrow": frozenset()}.get(key)
        return (
            None if scopes is None else Principal(tenant_id=TenantId(1), key_id=1, scopes=scopes, tier="free")
        )

    async def principal_of_session(self, token):
        return await self.principal_of_key(token)


@pytest.fixture
async def log():
    return []


@pytest.fixture
async def hub():
    return Hub(asyncio.get_running_loop())


@pytest.fixture
async def app(log, hub):
    async def echo(handshake):
        chosen = "b" if "b" in handshake.subprotocols else ""
        return Accepted(handler=Echo(log), subprotocol=chosen, max_message_bytes=1000)

    async def listen(handshake):
        return Accepted(handler=Listener(hub, handshake.query["in"].split(",")), max_backlog_bytes=200_000)

    async def never(handshake):
        await asyncio.Event().wait()

    async def forbidden(handshake):
        raise ForbiddenError(f"not {handshake.params['name']}")

    async def broken(handshake):
        raise RuntimeError("secret detail")

    async def room(handshake):
        return Echo([])

    routes = (
        SocketRoute("/echo", echo), SocketRoute("/listen", listen), SocketRoute("/never", never),
        SocketRoute("/no/{name}/live", forbidden), SocketRoute("/broken", broken),
        SocketRoute("/room", room, scope="room:read"),
    )  # fmt: skip
    return Application(sockets=routes, hub=hub, guard=Guard(Keys(), ManualClock()), version="0")


@pytest.fixture
async def server(serve, app, hub):
    return await serve(app, hub=hub)


@pytest.fixture
def url(server):
    return f"ws://127.0.0.1:{server.port}"


async def opened(connect, server, path="/echo"):
    client = await connect(server)
    await client.send(shake(path))
    status, headers, _ = await client.response(head=True)
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    return client


async def close_code(client):
    """The code of the close frame that ends what the server says."""
    said = await client.rest()
    assert said[-2 - 125 :].rfind(b"\x88") >= 0, said
    at = said.rfind(b"\x88")
    return int.from_bytes(said[at + 2 : at + 4])


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


async def test_compression_is_not_offered(url):
    async with ws_connect(f"{url}/echo", compression="deflate") as client:
        assert client.protocol.extensions == []
        await client.send("a" * 500)
        assert await client.recv() == "a" * 500


async def test_a_subprotocol_is_agreed_on(url):
    async with ws_connect(f"{url}/echo", subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "b"


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


async def test_the_drain_tells_clients_to_come_back(url, server):
    async with ws_connect(f"{url}/echo") as client:
        stopping = asyncio.ensure_future(server.stop())
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd.code == 1012
    await stopping


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


# -- the hub -----------------------------------------------------------------------------------


async def test_all_messages_of_a_turn_leave_in_one_write_in_order(url, hub, eventually):
    async with ws_connect(f"{url}/listen?in=a,b") as client:
        await eventually(lambda: hub.listeners("b") == 1)
        before = hub.counts
        for index in range(5):
            hub.publish("a", b"%d" % index)
        hub.publish("b", b"5")
        assert [await client.recv() for _ in range(6)] == ["0", "1", "2", "3", "4", "5"]
        assert hub.counts.deliveries - before.deliveries == 6
        assert hub.counts.writes - before.writes == 1


async def test_who_joins_later_gets_nothing_earlier_and_who_leaves_gets_all_before(connect, server, hub):
    first = await opened(connect, server, "/listen?in=a")
    socket = next(iter(server.hall.connections))
    second = await opened(connect, server, "/listen?in=b")
    other = next(c for c in server.hall.connections if c is not socket)
    hub.publish("a", b"1")
    hub.join(other, "a")
    hub.publish("a", b"2")
    hub.leave(socket, "a")
    hub.publish("a", b"3")
    await asyncio.sleep(0)
    socket.close()
    other.close()
    assert (await first.reader.readuntil(b"\x88"))[:-1] == encode(TEXT, b"1") + encode(TEXT, b"2")
    assert (await second.reader.readuntil(b"\x88"))[:-1] == encode(TEXT, b"2") + encode(TEXT, b"3")


async def test_first_and_last_listeners_are_reported(connect, serve, app, log):
    hub = Hub(asyncio.get_running_loop(), on_first=lambda n: log.append(("first", n)),
              on_last=lambda n: log.append(("last", n)))  # fmt: skip

    class Nobody:
        writer = staticmethod(lambda data: None)
        channels = ()

    one, two = Nobody(), Nobody()
    hub.join(one, "a")
    hub.join(one, "a")
    hub.join(two, "a")
    hub.leave(one, "a")
    hub.drop(two)
    hub.drop(two)
    assert log == [("first", "a"), ("last", "a")]
    assert hub.publish("a", b"1") == 0
    assert hub.counts.channels == 0


async def test_channels_of_one_connection_are_bounded(hub):
    class Nobody:
        writer = staticmethod(lambda data: None)
        channels = ()

    nobody = Nobody()
    for index in range(1000):
        hub.join(nobody, str(index))
    with pytest.raises(Exception, match="1000"):
        hub.join(nobody, "one too many")


async def test_a_slow_reader_is_cut_and_nobody_else_notices(connect, server, hub, eventually):
    slow = await opened(connect, server, "/listen?in=a")
    slow_socket = next(iter(server.hall.connections))
    slow.writer.transport.pause_reading()
    quick = await opened(connect, server, "/listen?in=a")
    got = 0
    count = 0

    async def read():
        nonlocal got
        decoder_bytes = b""
        while True:
            decoder_bytes += await quick.reader.read(1 << 20)
            while len(decoder_bytes) >= 4 + 50_000:
                decoder_bytes = decoder_bytes[4 + 50_000 :]
                got += 1

    reading = asyncio.ensure_future(read())
    while slow_socket.channels:
        hub.publish("a", b"x" * 50_000)
        count += 1
        await eventually(lambda: got == count)  # noqa: B023  # awaited in this very turn
        assert slow_socket.transport.get_write_buffer_size() <= 200_000 + 50_004
    assert hub.listeners("a") == 1
    hub.publish("a", b"x" * 50_000)
    await eventually(lambda: got == count + 1)
    reading.cancel()
    slow.writer.transport.resume_reading()
    said = b""
    async with asyncio.timeout(5):
        while not said.endswith(b"connect again and catch up"):
            said = (said + await slow.reader.read(1 << 20))[-200:]
    assert int.from_bytes(said[said.rfind(b"\x88") + 2 :][:2]) == 1013


async def test_a_flood_of_pings_from_a_client_that_reads_no_answer_costs_no_memory(
    connect, server, eventually
):
    client = await opened(connect, server)
    (socket,) = server.hall.connections
    client.writer.transport.pause_reading()
    flood = masked(PING, b"x" * 125) * 1_000
    waiting = 0
    for _ in range(100):  # 13 MB of answers, if they were all kept
        await client.send(flood)
        waiting = max(waiting, socket.transport.get_write_buffer_size())
    assert waiting < 1_000_000
    quick = await opened(connect, server)
    await quick.send(masked(PING, b"me"))
    assert await quick.reader.readexactly(4) == encode(0xA, b"me")


async def test_a_reader_that_catches_up_stays(connect, server, hub, eventually):
    client = await opened(connect, server, "/listen?in=a")
    socket = next(iter(server.hall.connections))
    client.writer.transport.pause_reading()
    published = 0
    while socket.writer == socket.transport.write:
        hub.publish("a", b"x" * 50_000)
        published += 1
        await asyncio.sleep(0)
    client.writer.transport.resume_reading()
    await client.reader.readexactly(published * 50_004)
    await eventually(lambda: socket.writer == socket.transport.write)
    hub.publish("a", b"again")
    assert await client.reader.readexactly(7) == encode(TEXT, b"again")


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
