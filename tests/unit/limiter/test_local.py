"""State in this process: the hot path says what the specification says, and memory is bounded."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import Decision, HitRefusedError, Rule
from twelvefold.systems.limiter.rules.algorithms import judge
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.headers import header_fields
from twelvefold.systems.limiter.service.local import LocalLimit, local_limit
from twelvefold.systems.limiter.service.local_limits import MAX_RULES, LocalLimits

ALGORITHMS = ("token_bucket", "fixed_window", "sliding_log", "sliding_counter")
START = 1_790_000_000 * 10**9


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def made(rule: Rule, clock: Callable[[], int], max_keys: int = 1000) -> LocalLimit:
    return local_limit(Bound(DEFAULT_TENANT, rule), max_keys=max_keys, monotonic_ns=clock, wall_ns=clock)


@given(
    st.sampled_from(ALGORITHMS),
    st.integers(1, 20),
    st.sampled_from([1, 7, 60]),
    st.lists(st.tuples(st.integers(0, 5 * 10**9), st.integers(0, 4), st.booleans()), max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_the_hot_path_and_the_full_answer_follow_the_specification(
    algorithm: str, limit: int, period: int, steps: list[tuple[int, int, bool]]
) -> None:
    clock = Clock()
    rule = Rule(name="r", limit=limit, period_seconds=period, algorithm=algorithm)  # type: ignore[arg-type]
    local = made(rule, clock)
    plan, state = local.plan, None
    for gap, cost, hot in steps:
        clock.now += gap
        expected, state = judge(plan, state, clock.now, cost)
        if hot:
            assert local.hit(b"k", cost) == expected.allowed
        else:
            assert local.ask(b"k", cost) == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_inventing_keys_neither_fills_the_memory_nor_buys_a_limit(algorithm: str) -> None:
    clock = Clock()
    local = made(Rule(name="r", limit=5, period_seconds=60, algorithm=algorithm), clock, max_keys=100)  # type: ignore[arg-type]
    admitted = sum(local.hit(b"k%d" % number) for number in range(10_000))
    assert len(local) <= 101
    assert admitted <= 100 + 5
    clock.now += 121 * 10**9
    assert local.hit(b"new")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_negative_costs_are_refused(algorithm: str) -> None:
    local = made(Rule(name="r", limit=5, period_seconds=60, algorithm=algorithm), Clock())  # type: ignore[arg-type]
    with pytest.raises(HitRefusedError):
        local.hit(b"k", -1)


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_counter"])
def test_a_wall_clock_set_back_an_hour_gives_nobody_a_second_limit(algorithm: str) -> None:
    clock = Clock()
    local = made(Rule(name="r", limit=5, period_seconds=60, algorithm=algorithm), clock)  # type: ignore[arg-type]
    assert all(local.hit(b"k") for _ in range(5))
    clock.now -= 3600 * 10**9
    assert not local.hit(b"k")
    clock.now += 121 * 10**9
    assert local.hit(b"k")


@pytest.mark.parametrize("wait", [0.0001, 0.999, 1.0, 1.0001, 59.5, 3600.0])
def test_retry_after_is_whole_seconds_and_never_too_short(wait: float) -> None:
    decision = Decision(
        allowed=False, rule='a"b\\ü', limit=5, remaining=0, reset_at=1000.5, reset_seconds=wait, retry_after_seconds=wait
    )  # fmt: skip
    fields = dict(header_fields(decision))
    assert int(fields["retry-after"]) == max(1, math.ceil(wait))
    assert fields["x-ratelimit-reset"] == "1001"
    assert dict(header_fields(decision, reset="seconds"))["x-ratelimit-reset"] == str(math.ceil(wait))
    assert fields["ratelimit-policy"] == '"a\\"b\\\\?";q=5'
    assert fields["ratelimit"].isascii()


def test_a_tenant_with_many_rules_does_not_make_room_with_another_s_counts() -> None:
    limits = LocalLimits(max_keys=1000, fallback_parts=1)
    mine = Bound(TenantId(1), Rule(name="mine", limit=1, period_seconds=3600, mode="local"))
    assert limits.ask(mine, b"=k", 1).allowed
    for number in range(2 * MAX_RULES):
        limits.limit(Bound(TenantId(2), Rule(name=f"r{number}", limit=1, mode="local")))
    assert not limits.ask(mine, b"=k", 1).allowed
