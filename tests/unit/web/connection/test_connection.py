"""The order of requests on one connection, its ends, and what could be read in two ways."""

import asyncio
import contextlib
import json
import socket
import struct

import msgspec
import pytest
from tests.unit.web.connection.application import GET, SMALL, code_of, only


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


async def test_a_client_that_has_said_its_last_word_still_gets_its_answers(connect, server, app, eventually):
    client = await connect(server)
    await client.send(GET % b"wait" + GET % b"a")
    await app.started.wait()
    client.writer.write_eof()
    await eventually(lambda: only(server)._ended)
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
