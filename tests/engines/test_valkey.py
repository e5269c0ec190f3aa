"""The Valkey client against a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.engines.valkey_server import ValkeyServer

from twelvefold.engines.valkey import ReplyError, Valkey
from twelvefold.kernel.errors import EngineUnavailableError


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer().start()
    yield await server.answering()
    server.close()


@pytest.fixture
async def valkey(server: ValkeyServer) -> AsyncIterator[Valkey]:
    async with await Valkey.open(server.url) as client:
        yield client


async def test_replies_come_in_order_to_their_callers(valkey: Valkey) -> None:
    await asyncio.gather(*(valkey.call("SET", f"key:{n}", n) for n in range(500)))
    assert await asyncio.gather(*(valkey.call("GET", b"key:%d" % n) for n in range(500))) == [
        b"%d" % n for n in range(500)
    ]


async def test_an_error_reply_reaches_its_caller_only(valkey: Valkey) -> None:
    await valkey.call("SET", "text", "x")
    bad, good = await asyncio.gather(
        valkey.call("INCR", "text"), valkey.call("GET", "text"), return_exceptions=True
    )
    assert isinstance(bad, ReplyError)
    assert bad.reply_code == "ERR"
    assert good == b"x"


async def test_a_killed_server_fails_calls_at_once_and_comes_back_by_itself(
    server: ValkeyServer, valkey: Valkey
) -> None:
    server.kill()
    with pytest.raises(EngineUnavailableError):
        while True:
            await valkey.call("PING")
    assert not valkey.connected
    await server.start().answering()
    async with asyncio.timeout(5):
        await valkey.wait_connected(5)
    assert await valkey.call("PING") == b"PONG"
