"""Headers and bodies that are too large: refused early, and without being kept."""

import asyncio
import contextlib

import pytest
from tests.unit.web.connection.application import GET, code_of


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


async def test_trailers_are_taken_and_count_as_headers(connect, server):
    client = await connect(server)
    post = b"POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n%s\r\n"
    await client.send(post % b"X-Sum: 1\r\n" + GET % b"b")
    assert (await client.response())[2] == b"/a:2"
    assert (await client.response())[2] == b"/b:0"
