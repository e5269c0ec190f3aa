"""What a client gets wrong is told with the field that is wrong, takes nothing, and is never our fault (a 500)."""

import asyncio
from typing import Any

import grpc  # type: ignore[import-untyped] # ships no types
import pytest
from tests.systems.limiter.house import House

RULE = {"name": "r", "limit": 5}
ODD = {"name": "r", "limit": 5, "algorithm": "sliding_log", "burst": 9}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule": "nowhere", "key": "k"}, "rule"),
        ({"rule": RULE, "key": "k", "cost": -1}, "cost"),
        ({"rule": RULE, "key": "k", "cost": 1.5}, "cost"),
        ({"rule": RULE, "key": "k", "cost": "1"}, "cost"),
        ({"rule": RULE | {"limit": "5"}, "key": "k"}, "rule.limit"),
        ({"rule": RULE | {"shadow": "true"}, "key": "k"}, "rule.shadow"),
        ({"batch": [{"rule": RULE, "key": "k"}, {"rule": RULE, "key": "k", "cost": "1"}]}, "batch[1].cost"),
        ({"rule": RULE, "key": "x" * 1_000_000}, "key"),
        ({"rule": RULE, "key": "k", "kost": 1}, "kost"),
        ({"rule": {"name": "r"}, "key": "k"}, "rule.limit"),
        ({"rule": RULE | {"bogus": 1}, "key": "k"}, "rule.bogus"),
        ({"rule": ODD, "key": "k"}, "rule.burst"),
        ({"checks": [{"rule": RULE, "key": "k"}, {"rule": RULE, "key": "k", "cost": -1}]}, "checks[1].cost"),
        ({"checks": [{"rule": RULE, "key": "k"}, {"rule": ODD, "key": "k"}]}, "checks[1].rule.burst"),
        ({"batch": [{"rule": RULE, "key": "k"}, {"rule": "nowhere", "key": "k"}]}, "batch[1].rule"),
        ({"batch": [{"rule": RULE, "key": "k"}, {"rule": RULE, "key": ""}]}, "batch[1].key"),
        ({"batch": [{"rule": RULE, "key": "k"}], "cost": 5}, "batch"),
        ({"batch": [{"rule": RULE, "key": "k"}], "key": "k"}, "batch"),
        ({"checks": [{"rule": RULE, "key": "k"}], "cost": 5}, "checks"),
    ],
)
async def test_a_check_with_a_fault_names_it_and_takes_nothing(
    house: House, body: dict[str, Any], field: str
) -> None:
    answer = await house.ask("POST", "/check", body)
    assert answer.status_code in (404, 422)
    assert answer.json()["field"] == field
    left = await house.ask("POST", "/check", {"rule": RULE, "key": "k", "cost": 0})
    assert left.json()["remaining"] == 5


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "rule.limit"),
        ({"limit": -1}, "rule.limit"),
        ({"limit": 5, "bogus": 1}, "rule.bogus"),
        ({"limit": 5, "algorithm": "sliding_log", "burst": 9}, "rule.burst"),
        ({"limit": 5, "calendar": "day"}, "rule.calendar"),
        ({"limit": 5, "algorithm": "gcra"}, "rule.algorithm"),
    ],
)
async def test_a_rule_that_cannot_work_names_its_field(
    house: House, rule: dict[str, Any], field: str
) -> None:
    answer = await house.ask("PUT", "/rules/x", {"rule": rule})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await house.ask("GET", "/rules/x")).status_code == 404


async def test_a_name_that_cannot_be_is_refused_in_words(house: House) -> None:
    answer = await house.ask("PUT", "/rules/a%20b", {"rule": {"limit": 5}})
    assert (answer.status_code, answer.json()["field"]) == (422, "rule.name")
    assert "begins with a letter or a digit" in answer.json()["detail"]


PLACES = {"name": "p", "limit": 1, "algorithm": "concurrency"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/tiers/gold", {"rules": []}, "name"),
        ("/tiers/free", {"rules": [RULE, PLACES]}, "rules[1].algorithm"),
        ("/tiers/free", {"rules": [ODD]}, "rules[0].burst"),
        ("/endpoints", {"items": [{"path": "/v1/links", "rule": PLACES}]}, "items[0].rule.algorithm"),
        (
            "/endpoints",
            {"items": [{"path": "/v1/links", "method": "FETCH", "rule": RULE}]},
            "items[0].method",
        ),
        ("/endpoints", {"items": [{"path": "links", "rule": RULE}]}, "items[0].path"),
        ("/endpoints", {"items": [{"path": "/v1/*/x", "rule": RULE}]}, "items[0].path"),
    ],
)
async def test_the_gateway_takes_no_limit_that_fits_nobody_or_stops_everybody(
    house: House, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await house.ask("PUT", path, body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    headers = {"authorization": f"Bearer {house.key}"}
    assert (await house.client.get("/v1/keys", headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["*", "/v1*", "/v1/*", "/v1/keys", "/v1/keys*"])
async def test_endpoint_paths_that_fit_something_are_taken(house: House, path: str) -> None:
    body = {"items": [{"path": path, "rule": {"name": "wide", "limit": 1000}}]}
    assert (await house.ask("PUT", "/endpoints", body)).status_code == 200
    answer = await house.client.get("/v1/keys", headers={"authorization": f"Bearer {house.key}"})
    assert answer.headers["x-ratelimit-limit"] == "1000"


async def test_a_replay_of_what_was_never_recorded_says_so(house: House) -> None:
    answer = await house.ask("POST", "/replay", {"rules": [RULE], "recorded": "nowhere"})
    assert (answer.status_code, answer.json()["field"]) == (422, "recorded")


async def test_envoy_cannot_ask_for_places(house: House) -> None:
    await house.put_rule("places", limit=1, algorithm="concurrency")
    source = "domain: shop\ndescriptors:\n  - key: a\n    rate_limit: {rule: places}\n"
    assert (await house.ask("PUT", "/envoy", {"source": source})).status_code == 200
    question = b"\x0a\x04shop\x12\x0a\x0a\x08\x0a\x01a\x12\x03ann"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        call = channel.unary_unary("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(question, metadata=(("authorization", f"Bearer {house.key}"),), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def spoken(house: House, *data: bytes, ends: bool) -> bytes:
    """What the Redis door answers; `ends`: and closes, else it must still answer PING."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.resp_port)
    writer.write(b"".join(data) + (b"" if ends else command(b"PING", b"still here")))
    got = b""
    async with asyncio.timeout(10):
        while not got.endswith(b"still here\r\n") and (more := await reader.read(65536)):
            got += more
    writer.close()
    return got


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((b"-1", b"2", b"3"), b"max_burst is a whole number from 0"),
        ((b"1", b"0", b"3"), b"count_per_period is a whole number from 1"),
        ((b"1", b"2", b"NaN"), b"period is a whole number from 1 to 31622400"),
        ((b"1", b"2", b"3", b"-1"), b"quantity is a whole number from 0"),
        ((b"999999998", b"1", b"31622400"), b"fills within ten years"),
    ],
)
async def test_cl_throttle_names_the_number_that_cannot_be(
    house: House, numbers: tuple[bytes, ...], said: bytes
) -> None:
    asked = command(b"CL.THROTTLE", b"k", *numbers)
    assert said in await spoken(house, command(b"AUTH", house.key.encode()), asked, ends=False)


@pytest.mark.parametrize("words", [(b"AUTH",), (b"AUTH", b"user"), (b"SETNAME", b"x", b"AUTH", b"user")])
async def test_a_greeting_without_its_password_is_answered(house: House, words: tuple[bytes, ...]) -> None:
    assert b"-ERR HELLO protocol AUTH" in await spoken(house, command(b"HELLO", b"3", *words), ends=False)


async def test_a_client_that_sends_a_megabyte_for_a_key_reads_why_it_is_refused(house: House) -> None:
    asked = command(b"CL.THROTTLE", b"x" * 1_000_000, b"1", b"2", b"3")
    said = await spoken(house, command(b"AUTH", house.key.encode()), asked, ends=True)
    assert b"larger than this server takes" in said


async def test_a_stranger_cannot_make_the_redis_door_keep_much(house: House) -> None:
    torn = b"*9\r\n" + b"$4000\r\n" + b"x" * 4000 + b"\r\n"
    said = await spoken(house, torn + 4 * (b"$4000\r\n" + b"x" * 4000 + b"\r\n"), ends=True)
    assert b"larger than this server takes" in said


async def test_a_key_that_looks_like_a_header_is_a_key(house: House) -> None:
    hostile = (b"a\n$100000", b"*99999", b"*5\r\n$11\r\nCL.THROTTLE\r\n$1\r\na\r\n", b"\0\r\n")
    asked = [command(b"cl.throttle", key, b"4", b"5", b"60", b"1") for key in hostile]
    said = await spoken(house, command(b"AUTH", house.key.encode()), *asked, command(b"QUIT"), ends=True)
    assert said.count(b"*5\r\n:0\r\n:5\r\n:4\r\n") == len(hostile)
    assert b"-ERR" not in said


async def test_a_pipeline_of_any_length_waits_in_its_sockets_and_is_answered_in_order(house: House) -> None:
    asked = [
        command(b"CL.THROTTLE", b"k%d" % (number % 7), b"4", b"5", b"60", b"0") for number in range(30_000)
    ]
    said = await spoken(house, command(b"AUTH", house.key.encode()), *asked, command(b"QUIT"), ends=True)
    assert said.count(b"*5\r\n:0\r\n:5\r\n:5\r\n") == 30_000
    assert said.endswith(b"+OK\r\n")


async def test_a_limit_that_never_admits_promises_no_wait(house: House) -> None:
    await house.put_rule("ban", limit=0)
    refused = await house.ask("GET", "/auth?rule=ban")
    assert (refused.status_code, "retry-after" in refused.headers) == (429, False)
    await house.put_rule("once", limit=1)
    await house.ask("GET", "/auth?rule=once")
    assert int((await house.ask("GET", "/auth?rule=once")).headers["retry-after"]) >= 1


async def test_two_limits_for_one_part_of_the_api_are_told_apart_from_a_conflict(house: House) -> None:
    item = {"method": "GET", "path": "/v1/links*", "rule": {"name": "a", "limit": 5}}
    answer = await house.ask("PUT", "/endpoints", {"items": [item, item]})
    assert (answer.status_code, answer.json()["field"]) == (422, "items[1].path")
    answer = await house.ask("PUT", "/endpoints", {"items": [item | {"method": "get"}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "items[0].method")


async def test_what_stands_beside_a_rule_and_is_not_known_is_refused(house: House) -> None:
    answer = await house.ask("PUT", "/rules/x", {"rule": {"limit": 5}, "verison": "1"})
    assert (answer.status_code, answer.json()["field"]) == (422, "verison")
