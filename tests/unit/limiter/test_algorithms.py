"""Every algorithm against an oracle that computes in fractions: it admits neither more nor less."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.algorithms import judge, refund, seed, used
from twelvefold.systems.limiter.rules.plan import NS, US, Plan, compile_plan

START = 1_790_000_000 * US
ALGORITHMS = ("token_bucket", "fixed_window", "sliding_log", "sliding_counter")

limits = st.integers(1, 30)
periods = st.sampled_from([1, 2, 7, 60, 3600, 86_400])
gaps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 50), st.integers(0, 3 * 10**6), st.integers(0, 4 * 10**9)), st.integers(1, 5)
    ),
    min_size=1,
    max_size=60,
)
rules = st.builds(
    lambda algorithm, limit, period, burst: Rule(
        name="r",
        algorithm=algorithm,
        limit=limit,
        period_seconds=period,
        burst=burst if algorithm == "token_bucket" else None,
    ),
    st.sampled_from(ALGORITHMS),
    limits,
    periods,
    st.one_of(st.none(), st.integers(1, 30)),
)


class Bucket:
    """Tokens as a fraction, refilled continuously."""

    def __init__(self, rule: Rule) -> None:
        assert rule.limit is not None
        self.capacity = Fraction(rule.burst or rule.limit)
        self.rate = Fraction(rule.limit, rule.period_seconds * US)
        self.level, self.at = self.capacity, START

    def ask(self, now: int, cost: int) -> bool:
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= cost:
            self.level -= cost
            return True
        return False


class Log:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.entries: list[int] = []

    def count(self, now: int) -> int:
        return sum(1 for at in self.entries if at > now - self.rule.period_seconds * US)

    def ask(self, now: int, cost: int) -> bool:
        assert self.rule.limit is not None
        if self.count(now) + cost <= self.rule.limit:
            self.entries += [now] * cost
            return True
        return False


class Fixed(Log):
    def count(self, now: int) -> int:
        period = self.rule.period_seconds * US
        return sum(1 for at in self.entries if at // period == now // period)


class Counter(Log):
    """The weight of the last window falls in `steps` equal steps."""

    def ask(self, now: int, cost: int) -> bool:
        assert self.rule.limit is not None
        plan = compile_plan(self.rule)
        period = self.rule.period_seconds * US
        count = sum(1 for at in self.entries if at // period == now // period)
        before = sum(1 for at in self.entries if at // period == now // period - 1)
        weight = 1 - Fraction((now % period) // plan.step, plan.steps)
        if count + cost + before * weight <= self.rule.limit:
            self.entries += [now] * cost
            return True
        return False


ORACLES: dict[str, Callable[[Rule], Any]] = {
    "token_bucket": Bucket,
    "fixed_window": Fixed,
    "sliding_log": Log,
    "sliding_counter": Counter,
}


@given(rules, gaps)
@settings(max_examples=400, deadline=None)
def test_every_algorithm_admits_what_its_oracle_admits(rule: Rule, arrivals: list[tuple[int, int]]) -> None:
    plan, oracle = compile_plan(rule), ORACLES[rule.algorithm](rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        outcome, state = judge(plan, state, now, cost)
        assert outcome.allowed == oracle.ask(now, cost)


@given(rules, gaps)
@settings(max_examples=300, deadline=None)
def test_waiting_exactly_as_told_succeeds_and_a_moment_less_does_not(
    rule: Rule, arrivals: list[tuple[int, int]]
) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        outcome, state = judge(plan, state, now, cost)
        if outcome.retry_us > 0:
            assert judge(plan, state, now + outcome.retry_us, cost)[0].allowed
            assert not judge(plan, state, now + outcome.retry_us - 1, cost)[0].allowed
        elif not outcome.allowed:
            assert cost > plan.capacity


@given(rules, gaps)
@settings(max_examples=200, deadline=None)
def test_remaining_is_what_can_be_had_at_once_and_a_look_takes_nothing(
    rule: Rule, arrivals: list[tuple[int, int]]
) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        outcome, state = judge(plan, state, now, cost)
        look, same = judge(plan, state, now, 0)
        assert same == state
        assert look.remaining == outcome.remaining
        assert look.allowed == (look.remaining > 0)
        if look.remaining:
            assert judge(plan, state, now, look.remaining)[0].allowed
        assert not judge(plan, state, now, look.remaining + 1)[0].allowed


@given(rules, gaps)
@settings(max_examples=200, deadline=None)
def test_after_reset_the_whole_limit_is_there(rule: Rule, arrivals: list[tuple[int, int]]) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        outcome, state = judge(plan, state, now, cost)
        assert judge(plan, state, now + outcome.reset_us, 0)[0].remaining == plan.capacity


@given(rules, gaps)
@settings(max_examples=200, deadline=None)
def test_a_refusal_changes_nothing(rule: Rule, arrivals: list[tuple[int, int]]) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        outcome, after = judge(plan, state, now, cost)
        if not outcome.allowed:
            assert after == state
        state = after


@given(rules, gaps, st.integers(1, 10))
@settings(max_examples=200, deadline=None)
def test_a_refund_gives_back_at_most_what_was_taken(
    rule: Rule, arrivals: list[tuple[int, int]], back: int
) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        _, state = judge(plan, state, now, cost)
    before = judge(plan, state, now, 0)[0].remaining
    after = judge(plan, refund(plan, state, now, back), now, 0)[0].remaining
    assert before <= after <= min(before + back, plan.capacity)
    assert judge(plan, refund(plan, None, now, back), now, 0)[0].remaining == plan.capacity


@given(rules, gaps, st.sampled_from([60, 3600, 86_400]))
@settings(max_examples=200, deadline=None)
def test_a_clock_set_back_delays_nobody_longer_than_the_rule_itself(
    rule: Rule, arrivals: list[tuple[int, int]], back_seconds: int
) -> None:
    plan = compile_plan(rule)
    state, now = None, START
    for gap, cost in arrivals:
        now += gap
        _, state = judge(plan, state, now, cost)
    now -= back_seconds * US
    outcome, _ = judge(plan, state, now, plan.capacity)
    assert outcome.retry_us <= plan.time_to_full
    assert judge(plan, state, now, 1)[0].retry_us <= plan.time_to_full
    oracle_full = judge(plan, None, now, 0)[0].remaining
    assert judge(plan, state, now, 0)[0].remaining <= oracle_full


@given(rules, st.integers(0, 40))
def test_what_was_used_can_be_carried_to_another_form(rule: Rule, units: int) -> None:
    plan = compile_plan(rule)
    state = seed(plan, units, START)
    assert used(plan, state, START) == min(units, plan.capacity)


@given(
    st.integers(2, 20),
    st.lists(st.integers(0, 2 * 10**7), min_size=20, max_size=200),
)
@settings(max_examples=100, deadline=None)
def test_a_sliding_counter_never_admits_more_than_twice_its_limit_in_any_window(
    limit: int, arrival_gaps: list[int]
) -> None:
    rule = Rule(name="r", algorithm="sliding_counter", limit=limit, period_seconds=60)
    plan = compile_plan(rule)
    state, now, admitted = None, START, []
    for gap in arrival_gaps:
        now += gap
        outcome, state = judge(plan, state, now, 1)
        if outcome.allowed:
            admitted.append(now)
    # The estimate spreads the last window evenly; whatever the arrivals, it errs by less than one limit.
    for at in admitted:
        assert sum(1 for other in admitted if at - 60 * US < other <= at) < 2 * limit


def test_a_sliding_counter_follows_an_exact_log_closely_when_arrivals_are_even() -> None:
    limit = 100
    counter = compile_plan(Rule(name="r", algorithm="sliding_counter", limit=limit, period_seconds=60))
    log = compile_plan(Rule(name="r", algorithm="sliding_log", limit=limit, period_seconds=60))
    states: dict[int, Any] = {}
    admitted = {counter.kind: 0, log.kind: 0}
    for number in range(20_000):
        now = START + number * 60 * US // 150
        for plan in (counter, log):
            outcome, states[plan.kind] = judge(plan, states.get(plan.kind), now, 1)
            admitted[plan.kind] += outcome.allowed
    assert abs(admitted[counter.kind] - admitted[log.kind]) <= 0.02 * admitted[log.kind]


def boundary(algorithm: str) -> list[bool]:
    """99 units at :59.9, then 100 more at 1:00.1."""
    plan = compile_plan(Rule(name="r", algorithm=algorithm, limit=100, period_seconds=60))  # type: ignore[arg-type]
    minute = START - START % (60 * US)
    first, state = judge(plan, None, minute + 59_900_000, 99)
    second, _ = judge(plan, state, minute + 60_100_000, 100)
    return [first.allowed, second.allowed]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_a_fixed_window_lets_two_full_loads_pass_at_its_edge(algorithm: str) -> None:
    assert boundary(algorithm) == [True, algorithm == "fixed_window"]


def test_a_bucket_of_a_thousand_a_day_stays_drained_after_an_idle_hour() -> None:
    plan = compile_plan(Rule(name="r", limit=1000, period_seconds=86_400))
    _, state = judge(plan, None, START, 1000)
    outcome, _ = judge(plan, state, START + 3600 * US, 0)
    assert outcome.remaining == 41  # 1000/24, not 1000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_more_than_ever_fits_is_refused_without_a_promise(algorithm: str) -> None:
    plan = compile_plan(Rule(name="r", algorithm=algorithm, limit=5, period_seconds=60))  # type: ignore[arg-type]
    outcome, state = judge(plan, None, START, 6)
    assert (outcome.allowed, outcome.retry_us, state) == (False, -1, None)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_limit_of_zero_is_a_ban(algorithm: str) -> None:
    plan = compile_plan(Rule(name="r", algorithm=algorithm, limit=0, period_seconds=60))  # type: ignore[arg-type]
    for cost in (0, 1):
        outcome, _ = judge(plan, None, START, cost)
        assert (outcome.allowed, outcome.remaining, outcome.retry_us) == (False, 0, -1)


def test_the_finest_and_the_coarsest_rates_are_exact_to_the_thousandth_of_a_microsecond() -> None:
    for limit, period in ((999_983, 1), (1_000_000_000, 86_400), (7, 31 * 86_400), (1_000_000_000, 1)):
        for per_second in (US, NS):
            plan: Plan = compile_plan(Rule(name="r", limit=limit, period_seconds=period), per_second)
            exact = Fraction(period * per_second, limit)
            error = Fraction(plan.interval, plan.scale) - exact
            assert 0 <= error <= Fraction(1, 1000)
