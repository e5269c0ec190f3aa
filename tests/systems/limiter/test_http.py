"""The HTTP door and the gateway, through the real server."""

import asyncio
import json
import time
from collections.abc import Callable

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.systems.limiter.house import House, open_house, raw_exchange

from twelvefold.engines.database import Database
from twelvefold.systems.limiter.settings import LimiterSettings


async def test_a_stored_rule_is_asked_by_name_and_answers_with_all_headers(house: House) -> None:
    await house.put_rule("api", limit=2, period_seconds=3600)
    first = await house.ask("POST", "/check", {"rule": "api", "key": "ann"})
    assert first.status_code == 200
    assert first.json() | {"reset_at": None, "reset_seconds": None} == {
        "allowed": True, "rule": "api", "limit": 2, "remaining": 1, "reset_at": None, "reset_seconds": None,
        "retry_after_seconds": None, "over_limit": False, "delay_seconds": 0.0, "degraded": False,
    }  # fmt: skip
    await house.ask("POST", "/check", {"rule": "api", "key": "ann"})
    refused = await house.ask("POST", "/check", {"rule": "api", "key": "ann"})
    assert refused.json()["allowed"] is False
    for name in (
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
    ):
        assert name in refused.headers


async def test_the_lane_and_the_ordinary_path_send_the_same_bytes(house: House) -> None:
    await house.put_rule("r", limit=1_000_000, period_seconds=1, algorithm="fixed_window", calendar="year")
    body = json.dumps({"rule": "r", "key": "k", "cost": 0}).encode()
    head = (
        f"Host: x\r\nAuthorization: Bearer {house.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
    )
    fast = f"POST /v1/limiter/check HTTP/1.1\r\n{head}\r\n".encode() + body
    slow = f"POST /v1/limiter/check? HTTP/1.1\r\n{head}\r\n".encode() + body
    answered = house.system.mount.hot_requests
    assert answered is not None
    before = answered()
    answers = [await raw_exchange(house.url, request, until=b'"degraded":false}') for request in (fast, slow)]
    assert answered() == before + 1
    heads, bodies = [], []
    for answer in answers:
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head_bytes.split(b"\r\n")[1:])
        lines[b"ratelimit"] = lines[b"ratelimit"].partition(b";t=")[0]
        for moving in (b"x-request-id", b"x-ratelimit-reset", b"content-length"):
            lines.pop(moving, None)
        heads.append(lines)
        bodies.append(json.loads(content) | {"reset_at": "", "reset_seconds": 0})
    assert heads[0] == heads[1]
    assert list(bodies[0].items()) == list(bodies[1].items())


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"rule": "nothing", "key": "k"}, 404, "rule"),
        ({"rule": "r"}, 422, "key"),
        ({"key": "k"}, 422, "rule"),
        ({"rule": "r", "key": ""}, 422, "key"),
        ({"rule": "r", "key": "k", "cost": -1}, 422, "cost"),
        ({"rule": "r", "key": "k", "cost": 1.5}, 422, "cost"),
        ({"rule": "r", "key": "x" * 1_000_000}, 422, "key"),
        ({"rule": {"name": "r", "limit": -1}, "key": "k"}, 422, "rule.limit"),
        ({"rule": "r", "key": "k", "checks": [{"rule": "r", "key": "k"}]}, 422, "checks"),
        ({"checks": []}, 422, "checks"),
    ],
)
async def test_bad_checks_get_a_clear_error(house: House, body: object, status: int, field: str) -> None:
    await house.put_rule("r", limit=1)
    answer = await house.ask("POST", "/check", body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


@pytest.mark.parametrize("body", [b"{", b'{"rule": "r", "key": "k", "cost": NaN}', b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_said_to_be_none(house: House, body: bytes) -> None:
    answer = await house.client.post(
        "/v1/limiter/check",
        content=body,
        headers={"authorization": f"Bearer {house.key}", "content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text


async def test_several_rules_are_one_check_and_a_batch_is_many(house: House) -> None:
    minute, day = (
        {"name": "m", "limit": 10, "period_seconds": 60},
        {"name": "d", "limit": 1, "period_seconds": 86_400},
    )
    both = {"checks": [{"rule": minute, "key": "k"}, {"rule": day, "key": "k"}]}
    assert (await house.ask("POST", "/check", both)).json()["allowed"] is True
    refused = (await house.ask("POST", "/check", both)).json()
    assert (refused["allowed"], refused["binding"]["rule"]) == (False, "d")
    batch = {"batch": [{"rule": minute, "key": "k", "cost": 0}, {"rule": day, "key": "other"}]}
    results = (await house.ask("POST", "/check", batch)).json()["results"]
    assert [result["allowed"] for result in results] == [True, True]
    assert results[0]["remaining"] == 9


async def test_rules_are_written_read_and_ended_with_versions(house: House) -> None:
    await house.put_rule("r", limit=1)
    stored = (await house.ask("GET", "/rules/r")).json()
    assert (stored["version"], stored["rule"]["algorithm"]) == ("1", "token_bucket")
    late = await house.ask("PUT", "/rules/r", {"rule": {"limit": 2}, "version": "0"})
    assert (late.status_code, late.json()["code"]) == (409, "limiter.rule_conflict")
    assert (await house.ask("PUT", "/rules/r", {"rule": {"limit": 2}, "version": "1"})).json()[
        "version"
    ] == "2"
    assert [item["name"] for item in (await house.ask("GET", "/rules")).json()["items"]] == ["r"]
    assert (await house.ask("DELETE", "/rules/r")).status_code == 204
    assert (await house.ask("GET", "/rules/r")).status_code == 404
    bad = await house.ask("PUT", "/rules/r", {"rule": {"limit": 2, "algoritm": "x"}})
    assert bad.status_code == 422
    assert "algoritm" in bad.json()["detail"]


async def test_another_process_follows_a_change(
    house: House, database: Database, valkey_url: str, tmp_path: object
) -> None:
    async with open_house(database, valkey_url, data=tmp_path) as other:
        await house.put_rule("r", limit=1, period_seconds=3600)
        async with asyncio.timeout(10):
            while (  # noqa: ASYNC110 - another process decides when
                await other.ask("POST", "/check", {"rule": "r", "key": "k", "cost": 0})
            ).status_code != 200:
                await asyncio.sleep(0.01)
        await house.ask("POST", "/check", {"rule": "r", "key": "k"})
        assert not (await other.ask("POST", "/check", {"rule": "r", "key": "k"})).json()["allowed"]
        await house.put_rule("r", limit=2, period_seconds=3600)
        async with asyncio.timeout(1.5):
            while not (await other.ask("POST", "/check", {"rule": "r", "key": "k"})).json()["allowed"]:  # noqa: ASYNC110 - another process decides when
                await asyncio.sleep(0.01)
        await house.ask("POST", "/rules/r/reset", {"key": "k"})
        assert (await house.ask("GET", "/rules/r/state", params={"key": "k"})).json()["decision"][
            "remaining"
        ] == 2


async def test_a_rule_of_a_newer_version_keeps_the_old_ones_and_stops_nobody_s_changes(
    house: House, database: Database
) -> None:
    """In a rolling upgrade a process reads what it does not know."""
    await house.put_rule("r", limit=1, period_seconds=3600)
    await database.execute(
        "UPDATE limiter.rule SET body = body || '{\"novelty\": 1}'::jsonb, version = version + 1"
    )
    tenant = await database.fetch_value("SELECT tenant_id FROM limiter.rule")
    with capture_logs() as logs:
        await database.execute("SELECT pg_notify('limiter_rules', $1)", f"rules:{tenant}")
        await until(lambda: any(line["event"] == "limiter.rules.unreadable" for line in logs))
    assert (await house.ask("POST", "/check", {"rule": "r", "key": "k"})).json()["allowed"]
    await database.execute("UPDATE limiter.rule SET body = body - 'novelty', version = version + 1")
    await database.execute("UPDATE limiter.rule SET body = jsonb_set(body, '{limit}', '7')")
    await database.execute("SELECT pg_notify('limiter_rules', $1)", f"rules:{tenant}")
    async with asyncio.timeout(10):
        while (await house.ask("POST", "/check", {"rule": "r", "key": "k"})).json()["limit"] != 7:  # noqa: ASYNC110 - the follower decides when
            await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the follower decides when
            await asyncio.sleep(0.01)


async def test_forward_auth_refuses_with_the_status_that_the_proxy_understands(house: House) -> None:
    await house.put_rule("web", limit=1, period_seconds=3600, by=["ip", "path"])
    seen = {"x-forwarded-for": "6.6.6.6, 2001:db8::1", "x-original-uri": "/a?x=1"}
    assert (await house.ask("GET", "/auth?rule=web", headers=seen)).status_code == 204
    refused = await house.ask("GET", "/auth?rule=web", headers=seen)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 3500
    assert (await house.ask("GET", "/auth?rule=web&deny=403", headers=seen)).status_code == 403
    # The same network is the same client, another path is another key, and the forged entry is nobody.
    neighbour = seen | {"x-forwarded-for": "1.1.1.1, 2001:db8::2"}
    assert (await house.ask("GET", "/auth?rule=web", headers=neighbour)).status_code == 429
    assert (
        await house.ask("GET", "/auth?rule=web", headers=seen | {"x-original-uri": "/b"})
    ).status_code == 204
    assert (await house.ask("GET", "/auth?rule=nothing", headers=seen)).status_code == 404


async def test_forward_auth_believes_nothing_that_a_client_may_have_slipped_in(house: House) -> None:
    await house.put_rule("web", limit=1, period_seconds=3600, by=["ip", "path", "method"])

    async def ask(*said: tuple[str, str]) -> httpx2.Response:
        headers = [("authorization", f"Bearer {house.key}"), *said]
        return await house.client.get("/v1/limiter/auth?rule=web", headers=headers)

    proxy = (("x-forwarded-for", "192.0.2.1"), ("x-forwarded-uri", "/a"), ("x-forwarded-method", "GET"))
    answers = [await ask(("x-forwarded-for", f"198.51.100.{number}"), *proxy) for number in range(2)]
    assert [answer.status_code for answer in answers] == [204, 429]  # the proxy's own line is the last
    for name, value in (("x-original-uri", "/b"), ("x-original-method", "PUT"), ("x-forwarded-uri", "/b")):
        refused = await ask(*proxy, (name, value))
        assert refused.status_code == 422, name
        assert refused.json()["field"].endswith(name.rpartition("-")[2])


async def test_counts_offenders_and_replay_tell_what_happened(house: House) -> None:
    await house.put_rule("r", limit=2, period_seconds=3600, record=True)
    for _ in range(5):
        await house.ask("POST", "/check", {"rule": "r", "key": "ann"})
    async with asyncio.timeout(10):
        while not (top := (await house.ask("GET", "/top")).json()["items"]):  # noqa: ASYNC110 - another process decides when
            await asyncio.sleep(0.05)
    assert top == [{"rule": "r", "key": "ann", "denied": 3}]
    series = (await house.ask("GET", "/traffic?rule=r&minutes=1")).json()["series"]
    assert (sum(p["allowed"] for p in series), sum(p["denied"] for p in series)) == (2, 3)
    request = {"rules": [{"name": "wider", "limit": 4, "period_seconds": 3600}], "recorded": "r"}
    replayed = (await house.ask("POST", "/replay", request)).json()
    assert (replayed["events"], replayed["results"][0]["allowed"], replayed["results"][0]["denied"]) == (
        5,
        4,
        1,
    )
    sent = {"rules": [{"name": "one", "limit": 1}], "events": [{"at_ms": 0}, {"at_ms": 1}, {"at_ms": 60_001}]}
    assert (await house.ask("POST", "/replay", sent)).json()["results"][0]["admitted"] == [True, False, True]


async def test_places_over_http(house: House) -> None:
    await house.put_rule("jobs", limit=1, algorithm="concurrency", period_seconds=60)
    place = {"rule": "jobs", "key": "k"}
    first = (await house.ask("POST", "/permits", place)).json()
    assert (await house.ask("POST", "/permits", place)).json()["allowed"] is False
    assert (await house.ask("POST", "/permits/renew", place | {"id": first["id"]})).json()["allowed"] is True
    await house.ask("POST", "/permits/release", place | {"id": first["id"]})
    assert (await house.ask("POST", "/permits", place)).json()["allowed"] is True


async def made_key(house: House, tier: str, scopes: list[str]) -> str:
    answer = await house.client.post(
        "/v1/keys",
        json={"name": "k", "scopes": scopes, "tier": tier},
        headers={"authorization": f"Bearer {house.key}"},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def test_a_free_key_has_a_hundred_requests_a_minute_and_headers_on_each(house: House) -> None:
    key = await made_key(house, "free", ["limiter:read"])
    headers = {"authorization": f"Bearer {key}"}
    statuses: list[int] = []
    answer = httpx2.Response(200)
    began = time.monotonic()
    for _ in range(200):
        answer = await house.client.get("/v1/limiter/rules", headers=headers)
        statuses.append(answer.status_code)
        if statuses[-1] == 429:
            break
    came_back = int((time.monotonic() - began) / 0.6)
    assert 100 <= statuses.count(200) <= 100 + came_back + 1
    assert answer.json()["code"] == "limiter.limit_exceeded"
    assert answer.json()["rule"] == "free-minute"
    assert answer.headers.get_list("retry-after") == ["1"]
    assert '"free-minute";q=100;w=60' in answer.headers["ratelimit-policy"]


async def test_who_can_repair_the_limits_is_never_locked_out(house: House) -> None:
    banned = {"rules": [{"name": "ban", "limit": 0}]}
    key = await made_key(house, "free", ["limiter:read", "limiter:admin"])
    assert (await house.ask("PUT", "/tiers/enterprise", banned)).status_code == 200
    assert (await house.ask("PUT", "/tiers/free", banned)).status_code == 200
    headers = {"authorization": f"Bearer {key}"}
    assert (await house.client.get("/v1/keys", headers=headers)).status_code in (403, 429)
    assert (await house.client.get("/v1/limiter/rules", headers=headers)).status_code == 200
    assert (await house.client.get("/healthz")).status_code == 200
    assert (await house.ask("PUT", "/tiers/enterprise", {"rules": []})).status_code == 200


async def test_a_part_of_the_api_can_have_a_limit_of_its_own(house: House) -> None:
    endpoint = {
        "method": "GET",
        "path": "/v1/keys",
        "rule": {"name": "keys", "limit": 1, "period_seconds": 3600},
    }
    assert (await house.ask("PUT", "/endpoints", {"items": [endpoint]})).status_code == 200
    headers = {"authorization": f"Bearer {house.key}"}
    statuses = [(await house.client.get("/v1/keys", headers=headers)).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    assert (await house.client.get("/v1/session", headers=headers)).status_code == 200


async def test_the_nameless_are_limited_by_address(
    database: Database, valkey_url: str, tmp_path: object
) -> None:
    settings = LimiterSettings(answer_ms=5000, ip_requests_a_minute=3)
    async with open_house(database, valkey_url, data=tmp_path, settings=settings) as house:
        statuses = [(await house.client.get("/v1/keys")).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]


async def test_a_key_without_the_scope_checks_nothing(house: House) -> None:
    key = await made_key(house, "free", ["links:read"])
    answer = await house.client.post(
        "/v1/limiter/check",
        json={"rule": {"name": "r", "limit": 1}, "key": "k"},
        headers={"authorization": f"Bearer {key}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_bad_yaml_keeps_the_old_configuration_and_says_why(house: House) -> None:
    good = "domain: d\ndescriptors:\n  - key: a\n    rate_limit: {unit: minute, requests_per_unit: 1}\n"
    assert (await house.ask("PUT", "/envoy", {"source": good})).json()["domain"] == "d"
    for bad, says in (
        ("domain: d\ndescriptors: [", "line"),
        ("domain: d\ndescriptors:\n  - key: a\n    rate_limit: {unit: fortnight}", "unit"),
        ("domain: d\ndescriptors:\n  - kee: a", "kee"),
        ("a: &x [1]\nb: *x", "alias"),
        ("domain: d\ndescriptors:\n  - key: a\n  - key: a\n", "twice"),
    ):
        answer = await house.ask("PUT", "/envoy", {"source": bad})
        assert answer.status_code == 422, bad
        assert says in answer.json()["detail"]
    assert (await house.ask("GET", "/envoy")).json()["items"][0]["source"] == good
