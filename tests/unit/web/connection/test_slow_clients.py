"""Clients that dribble, fall silent or do not read."""

import asyncio

from tests.unit.web.connection.application import GET, SMALL, App, code_of, only

from twelvefold.web.connection import BODY, HEAD, LINGER_SECONDS


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
