"""What a library user is promised."""

import asyncio
import math
import sys
from pathlib import Path

import pytest

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import (
    Hit,
    HitRefusedError,
    LimitExceededError,
    Rule,
    RuleNotFoundError,
    RuleRefusedError,
)
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.rules.headers import header_fields
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.rule_book import succeed
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.leases import LeaseStore

HOUR = {"period_seconds": 3600}


async def test_a_decision_carries_all_that_the_headers_need(limiter: Limiter) -> None:
    rule = Rule(name="api", limit=2, period_seconds=60)
    first = await limiter.check(rule, "ann")
    assert (first.allowed, first.limit, first.remaining) == (True, 2, 1)
    await limiter.check(rule, "ann")
    refused = await limiter.check(rule, "ann")
    assert not refused.allowed
    assert refused.retry_after_seconds is not None
    assert 29 < refused.retry_after_seconds <= 30
    fields = dict(header_fields(refused))
    assert fields["retry-after"] == str(math.ceil(refused.retry_after_seconds))
    assert fields["x-ratelimit-limit"] == "2"
    assert fields["x-ratelimit-remaining"] == "0"
    assert fields["ratelimit-policy"] == '"api";q=2;w=60'
    assert fields["ratelimit"] == '"api";r=0;t=30'


@pytest.mark.parametrize("mode", ["exact", "leased", "local"])
@pytest.mark.parametrize("algorithm", ["token_bucket", "fixed_window", "sliding_log", "sliding_counter"])
async def test_every_mode_and_algorithm_admits_the_limit_and_no_more(
    limiter: Limiter, mode: str, algorithm: str
) -> None:
    rule = Rule(name="r", limit=100, period_seconds=86_400, mode=mode, algorithm=algorithm)  # type: ignore[arg-type]
    decisions = await asyncio.gather(*(limiter.check(rule, "k") for _ in range(500)))
    assert sum(decision.allowed for decision in decisions) == 100


@pytest.mark.parametrize("mode", ["exact", "leased"])
async def test_two_thousand_checks_over_four_processes_admit_exactly_a_hundred(
    valkey_url: str, mode: str
) -> None:
    program = Path(__file__).with_name("burst_process.py")
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), valkey_url, mode, "500"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]

    async def ask_all() -> int:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        return sum([int(await process.stdout.readline()) for process in processes if process.stdout])

    admitted = await ask_all()
    # In leased mode a slice may be with a process that has no use for it: it comes back by itself.
    async with asyncio.timeout(30):
        while mode == "leased" and admitted < 100:
            admitted += await ask_all()
    assert admitted + await ask_all() == 100
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_if_the_day_refuses_the_minute_is_not_debited(limiter: Limiter) -> None:
    minute = Rule(name="minute", limit=100, period_seconds=60)
    day = Rule(name="day", limit=3, period_seconds=86_400)
    for _ in range(3):
        assert (await limiter.check_all((Hit(minute, "k"), Hit(day, "k")))).allowed
    before = await limiter.peek(minute, "k")
    verdict = await limiter.check_all((Hit(minute, "k"), Hit(day, "k")))
    assert not verdict.allowed
    assert (verdict.binding.rule, verdict.binding.remaining) == ("day", 0)
    assert (await limiter.peek(minute, "k")).remaining >= before.remaining


@pytest.mark.parametrize("others", [("local", "exact"), ("leased", "exact"), ("local", "leased")])
async def test_all_or_nothing_holds_across_modes(limiter: Limiter, others: tuple[str, str]) -> None:
    wide = Rule(name="wide", limit=1000, mode=others[0], algorithm="fixed_window", **HOUR)  # type: ignore[arg-type]
    narrow = Rule(name="narrow", limit=2, mode=others[1], **HOUR)  # type: ignore[arg-type]
    allowed = [(await limiter.check_all((Hit(wide, "k"), Hit(narrow, "k")))).allowed for _ in range(10)]
    assert sum(allowed) == 2
    assert (await limiter.peek(wide, "k")).remaining >= 998 - (others[0] == "leased") * 100


async def test_cost_zero_looks_and_too_much_never_fits(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=5, **HOUR)
    assert (await limiter.peek(rule, "k")).remaining == 5
    never = await limiter.check(rule, "k", 6)
    assert (never.allowed, never.retry_after_seconds) == (False, None)
    assert "retry-after" not in dict(header_fields(never))
    assert (await limiter.peek(rule, "k")).remaining == 5
    ban = await limiter.check(Rule(name="ban", limit=0, **HOUR), "k")
    assert (ban.allowed, ban.retry_after_seconds) == (False, None)
    free = await limiter.check(Rule(name="free", limit=None), "k", 1000)
    assert (free.allowed, free.remaining, header_fields(free)) == (True, 4_294_967_295, ())


@pytest.mark.parametrize("mode", ["exact", "leased", "local"])
async def test_a_look_at_a_used_up_key_says_no_and_takes_nothing(limiter: Limiter, mode: str) -> None:
    rule = Rule(name="r", limit=3, mode=mode, **HOUR)  # type: ignore[arg-type]
    assert (await limiter.peek(rule, "k")).allowed
    assert [(await limiter.check(rule, "k")).allowed for _ in range(4)] == [True] * 3 + [False]
    assert not (await limiter.peek(rule, "k")).allowed


@pytest.mark.parametrize("cost", [-1, 10**12, 1.5, float("nan"), True])
async def test_absurd_costs_are_refused_with_the_field(limiter: Limiter, cost: object) -> None:
    with pytest.raises(HitRefusedError) as caught:
        await limiter.check(Rule(name="r", limit=5), "k", cost)  # type: ignore[arg-type]
    assert caught.value.field == "cost"


@pytest.mark.parametrize(
    "key", ["", "x" * 4097, "x" * 1_000_000, (), ("a",) * 33, ("a", 3), "\ud800", 5, None, b"a"]
)
async def test_absurd_keys_are_refused_with_the_field(limiter: Limiter, key: object) -> None:
    with pytest.raises(HitRefusedError) as caught:
        await limiter.check(Rule(name="r", limit=5), key)  # type: ignore[arg-type]
    assert caught.value.field == "key"


async def test_keys_that_look_alike_are_not(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=1, **HOUR)
    keys = [
        ("a:b", "c"),
        ("a", "b:c"),
        "a:b:c",
        ("a:b:c", ""),
        "A:B:C",
        "a\0b",
        "a",
        "}{",
        "x" * 200,
        "x" * 201,
        "x" * 4096,
    ]
    for key in keys:
        assert (await limiter.check(rule, key)).allowed, key  # type: ignore[arg-type]


async def test_a_refund_gives_back_at_most_what_was_taken(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=5, **HOUR)
    await limiter.check(rule, "k", 5)
    assert not (await limiter.check(rule, "k")).allowed
    await limiter.refund(rule, "k", 2)
    assert (await limiter.check(rule, "k")).allowed
    await limiter.refund(rule, "k", 1000)
    assert (await limiter.peek(rule, "k")).remaining == 5


@pytest.mark.parametrize("mode", ["exact", "leased", "local"])
async def test_a_reset_is_seen_at_once_here(limiter: Limiter, mode: str) -> None:
    rule = Rule(name="r", limit=1, mode=mode, **HOUR)  # type: ignore[arg-type]
    assert (await limiter.check(rule, "k")).allowed
    assert not (await limiter.check(rule, "k")).allowed
    await limiter.reset(rule, "k")
    assert (await limiter.check(rule, "k")).allowed


async def test_another_process_sees_a_reset_within_a_second(limiter: Limiter, valkey_url: str) -> None:
    rule = Rule(name="r", limit=1, **HOUR)
    async with open_limiter(valkey_url, settings=LimiterSettings(answer_ms=5000)) as other:
        await limiter.check(rule, "k")
        assert not (await other.check(rule, "k")).allowed
        await limiter.reset(rule, "k")
        async with asyncio.timeout(1.1):
            while not (await other.check(rule, "k")).allowed:  # noqa: ASYNC110 - the promise is about time
                await asyncio.sleep(0.01)


async def test_a_flood_on_a_used_up_key_is_answered_from_memory(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=1, **HOUR)
    await limiter.check(rule, "k")
    await limiter.check(rule, "k")
    sent = limiter._shared.sent_batches
    for _ in range(100):
        assert not (await limiter.check(rule, "k")).allowed
    assert limiter._shared.sent_batches == sent


async def test_a_raised_limit_gives_the_difference_and_a_lowered_one_counts_what_was_used(
    limiter: Limiter,
) -> None:
    def stored(limit: int) -> None:
        nonlocal version
        version = succeed(version, Rule(name="r", limit=limit, algorithm="fixed_window", **HOUR))
        limiter.book.put(DEFAULT_TENANT, version)

    version = None
    stored(10)
    await limiter.check("r", "k", 8)
    stored(12)
    assert (await limiter.peek("r", "k")).remaining == 4
    stored(5)
    assert (await limiter.peek("r", "k")).remaining == 0
    stored(10)
    assert (await limiter.peek("r", "k")).remaining == 5


async def test_soft_rules_delay_or_flag_and_shadows_only_note(limiter: Limiter) -> None:
    for action, shadow in (("delay", False), ("flag", False), ("deny", True)):
        rule = Rule(name=f"{action}{shadow}", limit=1, action=action, shadow=shadow, **HOUR)  # type: ignore[arg-type]
        await limiter.check(rule, "k")
        over = await limiter.check(rule, "k")
        assert (over.allowed, over.over_limit) == (True, True)
        assert (over.delay_seconds > 0) == (action == "delay")


async def test_places_are_limited_and_end_by_themselves(limiter: Limiter) -> None:
    rule = Rule(name="jobs", limit=2, algorithm="concurrency", period_seconds=1)
    first, second, third = [await limiter.acquire(rule, "k") for _ in range(3)]
    assert [first.allowed, second.allowed, third.allowed] == [True, True, False]
    assert third.retry_after_seconds is not None
    await limiter.release(rule, "k", first.id)
    assert (await limiter.acquire(rule, "k")).allowed
    # The holder of `second` has crashed: its place is free again when its second is over.
    async with asyncio.timeout(2):
        while not (await limiter.acquire(rule, "k")).allowed:  # noqa: ASYNC110 - the server's clock decides
            await asyncio.sleep(0.02)
    assert not (await limiter.renew(rule, "k", second.id)).allowed


async def test_the_decorator_raises_with_the_wait(limiter: Limiter) -> None:
    @limiter.limited(Rule(name="r", limit=1, **HOUR), lambda user: user)
    async def greet(user: str) -> str:
        return f"hello {user}"

    assert await greet("ann") == "hello ann"
    assert await greet("bob") == "hello bob"
    with pytest.raises(LimitExceededError) as caught:
        await greet("ann")
    assert caught.value.retry_after_seconds is not None


async def test_an_unknown_rule_names_the_nearest(limiter: Limiter) -> None:
    limiter.book.put(DEFAULT_TENANT, succeed(None, Rule(name="uploads", limit=1)))
    with pytest.raises(RuleNotFoundError) as caught:
        await limiter.check("upload", "k")
    assert "uploads" in (caught.value.hint or "")
    with pytest.raises(RuleNotFoundError):
        await limiter.check("uploads", "k", tenant=TenantId(2))


async def test_tenants_with_the_same_names_never_meet(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=1, **HOUR)
    for tenant in (TenantId(1), TenantId(2)):
        assert (await limiter.check(rule, "k", tenant=tenant)).allowed
        assert not (await limiter.check(rule, "k", tenant=tenant)).allowed


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 5, "burst": 5, "algorithm": "fixed_window"},
        {"limit": 5, "calendar": "day"},
        {"limit": 5, "zone": "Europe/Berlin"},
        {"limit": 5, "calendar": "day", "algorithm": "fixed_window", "zone": "Atlantis/Deep"},
        {"limit": 50_000, "algorithm": "sliding_log"},
        {"limit": None, "algorithm": "concurrency"},
        {"limit": 5, "reach": "home"},
        {"limit": 5, "penalty_seconds": 5, "mode": "local"},
        {"limit": 1, "burst": 1_000_000_000, "period_seconds": 86_400},
        {"limit": -1},
        {"limit": 2.5},
        {"limit": float("nan")},
        {"limit": True},
        {"limit": 10**18},
        {"limit": 5, "period_seconds": 0},
        {"limit": 5, "period_seconds": 0.5},
        {"limit": 5, "algorithm": "tokenbucket"},
        {"limit": 5, "mode": "exakt"},
        {"limit": 5, "failure": "shut"},
        {"limit": 5, "by": ["ip"]},
        {"limit": 5, "name": "a b"},
    ],
)
async def test_rules_that_cannot_work_are_refused_with_the_field(
    limiter: Limiter, fields: dict[str, object]
) -> None:
    with pytest.raises(RuleRefusedError) as caught:
        await limiter.check(Rule(**({"name": "r"} | fields)), "k")  # type: ignore[arg-type]
    assert caught.value.field in fields
    assert isinstance(caught.value, InvalidInputError)
    # A fault of the caller's is no outage: the others are still counted.
    assert not (await limiter.check(Rule(name="other", limit=5), "k")).degraded


@pytest.mark.parametrize("rule", [5, None, b"api", {"name": "api", "limit": 5}])
async def test_what_is_no_rule_is_refused_in_words(limiter: Limiter, rule: object) -> None:
    with pytest.raises(RuleRefusedError, match="name of a stored one"):
        await limiter.check(rule, "k")  # type: ignore[arg-type]


async def test_a_dead_nodes_lease_comes_back_and_the_overshoot_is_within_it(
    limiter: Limiter, valkey_url: str
) -> None:
    rule = Rule(name="r", limit=1000, mode="leased", algorithm="fixed_window", calendar="year")
    bound = limiter.book.bound(DEFAULT_TENANT, rule)
    async with open_limiter(valkey_url):  # only its store is used: this node dies with its lease
        dead = LeaseStore(limiter._leases._store._valkey, "dead", call_seconds=5)
        grant = await dead.lease(bound, b"=k", fence=0, unused=0, need=1, want=100, ttl_us=1_000_000)
        assert grant.granted == 100
    held = await dead.outstanding(bound, b"=k")
    assert held == {"dead": 100}
    admitted = 0
    async with asyncio.timeout(30):
        while admitted < 1000:
            admitted += (await limiter.check(rule, "k")).allowed
    # All 1000 were admitted here, and whatever the dead node used came on top: at most its lease.
    assert not (await limiter.check(rule, "k")).allowed


async def test_a_returned_lease_of_an_old_fence_changes_nothing(limiter: Limiter) -> None:
    rule = Rule(name="r", limit=100, mode="leased", **HOUR)
    bound = limiter.book.bound(DEFAULT_TENANT, rule)
    store = LeaseStore(limiter._leases._store._valkey, "node", call_seconds=5)
    first = await store.lease(bound, b"=k", fence=0, unused=0, need=1, want=10, ttl_us=10**6)
    second = await store.lease(bound, b"=k", fence=first.fence, unused=0, need=1, want=10, ttl_us=10**6)
    assert second.remaining == 80
    late = await store.lease(bound, b"=k", fence=first.fence, unused=10, need=0, want=0, ttl_us=10**6)
    assert late.remaining in (90, 91)  # the unknown grant of ten came back, not twenty
