"""The fast lane and the ordinary path are one server: same bytes, same order, whatever the packets."""

import asyncio
import contextlib
import random
import socket
import struct

import pytest
from tests.unit.web.connection.application import only

from twelvefold.web.connection import BODY
from twelvefold.web.ports import bind
from twelvefold.web.server import Server


def redirect(target):
    return b"HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % target


CODES = {b"hot": redirect(b"https://a.example/hot"), b"other": redirect(b"https://b.example/other")}
STORED = {b"cold": redirect(b"https://c.example/cold")}
GET = b"GET /%s HTTP/1.1\r\nHost: s.example\r\nUser-Agent: t\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: s.example\r\nContent-Length: %d\r\n\r\n%s"


class Codes:
    """A lane over a dict; codes in `STORED` are answered when the test says so."""

    def __init__(self):
        self.clicks = []
        self.tails = []
        self.started = []

    def context(self, host, tail, client):
        self.tails.append((host, tail, client))
        return None if host == b"elsewhere.example" else CodesContext(self, client)


class CodesContext:
    def __init__(self, lane, client):
        self.lane, self.client = lane, client

    def answer(self, segment):
        response = CODES.get(segment)
        if response is not None:
            self.lane.clicks.append((segment, self.client))
        return response

    def start(self, segment, done):
        if segment == b"early":
            done(STORED[b"cold"])
            return True
        if segment in STORED or segment == b"vanished":
            self.lane.started.append((segment, done))
            return True
        return False


async def ordinary(scope, receive, send):
    """The same answers as an ASGI application, and an echo."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    segment = scope["path"][1:].encode()
    if segment == b"slow":
        await asyncio.sleep(0)
    answer = {**CODES, **STORED, b"early": STORED[b"cold"]}.get(segment)
    if answer is not None and scope["method"] in ("GET", "HEAD"):
        target = answer.split(b"\r\n")[1].partition(b": ")[2]
        headers = [(b"location", target), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    text = b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body)
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200 if body else 404, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture
async def lane():
    return Codes()


@pytest.fixture
async def fast(serve, lane):
    return await serve(ordinary, lane=lane)


@pytest.fixture
async def plain(serve):
    return await serve(ordinary)


async def exchange(connect, server, pieces, lane=None):
    """Send `pieces` one by one, let the server see each alone, and return all it says."""
    client = await connect(server)
    said = asyncio.ensure_future(client.rest())
    for piece in pieces:
        await client.send(piece)
        for _ in range(3):
            await asyncio.sleep(0)
        while lane is not None and lane.started:
            segment, done = lane.started.pop(0)
            done(STORED.get(segment))
    with contextlib.suppress(OSError):  # the server may have closed already
        client.writer.write_eof()
    while not said.done():
        await asyncio.sleep(0.001)
        while lane is not None and lane.started:
            segment, done = lane.started.pop(0)
            done(STORED.get(segment))
    return said.result()


MIXES = {
    "hit": GET % b"hot",
    "hits": GET % b"hot" + GET % b"other" + GET % b"hot",
    "hit, miss, hit": GET % b"hot" + GET % b"nobody" + GET % b"hot",
    "hit, post, hit": GET % b"hot" + POST % (5, b"hello") + GET % b"other",
    "post that looks like a get": POST % (len(GET % b"hot"), GET % b"hot") + GET % b"other",
    "asynchronous": GET % b"cold" + GET % b"hot" + GET % b"cold",
    "asynchronous, gone": GET % b"vanished" + GET % b"hot",
    "answered before start returns": GET % b"cold" + GET % b"other",
    "query": GET % b"hot?utm=1" + GET % b"hot",
    "deeper": GET % b"hot/x" + GET % b"hot",
    "root": GET % b"" + GET % b"hot",
    "encoded": GET % b"h%6ft" + GET % b"hot",
    "not utf-8": GET % b"%ff%fe" + GET % b"hot",
    "head": (GET % b"hot").replace(b"GET", b"HEAD") + GET % b"hot",
    "absolute form": b"GET http://s.example/hot HTTP/1.1\r\nHost: s.example\r\n\r\n" + GET % b"hot",
    "1.0": b"GET /hot HTTP/1.0\r\nHost: s.example\r\n\r\n" + GET % b"hot",
    "close": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nConnection: close\r\n\r\n" + GET % b"hot",
    "keep-alive": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nConnection: Keep-Alive\r\n\r\n" + GET % b"hot",
    "get with a body": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nContent-Length: 3\r\n\r\nabc" + GET % b"hot",
    "length and chunks": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET % b"hot",
    "chunks": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n" + GET % b"hot",
    "bare line feeds": GET % b"hot" + b"GET /hot HTTP/1.1\nHost: s.example\n\n",
    "no host": GET % b"hot" + b"GET /hot HTTP/1.1\r\nUser-Agent: t\r\n\r\n",
    "two hosts": GET % b"hot" + b"GET /hot HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "folded": GET % b"hot" + b"GET /hot HTTP/1.1\r\nHost: s.example\r\nX: a\r\n b\r\n\r\n",
    "nul in a header": GET % b"hot" + b"GET /hot HTTP/1.1\r\nHost: s.example\r\nX: a\0b\r\n\r\n",
    "space before the colon": GET % b"hot" + b"GET /hot HTTP/1.1\r\nHost : s.example\r\n\r\n",
    "two spaces": GET % b"hot" + b"GET  /hot HTTP/1.1\r\nHost: s.example\r\n\r\n",
    "space in the segment": GET % b"hot" + GET % b"ho t",
    "lower case": b"get /hot HTTP/1.1\r\nHost: s.example\r\n\r\n",
    "expect": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nExpect: 100-continue\r\n\r\n" + GET % b"hot",
    "upgrade": b"GET /hot HTTP/1.1\r\nHost: s.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "leading empty line": b"\r\n" + GET % b"hot" + b"\r\n" + GET % b"hot",
    "other headers": GET % b"hot" + (GET % b"hot").replace(b"User-Agent: t", b"Cookie: x=y") + GET % b"other",
    "elsewhere": (GET % b"hot").replace(b"s.example", b"elsewhere.example") + GET % b"hot",
    "unfinished": GET % b"hot" + (GET % b"hot")[:-1],
    "rubbish": GET % b"hot" + b"\x16\x03\x01\x02\x00\x01\x00",
    "http/2": GET % b"hot" + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


def without_ids(said):
    """Request ids are random."""
    import re

    said = re.sub(rb'"request_id":"[0-9a-f]{16}"', b'"request_id":"-"', said)
    return re.sub(rb"x-request-id: [0-9a-f]{16}", b"x-request-id: -", said)


@pytest.mark.parametrize("name", MIXES)
async def test_both_paths_give_the_same_bytes_whole_and_by_request(connect, fast, plain, lane, name):
    data = MIXES[name]
    requests = [part for part in data.replace(b"GET /", b"\xff\xffGET /").split(b"\xff\xff") if part]
    expected = without_ids(await exchange(connect, plain, [data]))
    assert expected.startswith(b"HTTP/1.1 "), expected
    assert without_ids(await exchange(connect, fast, [data], lane)) == expected
    if b"connection: close" not in expected.lower():  # else later packets meet a closed socket
        assert without_ids(await exchange(connect, fast, requests, lane)) == expected
    assert without_ids(await exchange(connect, fast, [GET % b"hot", data], lane)).endswith(expected)


@pytest.mark.parametrize(
    "name", ["hit, post, hit", "asynchronous", "query", "unfinished", "length and chunks"]
)
async def test_packets_cut_at_every_byte_give_the_same_bytes(connect, fast, plain, lane, name):
    data = MIXES[name]
    expected = without_ids(await exchange(connect, plain, [data]))
    for cut in range(1, len(data)):
        assert without_ids(await exchange(connect, fast, [data[:cut], data[cut:]], lane)) == expected, cut
    single = [data[i : i + 1] for i in range(len(data))]
    assert without_ids(await exchange(connect, fast, single, lane)) == expected


async def test_a_tail_is_judged_once_and_every_hit_is_counted(connect, fast, lane):
    client = await connect(fast)
    for _ in range(50):
        await client.send(GET % b"hot")
        assert (await client.response())[0] == 302
    assert len(lane.tails) == 1
    host, tail, address = lane.tails[0]
    assert (host, address) == (b"s.example", "127.0.0.1")
    assert tail == b" HTTP/1.1\r\nHost: s.example\r\nUser-Agent: t\r\n\r\n"
    assert lane.clicks == [(b"hot", "127.0.0.1")] * 50


async def test_the_bare_segment_is_not_a_request(connect, fast, lane):
    """After arming, bytes that match only one end must not be answered."""
    client = await connect(fast)
    await client.send(GET % b"hot")
    await client.response()
    await client.send(b"hot HTTP/1.1\r\nHost: s.example\r\nUser-Agent: t\r\n\r\n")
    assert (await client.response())[0] == 400
    assert len(lane.clicks) == 1


async def test_an_answer_for_a_client_that_has_gone_goes_nowhere(connect, fast, lane, eventually):
    client = await connect(fast)
    await client.send(GET % b"cold" + GET % b"hot")
    await eventually(lambda: lane.started)
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    client.writer.transport.abort()
    await eventually(lambda: fast.connections == 0)
    _, done = lane.started.pop()
    done(STORED[b"cold"])
    done(None)
    assert lane.clicks == []
    assert (await (await connect_and_get(connect, fast, b"hot")).response())[0] == 302


async def connect_and_get(connect, server, code):
    client = await connect(server)
    await client.send(GET % code)
    return client


async def test_an_answer_given_twice_is_sent_once(connect, fast, lane, eventually):
    client = await connect_and_get(connect, fast, b"cold")
    await eventually(lambda: lane.started)
    _, done = lane.started.pop()
    done(STORED[b"cold"])
    done(STORED[b"cold"])
    await client.send(GET % b"other")
    assert (await client.response())[1]["location"] == "https://c.example/cold"
    assert (await client.response())[1]["location"] == "https://b.example/other"


async def test_an_answer_made_at_once_inside_start_keeps_its_place(connect, fast):
    client = await connect(fast)
    await client.send(GET % b"hot" + GET % b"early" + GET % b"other")
    targets = [(await client.response())[1]["location"] for _ in range(3)]
    assert targets == ["https://a.example/hot", "https://c.example/cold", "https://b.example/other"]


async def test_what_waits_behind_an_answer_is_bounded_and_then_answered_in_order(
    connect, fast, lane, eventually
):
    client = await connect_and_get(connect, fast, b"cold")
    await eventually(lambda: lane.started)
    many = 20_000
    sending = asyncio.ensure_future(client.send((GET % b"hot") * many))
    connection = next(iter(fast.hall.connections))
    await eventually(lambda: connection.flow.read_paused)
    assert len(connection._held) < 64 * 1024 + 256 * 1024 + 1
    lane.started.pop()[1](STORED[b"cold"])
    assert (await client.response())[1]["location"] == "https://c.example/cold"
    for _ in range(many):
        assert (await client.response())[1]["location"] == "https://a.example/hot"
    await sending


async def test_a_client_that_does_not_read_is_not_written_to_without_end(connect, fast, lane, eventually):
    client = await connect(fast)
    client.writer.transport.pause_reading()
    connection = None

    async def pour():
        while True:
            await client.send((GET % b"hot") * 1000)

    pouring = asyncio.ensure_future(pour())
    await eventually(lambda: fast.hall.connections)
    connection = next(iter(fast.hall.connections))
    await eventually(lambda: connection.flow.write_paused and connection.flow.read_paused, seconds=20)
    assert connection.transport.get_write_buffer_size() < 4 * 1024 * 1024
    pouring.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await pouring


async def test_the_drain_waits_for_the_answer_being_made(connect, lane, eventually):
    server = Server(ordinary, sockets=[bind("127.0.0.1", 0)], lane=lane)
    await server.start()
    client = await connect_and_get(connect, server, b"cold")
    await eventually(lambda: lane.started)
    hall = server.hall
    stopping = asyncio.ensure_future(server.stop())
    await eventually(lambda: hall.draining)
    lane.started.pop()[1](STORED[b"cold"])
    assert (await client.response())[1]["location"] == "https://c.example/cold"
    assert await client.rest() == b""
    await stopping


class Checks:
    """A lane for a hot POST."""

    def __init__(self):
        self.seen = []

    def answer(self, head, body, client):
        self.seen.append((body, client))
        return (
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body) if body != b"no" else None
        )

    def start(self, head, body, client, done):
        return False


async def test_a_registered_post_is_answered_from_its_complete_body(connect, serve, eventually):
    checks = Checks()
    server = await serve(ordinary, body_lanes={b"POST /echo HTTP/1.1": checks})
    client = await connect(server)
    await client.send(POST % (5, b"hello") + POST % (2, b"no") + POST % (3, b"bye"))
    assert (await client.response())[2] == b"hello"
    assert (await client.response())[2] == b"POST /echo no"
    assert (await client.response())[2] in (b"bye", b"POST /echo bye")
    await client.send((POST % (4, b"late"))[:-2])
    await eventually(lambda: only(server)._stage == BODY)
    await client.send(b"te")
    assert (await client.response())[2] == b"POST /echo late"
    await client.send(POST % (5, b"hello"))
    assert (await client.response())[2] == b"hello"
    assert checks.seen[0] == (b"hello", "127.0.0.1")


HEADED = b"GET /%s HTTP/1.1\r\nHost: s.example\r\nUser-Agent: agent %d\r\n\r\n"


async def test_a_connection_that_carries_many_kinds_of_headers_judges_each_once(connect, fast, lane):
    client = await connect(fast)
    for _ in range(3):
        for agent in range(20):
            await client.send(HEADED % (b"hot", agent))
            assert (await client.response())[0] == 302
    assert len(lane.tails) == 21  # the first comes again, once it is known that there are several
    other = await connect(fast)
    for agent in range(5):
        await other.send(HEADED % (b"other", agent))
        assert (await other.response())[1]["location"] == "https://b.example/other"
    assert len(lane.tails) <= 23
    assert len(lane.clicks) == 65


async def test_what_is_remembered_of_headers_is_bounded_and_goes_with_the_client(
    connect, fast, monkeypatch, eventually
):
    from twelvefold.web import lanes

    monkeypatch.setattr(lanes, "MAX_KNOWN_TAILS", 10)
    client = await connect(fast)
    for agent in range(50):
        await client.send(HEADED % (b"hot", agent))
        assert (await client.response())[0] == 302
        assert len(next(iter(fast.hall.connections))._contexts) <= 10
    assert list(fast.hall.known_tails._clients) == ["127.0.0.1"]
    await client.send(HEADED % (b"hot", 7) + POST % (2, b"hi") + HEADED % (b"hot", 49))
    assert [(await client.response())[0] for _ in range(3)] == [302, 200, 302]
    await client.close()
    await eventually(lambda: fast.connections == 0)
    assert not list(fast.hall.known_tails._clients)


KINDS = [
    GET % b"hot", GET % b"other", GET % b"nobody", GET % b"cold", GET % b"vanished", GET % b"early", GET % b"slow",
    GET % b"hot?a=b", GET % b"h%6ft", HEADED % (b"hot", 1), HEADED % (b"other", 2), HEADED % (b"cold", 3),
    POST % (5, b"hello"), POST % (0, b""), POST % (len(GET % b"hot"), GET % b"hot"), MIXES["head"], MIXES["chunks"],
    b"\r\n" + GET % b"hot", MIXES["elsewhere"],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(100))
async def test_any_mix_in_any_packets_gives_the_same_bytes(connect, fast, plain, lane, seed):
    draw = random.Random(seed)
    data = b"".join(draw.choice(KINDS) for _ in range(draw.randint(1, 12)))
    cuts = sorted(draw.randrange(len(data) + 1) for _ in range(draw.randint(0, 6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
    expected = without_ids(await exchange(connect, plain, [data]))
    assert expected.count(b"HTTP/1.1 ") >= 1
    assert without_ids(await exchange(connect, fast, pieces, lane)) == expected
