"""Who guesses API keys is slowed down, at every door, and locks out nobody who is known."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped] # ships no types
import httpx2
import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError, ResponseError
from tests.engines.valkey_server import ValkeyServer
from tests.systems.limiter.house import SOCKET, House, open_house

from twelvefold.engines.database import Database
from twelvefold.systems.limiter.settings import LimiterSettings

FAILURES = 2  # the next is admitted half a minute later, which no machine is too slow for
SETTINGS = LimiterSettings(answer_ms=5000, failures_a_minute=FAILURES)
UNKNOWN = "tf_" + "a" * 43


@pytest.fixture
async def strict(database: Database, valkey_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(database, valkey_url, data=tmp_path, settings=SETTINGS) as house:
        yield house


async def made_key(house: House) -> str:
    answer = await house.client.post(
        "/v1/keys",
        json={"name": "one", "scopes": ["limiter:read", "limiter:write"], "tier": "enterprise"},
        headers={"authorization": f"Bearer {house.key}"},
    )
    return str(answer.json()["key"])


async def by_key(house: House, secret: str) -> httpx2.Response:
    return await house.client.get("/v1/limiter/rules", headers={"authorization": f"Bearer {secret}"})


async def by_lane(house: House, secret: str) -> httpx2.Response:
    body = {"rule": {"name": "r", "limit": 5}, "key": "k"}
    return await house.client.post(
        "/v1/limiter/check", json=body, headers={"authorization": f"Bearer {secret}"}
    )


async def by_cookie(house: House, secret: str) -> httpx2.Response:
    return await house.client.get("/v1/limiter/rules", headers={"cookie": f"twelvefold_session={secret}"})


async def by_login(house: House, secret: str) -> httpx2.Response:
    return await house.client.post("/v1/session", json={"api_key": secret})


async def by_socket(house: House, secret: str) -> httpx2.Response:
    """A handshake that is refused is answered like any request."""
    headers = {
        "authorization": f"Bearer {secret}",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with house.client.stream("GET", SOCKET, headers=headers) as answer:
        if answer.status_code != 101:
            await answer.aread()
        return answer


async def by_grpc(house: House, secret: str) -> grpc.StatusCode:
    question = b"\x0a\x04shop\x12\x0a\x0a\x08\x0a\x01a\x12\x03ann"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        call = channel.unary_unary("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
        try:
            await call(question, metadata=(("authorization", f"Bearer {secret}"),), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


WAYS = [by_key, by_lane, by_cookie, by_login, by_socket]


@pytest.mark.parametrize("way", WAYS)
async def test_after_so_many_failures_from_an_address_the_answer_is_429_with_the_wait(
    strict: House, way: Callable[..., Any]
) -> None:
    answers = [await way(strict, f"{UNKNOWN}{number}") for number in range(FAILURES + 3)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:FAILURES] == [401] * FAILURES
    assert statuses[-2:] == [429, 429]
    assert answers[-1].json()["code"] == "limiter.too_many_failures"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60 // FAILURES


async def test_even_the_right_key_is_no_longer_tried_from_there_unless_it_was_good_before(
    strict: House,
) -> None:
    assert (await by_key(strict, strict.key)).status_code == 200
    guessed = await made_key(strict)
    for number in range(FAILURES + 1):
        await by_key(strict, f"{UNKNOWN}{number}")
    assert (await by_key(strict, guessed)).status_code == 429
    assert (await by_lane(strict, guessed)).status_code == 429
    assert (await by_login(strict, guessed)).status_code == 429
    # Somebody behind the same address who was here before works on.
    assert (await by_key(strict, strict.key)).status_code == 200
    assert (await strict.client.get("/healthz")).status_code == 200


async def test_a_socket_of_somebody_who_was_here_before_still_opens_and_a_stranger_s_does_not(
    strict: House,
) -> None:
    guessed = await made_key(strict)
    for number in range(FAILURES + 1):
        await by_socket(strict, f"{UNKNOWN}{number}")
    assert (await by_socket(strict, guessed)).status_code == 429
    assert (await by_socket(strict, strict.key)).status_code == 101


async def test_the_grpc_door_counts_with_the_others_and_says_so(strict: House) -> None:
    new = await made_key(strict)
    assert await by_grpc(strict, strict.key) is grpc.StatusCode.OK
    codes = [await by_grpc(strict, f"{UNKNOWN}{number}") for number in range(FAILURES + 2)]
    assert codes[:FAILURES] == [grpc.StatusCode.UNAUTHENTICATED] * FAILURES
    assert codes[FAILURES:] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
    assert (await by_key(strict, UNKNOWN)).status_code == 429
    # Neither is a right key looked at that is new from there; one that was good before is.
    assert await by_grpc(strict, new) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await by_grpc(strict, strict.key) is grpc.StatusCode.OK


async def test_guesses_over_http_close_the_grpc_door_too(strict: House) -> None:
    for number in range(FAILURES + 1):
        await by_key(strict, f"{UNKNOWN}{number}")
    assert await by_grpc(strict, UNKNOWN) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_after_the_wait_the_next_key_is_tried(database: Database, valkey_url: str) -> None:
    settings = LimiterSettings(answer_ms=5000, failures_a_minute=60)
    async with open_house(database, valkey_url, data=None, settings=settings) as house:
        new = await made_key(house)
        async with asyncio.timeout(20):
            while (answer := await by_key(house, UNKNOWN)).status_code != 429:
                pass
            while (answer := await by_key(house, new)).status_code == 429:
                assert answer.headers["retry-after"] == "1"
        assert answer.status_code == 200


async def test_the_redis_door_counts_with_the_others(strict: House) -> None:
    new = await made_key(strict)
    for number in range(FAILURES + 1):
        async with redis.asyncio.Redis(port=strict.resp_port, password=f"{UNKNOWN}{number}") as client:
            with pytest.raises((AuthenticationError, ResponseError)):
                await client.ping()
    assert (await by_key(strict, UNKNOWN)).status_code == 429
    async with redis.asyncio.Redis(port=strict.resp_port, password=new) as client:
        with pytest.raises(ResponseError, match=r"wait.*again in \d+ s"):
            await client.execute_command("CL.THROTTLE", "k", 1, 2, 3)


async def test_while_valkey_is_away_nobody_is_locked_out(database: Database, tmp_path: Path) -> None:
    server = ValkeyServer()
    await server.start().answering()
    try:
        settings = LimiterSettings(failures_a_minute=2)
        async with open_house(database, server.url, data=tmp_path, settings=settings) as house:
            assert (await by_key(house, house.key)).status_code == 200
            server.kill()
            statuses = {(await by_key(house, f"{UNKNOWN}{number}")).status_code for number in range(8)}
            assert statuses == {401}
            await server.start().answering()
    finally:
        server.close()


async def test_no_limit_is_no_limit(database: Database, valkey_url: str, tmp_path: Path) -> None:
    settings = LimiterSettings(answer_ms=5000, failures_a_minute=0)
    async with open_house(database, valkey_url, data=tmp_path, settings=settings) as house:
        statuses = {(await by_key(house, f"{UNKNOWN}{number}")).status_code for number in range(40)}
        assert statuses == {401}
