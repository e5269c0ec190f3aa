"""An HTTP connection against clients that are slow, large, wrong or gone; on real sockets."""

import asyncio
import contextlib
import json
import socket
import struct

import msgspec
import pytest

from twelvefold.web.connection import BODY, HEAD, LINGER_SECONDS
from twelvefold.web.limits import Limits

SMALL = Limits(
    max_header_bytes=2000,
    max_body_bytes=5000,
    drain_seconds=0.5,
    body_bytes_by_prefix={"/big": 300_000, "/b": 10},
)
GET = b"GET /%s HTTP/1.1\r\nHost: s\r\n\r\n"


class App:
    """Answers with what it got; can be told to wait, to stream, or not to read."""

    def __init__(self):
        self.bodies = []
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.calls = []

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        self.calls.append(path)
        self.started.set()
        if path == "/refuse":
            await self.answer(send, 403, b"no")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        if path == "/wait":
            await self.go.wait()
        elif path == "/gone":
            assert (await receive())["type"] == "http.disconnect"
            self.disconnected.set()
            return
        elif path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        elif path == "/boom":
            raise RuntimeError("boom")
        await self.answer(send, 200, b"%s:%d" % (path.encode(), len(body)))

    async def answer(self, send, status, body):
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def app():
    return App()


@pytest.fixture
async def server(serve, app):
    return await serve(app, limits=SMALL)


def only(server):
    """The server's only connection; None before it is there."""
    return next(iter(server.hall.connections), None)


async def code_of(client):
    """Status and problem code of the answer, which must be the last."""
    status, headers, body = await client.response()
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert await client.rest() == b""
    told = json.loads(body)
    assert told["status"] == status
    assert told["request_id"] == headers["x-request-id"]
    return status, told["code"]


# -- sizes -------------------------------------------------------------------------------------


async def test_headers_up_to_the_bound_are_taken_and_no_larger(connect, server):
    client = await connect(server)
    fits = b"GET /a HTTP/1.1\r\nHost: s\r\nX: %s\r\n\r\n"
    await client.send(fits % (b"x" * 1900))
    assert (await client.response())[0] == 200
    await client.send(fits % (b"x" * 2100))
    assert await code_of(client) == (431, "headers_too_large")


@pytest.mark.parametrize("piece", [1000, 60_000])
async def test_a_megabyte_of_headers_is_refused_without_being_kept(connect, server, piece):
    client = await connect(server)
    await client.send(b"GET /a HTTP/1.1\r\nHost: s\r\nX: ")
    with contextlib.suppress(OSError):
        for _ in range(1_000_000 // piece):
            await client.send(b"x" * piece)
    assert await code_of(client) == (431, "headers_too_large")


async def test_many_small_headers_are_bounded_too(connect, server):
    client = await connect(server)
    await client.send(b"GET /a HTTP/1.1\r\nHost: s\r\n" + b"A: b\r\n" * 400 + b"\r\n")
    assert await code_of(client) == (431, "headers_too_large")


async def test_the_end_of_a_large_body_is_not_taken_for_a_large_head(connect, server):
    client = await connect(server)
    body = b"x" * 4000
    await client.send(
        b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 4000\r\n\r\n" + body + b"GET /b HTTP/1.1\r\n"
    )
    assert (await client.response())[2] == b"/a:4000"
    await client.send(b"Host: s\r\n\r\n")
    assert (await client.response())[2] == b"/b:0"


async def test_a_body_is_refused_by_its_announced_length_before_it_is_sent(connect, server, app):
    client = await connect(server)
    await client.send(b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 5001\r\n\r\n")
    assert await code_of(client) == (413, "too_large")
    assert app.calls == []


async def test_the_refusal_reaches_a_client_that_is_still_sending(connect, server):
    client = await connect(server)
    await client.send(b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 5000000\r\n\r\n")

    async def pour():
        with contextlib.suppress(OSError):
            for _ in range(50):
                await client.send(b"x" * 100_000)

    pouring = asyncio.ensure_future(pour())
    assert (await client.response())[0] == 413
    await pouring


async def test_a_chunked_body_is_cut_where_it_exceeds(connect, server, app):
    client = await connect(server)
    await client.send(b"POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(10):
            await client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert await code_of(client) == (413, "too_large")
    async with asyncio.timeout(5):
        await app.disconnected.wait()
    assert app.bodies == []


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/a", 5000, 200), ("/big/x", 300_000, 200), ("/big", 300_001, 413), ("/b", 11, 413)],
)
async def test_the_bound_of_a_body_depends_on_its_address(connect, server, path, size, status):
    client = await connect(server)
    await client.send(b"POST %s HTTP/1.1\r\nHost: s\r\nContent-Length: %d\r\n\r\n" % (path.encode(), size))
    if status == 200:
        await client.send(b"x" * size)
    assert (await client.response())[0] == status


async def test_a_body_that_nobody_reads_does_not_disturb_the_next_request(connect, server):
    client = await connect(server)
    await client.send(
        b"POST /refuse HTTP/1.1\r\nHost: s\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000 + GET % b"a"
    )
    assert (await client.response())[0] == 403
    assert (await client.response())[2] == b"/a:0"


# -- time --------------------------------------------------------------------------------------


async def test_a_client_that_dribbles_its_headers_is_cut(connect, server, eventually):
    client = await connect(server)
    await client.send(b"GET /a HTTP/1.1\r\nHo")
    await eventually(lambda: only(server) and only(server)._stage == HEAD)
    connection = only(server)
    began = connection._stage_since
    await client.send(b"st: s\r\nX: y")
    connection.sweep(began + 9)
    assert not connection._deaf
    connection.sweep(began + 10.5)
    assert await code_of(client) == (408, "request_timeout")


async def test_in_the_fast_lane_too(connect, serve, eventually):
    class Lane:
        def context(self, host, tail, client):
            return None

    server = await serve(App(), limits=SMALL, lane=Lane())
    client = await connect(server)
    await client.send(b"GET /a HTTP/1.1\r\nHo")
    await eventually(lambda: only(server) and only(server)._partial)
    connection = only(server)
    connection.sweep(connection._stage_since + 10.5)
    assert await code_of(client) == (408, "request_timeout")


async def test_a_client_that_dribbles_its_body_is_cut_but_a_steady_one_is_not(
    connect, server, app, eventually
):
    client = await connect(server)
    await client.send(b"POST /big HTTP/1.1\r\nHost: s\r\nContent-Length: 300000\r\n\r\n" + b"x" * 160_000)
    await eventually(lambda: server.hall.connections and only(server)._size == 160_000)
    connection = only(server)
    began = connection._stage_since
    assert connection._stage == BODY
    connection.sweep(began + 30 + 9)
    assert not connection._deaf
    connection.sweep(began + 30 + 11)
    assert await code_of(client) == (408, "request_timeout")
    async with asyncio.timeout(5):
        await app.disconnected.wait()


async def test_a_body_that_dribbles_on_after_its_response_ends_the_connection(connect, server, eventually):
    client = await connect(server)
    await client.send(b"POST /refuse HTTP/1.1\r\nHost: s\r\nContent-Length: 5000\r\n\r\nx")
    assert (await client.response())[0] == 403
    connection = only(server)
    connection.sweep(connection._stage_since + 29)
    assert not connection.transport.is_closing()
    connection.sweep(connection._stage_since + 32)
    assert await client.rest() == b""
    client = await connect(server)
    await client.send(b"POST /refuse HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    assert (await client.response())[0] == 403
    await client.send(b"rubbish\r\n")
    assert await client.rest() == b""


async def test_a_client_waits_no_shorter_for_an_application_that_does_not_read(connect, serve, eventually):
    class Slow(App):
        async def __call__(self, scope, receive, send):
            await self.go.wait()
            await super().__call__(scope, receive, send)

    app = Slow()
    server = await serve(app, limits=SMALL)
    client = await connect(server)
    await client.send(b"POST /big HTTP/1.1\r\nHost: s\r\nContent-Length: 300000\r\n\r\n" + b"x" * 150_000)
    await eventually(lambda: server.hall.connections and only(server).flow.read_paused)
    connection = only(server)
    for hour in range(1, 4):
        connection.sweep(connection._stage_since + 3600 * hour)
    assert not connection._deaf
    app.go.set()
    await client.send(b"x" * 150_000)
    assert (await client.response())[2] == b"/big:300000"


async def test_a_silent_connection_is_closed_but_not_while_it_waits_for_an_answer(
    connect, server, app, eventually
):
    client = await connect(server)
    await client.send(GET % b"wait")
    await app.started.wait()
    connection = only(server)
    now = connection._quiet_since
    connection.sweep(now + 1)
    connection.sweep(now + 1000)
    app.go.set()
    assert (await client.response())[2] == b"/wait:0"
    await eventually(connection._nothing_in_flight)
    connection.sweep(now + 1001)
    connection.sweep(now + 1001 + 74)
    await client.send(GET % b"a")
    assert (await client.response())[0] == 200
    connection.sweep(now + 2000)
    connection.sweep(now + 2000 + 76)
    assert await client.rest() == b""


async def test_a_client_that_does_not_read_its_response_is_cut(connect, server, app, eventually):
    client = await connect(server)
    client.writer.transport.pause_reading()
    await client.send(GET % b"stream")
    await eventually(lambda: server.hall.connections and only(server)._write_paused_since)
    connection = only(server)
    connection.sweep(connection._write_paused_since + 59)
    assert not connection.transport.is_closing()
    connection.sweep(connection._write_paused_since + 61)
    await eventually(lambda: server.connections == 0)


async def test_a_refused_client_that_keeps_sending_is_cut_in_the_end(connect, server, eventually):
    client = await connect(server)
    await client.send(b"rubbish\r\n\r\n")
    assert (await client.response())[0] == 400
    connection = only(server)
    connection.sweep(connection._lingering_since + LINGER_SECONDS + 0.1)
    await eventually(lambda: server.connections == 0)


# -- order -------------------------------------------------------------------------------------


async def test_a_refusal_waits_for_the_responses_before_it(connect, server, app):
    client = await connect(server)
    await client.send(
        GET % b"wait" + GET % b"a" + b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 9999\r\n\r\n"
    )
    await app.started.wait()
    app.go.set()
    assert (await client.response())[2] == b"/wait:0"
    assert (await client.response())[2] == b"/a:0"
    assert await code_of(client) == (413, "too_large")


async def test_a_chunked_body_that_exceeds_behind_a_slow_request_is_refused_in_its_turn(connect, server, app):
    client = await connect(server)
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    await client.send(
        GET % b"wait" + b"POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2
    )
    await app.started.wait()
    app.go.set()
    assert (await client.response())[2] == b"/wait:0"
    assert (await client.response())[0] == 413
    assert app.calls == ["/wait"]


async def test_pipelined_requests_run_one_after_another_and_in_bounded_number(
    connect, server, app, eventually
):
    client = await connect(server)
    await client.send(GET % b"wait" + (GET % b"a") * 5000)
    await app.started.wait()
    await eventually(lambda: only(server).flow.read_paused)
    assert len(only(server).pipeline) <= 300
    assert app.calls == ["/wait"]
    app.go.set()
    assert (await client.response())[2] == b"/wait:0"
    for _ in range(5000):
        assert (await client.response())[2] == b"/a:0"


async def test_nothing_after_connection_close_is_run(connect, server, app):
    for first in (
        b"GET /a HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.0\r\nHost: s\r\n\r\n",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: s\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ):
        app.calls.clear()
        client = await connect(server)
        await client.send(first + GET % b"b")
        status, headers, _ = await client.response()
        assert (status, headers["connection"]) == (200, "close")
        with contextlib.suppress(OSError):
            assert await client.rest() == b""
        assert app.calls == ["/a"]


# -- endings -----------------------------------------------------------------------------------


async def test_an_application_that_listens_hears_that_its_client_has_gone(connect, server, app, eventually):
    client = await connect(server)
    await client.send(GET % b"gone")
    await app.started.wait()
    client.writer.transport.abort()
    async with asyncio.timeout(5):
        await app.disconnected.wait()
    await eventually(lambda: server.connections == 0)


async def test_http_1_0_gets_a_body_that_ends_with_the_connection(connect, serve):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    server = await serve(app)
    client = await connect(server)
    await client.send(b"GET /a HTTP/1.0\r\n\r\n")
    said = await client.rest()
    assert said.endswith(b"\r\n\r\none two")
    assert b"chunked" not in said
    client = await connect(server)
    await client.send(b"HEAD /a HTTP/1.0\r\n\r\n")
    assert (await client.rest()).endswith(b"\r\n\r\n")


async def test_so_does_one_with_another_request_queued_behind_it(connect, server, app, eventually):
    client = await connect(server)
    await client.send(GET % b"gone" + GET % b"a")
    await app.started.wait()
    await eventually(lambda: only(server).pipeline)
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
    client.writer.transport.abort()
    async with asyncio.timeout(5):
        await app.disconnected.wait()
    await eventually(lambda: server.connections == 0)
    assert app.calls == ["/gone"]


async def test_a_client_that_has_said_its_last_word_still_gets_its_answers(connect, server, app):
    client = await connect(server)
    await client.send(GET % b"wait" + GET % b"a")
    await app.started.wait()
    client.writer.write_eof()
    await asyncio.sleep(0.02)
    app.go.set()
    assert (await client.response())[2] == b"/wait:0"
    assert (await client.response())[2] == b"/a:0"
    assert await client.rest() == b""


async def test_an_application_that_fails_costs_one_connection(connect, server):
    client = await connect(server)
    await client.send(GET % b"boom")
    assert (await client.response())[0] == 500
    client = await connect(server)
    await client.send(GET % b"a")
    assert (await client.response())[0] == 200


# -- form --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: \r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        (b"GET /a HTTP/1.0\r\n\r\n", 200),
        (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /a HTTP/0.9\r\nHost: a\r\n\r\n", 400),
        (b"GET /a\r\n\r\n", 400),
        (b"GET /a\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET http://other/a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET http://other HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\na", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00" * 100, 400),
    ],
)  # fmt: skip
async def test_what_could_be_read_in_two_ways_is_refused(connect, server, request_bytes, status):
    client = await connect(server)
    await client.send(request_bytes)
    answered, headers, body = await client.response()
    assert answered == status, body
    if status == 400:
        assert headers["connection"] == "close"
        assert json.loads(body)["code"] == "malformed_request"


async def test_expect_continue_is_answered_when_the_application_reads(connect, server):
    client = await connect(server)
    await client.send(b"POST /a HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hi")
    assert (await client.response())[2] == b"/a:2"
    await client.send(
        b"POST /refuse HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await client.response())[0] == 403


async def test_trailers_are_taken_and_count_as_headers(connect, server):
    client = await connect(server)
    post = b"POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n%s\r\n"
    await client.send(post % b"X-Sum: 1\r\n" + GET % b"b")
    assert (await client.response())[2] == b"/a:2"
    assert (await client.response())[2] == b"/b:0"


# -- overload ----------------------------------------------------------------------------------


async def test_too_many_requests_in_flight_are_refused_at_once_and_the_connection_lives(
    connect, serve, app, eventually
):
    server = await serve(app, limits=msgspec.structs.replace(SMALL, max_concurrency=2))
    waiting = []
    for _ in range(2):
        client = await connect(server)
        await client.send(GET % b"wait")
        waiting.append(client)
    await eventually(lambda: len(app.calls) == 2)
    client = await connect(server)
    await client.send(b"POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\nhi")
    status, headers, body = await client.response()
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["code"] == "overloaded"
    app.go.set()
    for other in waiting:
        assert (await other.response())[0] == 200
    await asyncio.sleep(0)
    await client.send(GET % b"a")
    assert (await client.response())[0] == 200


async def test_too_many_connections_are_refused_with_a_reason(connect, serve, app):
    server = await serve(app, limits=msgspec.structs.replace(SMALL, max_connections=2))
    kept = [await connect(server) for _ in range(2)]
    for client in kept:
        await client.send(GET % b"a")
        assert (await client.response())[0] == 200
    refused = await connect(server)
    assert await code_of(refused) == (503, "overloaded")
    assert server.hall.refused_connections == 1
    await kept[0].send(GET % b"a")
    assert (await kept[0].response())[0] == 200
