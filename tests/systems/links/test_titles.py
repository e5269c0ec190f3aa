"""Titles are fetched from the public Internet and from nowhere else, whatever the page says on the way."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from twelvefold.systems.links.service.titles import TitleFetcher

PAGE = b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n\r\n<title>A &amp; B</title>"


@asynccontextmanager
async def site(answers):
    """A server that gives `answers` in turn; yields its port and the number of connections it has had."""
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[min(len(asked), len(answers)) - 1])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def resolving(*answers):
    """Names lead to 127.0.0.1, where the site is; what they are taken for comes from `answers` in turn."""
    given = iter(answers)
    current = {}

    async def resolve(host, port):
        del port
        current["says"] = next(given)
        current["host"] = host
        return ["127.0.0.1"]

    return TitleFetcher(resolve, lambda _: current["says"])


async def test_a_public_page_gives_its_title():
    async with site([PAGE]) as (port, _):
        assert await resolving(True).fetch(f"http://page.example:{port}/") == "A & B"


async def test_a_private_address_is_never_connected_to():
    async with site([PAGE]) as (port, asked):
        assert await TitleFetcher().fetch(f"http://127.0.0.1:{port}/") == ""
        assert await TitleFetcher().fetch(f"http://localhost:{port}/") == ""
        assert asked == []


async def test_a_redirect_into_a_private_network_is_not_followed():
    there = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\n\r\n"
    async with site([there, PAGE]) as (port, asked):
        assert await resolving(True, False).fetch(f"http://page.example:{port}/") == ""
        assert len(asked) == 1


async def test_a_name_that_changes_its_mind_gains_nothing():
    # The name is asked once; the second answer, a private one, is never used.
    asked_names = []

    async def rebinding(host, port):
        del port
        asked_names.append(host)
        return ["127.0.0.1"] if len(asked_names) == 1 else ["10.0.0.1"]

    async with site([PAGE]) as (port, _):
        fetcher = TitleFetcher(rebinding, lambda address: address == "127.0.0.1")
        assert await fetcher.fetch(f"http://rebind.example:{port}/") == "A & B"
    assert asked_names == ["rebind.example"]


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    async def both(host, port):
        del host, port
        return ["127.0.0.1", "10.0.0.1"]

    async with site([PAGE]) as (port, asked):
        fetcher = TitleFetcher(both, lambda address: address == "127.0.0.1")
        assert await fetcher.fetch(f"http://both.example:{port}/") == ""
        assert asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 600_000,
        b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n<title>no page</title>",
    ],
)
async def test_what_is_no_page_gives_no_title_and_no_error(answer):
    async with site([answer]) as (port, _):
        assert await resolving(*[True] * 5).fetch(f"http://page.example:{port}/") == ""


async def test_a_circle_of_redirects_ends():
    async with site([b"HTTP/1.1 302 Found\r\nlocation: /again\r\n\r\n"]) as (port, asked):
        assert await resolving(*[True] * 9).fetch(f"http://page.example:{port}/") == ""
        assert len(asked) == 4
