"""Channels on bytes: which word of the server counts for which request."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from twelvefold.engines.valkey import ReplyError
from twelvefold.engines.valkey.address import Address
from twelvefold.engines.valkey.subscription import ChannelConnection
from twelvefold.kernel.errors import EngineUnavailableError


class Wire:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        pass


class Notes:
    """What the connection told its owner."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.moved: list[bytes] = []

    def message(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))


def push(kind: str, channel: str) -> bytes:
    return f">3\r\n${len(kind)}\r\n{kind}\r\n${len(channel)}\r\n{channel}\r\n:1\r\n".encode()


@pytest.fixture
async def notes() -> Notes:
    return Notes()


@pytest.fixture
async def connection(notes: Notes) -> AsyncIterator[ChannelConnection]:
    connection = ChannelConnection(
        Address(path="/nowhere"),
        notes.message,
        on_gap=lambda: None,
        on_moved=notes.moved.append,
        name="valkey",
        deadline_seconds=5,
        sharded=False,
    )
    connection.attach(Wire())
    connection.ready()
    yield connection
    await connection.close()


async def started(connection: ChannelConnection, *channels: bytes) -> asyncio.Task[None]:
    task = asyncio.create_task(connection.add(channels))
    await asyncio.sleep(0)
    return task


async def settled(task: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


async def test_the_word_on_a_request_given_up_does_not_count_for_the_next(
    connection: ChannelConnection,
) -> None:
    first = await started(connection, b"a")
    first.cancel()
    assert await settled(first)
    second = await started(connection, b"a")
    connection.feed(push("subscribe", "a") + push("unsubscribe", "a"))
    assert not await settled(second), "that was the word on the first"
    connection.feed(push("subscribe", "a"))
    await second
    assert connection.channels == {b"a"}


async def test_a_channel_that_the_server_ends_is_told_and_one_we_left_is_not(
    connection: ChannelConnection, notes: Notes
) -> None:
    adding = await started(connection, b"a", b"b")
    connection.feed(push("subscribe", "a") + push("subscribe", "b"))
    await adding
    connection.remove([b"a"])
    connection.feed(push("unsubscribe", "a"))
    assert notes.moved == []
    connection.feed(push("sunsubscribe", "b"))
    assert notes.moved == [b"b"]
    assert connection.channels == set()


async def test_a_refusal_reaches_who_waits_and_a_pong_reaches_nobody(connection: ChannelConnection) -> None:
    connection.feed(b"+PONG\r\n")
    adding = await started(connection, b"a")
    connection.feed(b"-NOPERM not this one\r\n")
    with pytest.raises(ReplyError, match="NOPERM"):
        await adding
    assert connection.channels == set()
    assert connection.connected


async def test_a_connection_lost_while_subscribing_is_an_error(connection: ChannelConnection) -> None:
    adding = await started(connection, b"a")
    connection.detach("gone")
    with pytest.raises(EngineUnavailableError, match="gone"):
        await adding
    assert connection.channels == set()
