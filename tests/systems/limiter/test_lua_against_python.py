"""The scripts say what the Python says: same vectors, same outcomes, same state, checked on a real Valkey."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.algorithms import judge, refund, used
from twelvefold.systems.limiter.rules.calendar import edges, window_of
from twelvefold.systems.limiter.rules.plan import US, compile_plan, wire
from twelvefold.systems.limiter.store.scripts import source

# Moments to come: nothing that a test wrote runs out by the server's own clock meanwhile.
START = (int(time.time()) + 100_000) * US

rules = st.builds(
    lambda algorithm, limit, period, burst: Rule(
        name="r",
        algorithm=algorithm,
        limit=limit,
        period_seconds=period,
        burst=burst if algorithm == "token_bucket" else None,
    ),
    st.sampled_from(["token_bucket", "fixed_window", "sliding_log", "sliding_counter"]),
    st.one_of(st.integers(0, 30), st.sampled_from([100, 1000, 9999])),
    st.sampled_from([1, 2, 7, 60, 3600, 86_400]),
    st.one_of(st.none(), st.integers(1, 3000)),
)
steps = st.lists(
    st.tuples(
        st.one_of(st.integers(-(10**6), 50), st.integers(0, 3 * 10**6), st.integers(-(10**10), 4 * 10**9)),
        st.lists(st.integers(-5, 8), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=25,
)


class Server:
    """The check script with its clock in our hands."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.script = client.register_script(source("check").replace("call('TIME')", "{ARGV[2], ARGV[3]}"))

    def __call__(self, keys: list[str], job: Any, now: int) -> list[int]:
        reply = self.script(keys=keys, args=[msgspec.msgpack.encode(job), now // US, now % US])
        return msgspec.msgpack.decode(reply)


@pytest.fixture
def server(valkey_url: str) -> Iterator[Server]:
    with redis.Redis(unix_socket_path=unquote(urlsplit(valkey_url).path)) as client:
        yield Server(client)


@given(rule=rules, path=steps)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_script_and_python_agree_at_every_step(server: Server, rule: Rule, path: Any) -> None:
    server.client.flushdb()
    plan = compile_plan(rule)
    definition = wire(plan, enforced=True)
    state, now = None, START
    for gap, costs in path:
        now += gap
        checks: list[int] = []
        expected: list[tuple[int, int, int, int]] = []
        for cost in costs:
            checks += (1, 1, 1, cost)
            if cost < 0:
                state = refund(plan, state, now, -cost)
            outcome, state = judge(plan, state, now, max(cost, 0))
            expected.append((int(outcome.allowed), outcome.remaining, outcome.reset_us, outcome.retry_us))
        numbers = server(["k"], ([definition], [], checks), now)
        got = [tuple(numbers[at : at + 4]) for at in range(1, len(numbers), 4)]
        assert numbers[0] == now
        assert got == expected


@given(first=rules, second=rules, path=steps)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_rules_are_debited_together_or_not_at_all(
    server: Server, first: Rule, second: Rule, path: Any
) -> None:
    server.client.flushdb()
    plans = compile_plan(first), compile_plan(second)
    definitions = [wire(plan, enforced=True) for plan in plans]
    states: list[Any] = [None, None]
    now = START
    for gap, costs in path:
        now += abs(gap)
        for cost in map(abs, costs):
            outcomes, after = zip(
                *(judge(plan, state, now, cost) for plan, state in zip(plans, states, strict=True)),
                strict=True,
            )
            if all(outcome.allowed for outcome in outcomes):
                states = list(after)
            numbers = server(["a", "b"], (definitions, [], [2, 1, 1, cost, 2, 2, cost]), now)
            assert [numbers[1], numbers[5]] == [int(outcome.allowed) for outcome in outcomes]
            looks = [judge(plan, state, now, 0)[0] for plan, state in zip(plans, states, strict=True)]
            assert [numbers[2], numbers[6]] == [look.remaining for look in looks]
            assert [numbers[3], numbers[7]] == [look.reset_us for look in looks]


@given(old=rules, new=rules, path=steps, later=st.integers(0, 10**7))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_rule_starts_with_what_was_used(
    server: Server, old: Rule, new: Rule, path: Any, later: int
) -> None:
    server.client.flushdb()
    old_plan, new_plan = compile_plan(old), compile_plan(new)
    if not old_plan.limit or not new_plan.limit:
        return
    definitions = [wire(new_plan, enforced=True), wire(old_plan, enforced=True)]
    state, now = None, START
    for gap, costs in path:
        now += abs(gap)
        for cost in costs:
            _, state = judge(old_plan, state, now, abs(cost))
            server(["old"], ([definitions[1]], [], [1, 1, 1, abs(cost)]), now)
    now += later
    numbers = server(["new", "old"], (definitions, [[1, 1, 0, 2, 2]], [1, 1, 1, 0]), now)
    assert numbers[2] == max(0, new_plan.capacity - used(old_plan, state, now))
    assert server.client.exists("old") == 0 or used(old_plan, state, now) == 0


def test_a_key_lives_exactly_until_nothing_of_it_matters(server: Server) -> None:
    for rule in (
        Rule(name="r", limit=1000, period_seconds=86_400),
        Rule(name="r", limit=10, period_seconds=60, algorithm="fixed_window"),
        Rule(name="r", limit=10, period_seconds=60, algorithm="sliding_counter"),
        Rule(name="r", limit=10, period_seconds=60, algorithm="sliding_log"),
    ):
        server.client.flushdb()
        plan = compile_plan(rule)
        numbers = server(["k"], ([wire(plan, enforced=True)], [], [1, 1, 1, plan.capacity]), START)
        life_us = server.client.pexpiretime("k") * 1000 - START
        assert 0 <= life_us - numbers[3] <= 2000


def test_a_month_is_as_long_as_it_is_and_a_day_of_summer_time_too(server: Server) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    year = datetime.now(berlin).year + 1
    cases = {
        "month": (datetime(year, 2, 10, 12, tzinfo=berlin), datetime(year, 3, 1, tzinfo=berlin)),
        "day": (datetime(year, 3, 31, 12, tzinfo=berlin), datetime(year, 4, 1, tzinfo=berlin)),
        "week": (datetime(year, 7, 7, 1, tzinfo=berlin), None),
        "year": (datetime(year, 12, 31, 23, 59, tzinfo=berlin), datetime(year + 1, 1, 1, tzinfo=berlin)),
    }
    for calendar, (moment, end) in cases.items():
        server.client.flushdb()
        now = int(moment.timestamp()) * US
        rule = Rule(name="r", algorithm="fixed_window", limit=3, calendar=calendar, zone="Europe/Berlin")  # type: ignore[arg-type]
        plan = compile_plan(rule)
        around = edges(calendar, "Europe/Berlin", now // (3600 * US))  # type: ignore[arg-type]
        definition = wire(plan, enforced=True, edges=around)
        numbers = server(["k"], ([definition], [], [1, 1, 1, 3, 1, 1, 1, 1]), now)
        window = window_of(around, now)
        assert numbers[5:9] == [0, 0, window[1] - now, window[1] - now]
        if end is not None:
            assert window[1] == int(end.timestamp()) * US
        assert judge(plan, None, now, 3, window)[0].reset_us == window[1] - now


def test_a_penalty_begins_again_with_every_attempt_and_only_when_asked_for(server: Server) -> None:
    plain = compile_plan(Rule(name="r", limit=1, period_seconds=10))
    strict = compile_plan(Rule(name="r", limit=1, period_seconds=10, penalty_seconds=60))
    for plan, extras, expected in ((plain, [], 10), (strict, [[1, 1, 2]], 60)):
        server.client.flushdb()
        job = ([wire(plan, enforced=True)], extras, [1, 1, 1, 1])
        assert server(["k", "k!"], job, START)[1] == 1
        for second in (1, 2, 3):
            numbers = server(["k", "k!"], job, START + second * US)
            assert numbers[1] == 0
            assert numbers[4] == (expected if extras else expected - second) * US


def test_a_soft_rule_over_its_limit_does_not_stop_the_others(server: Server) -> None:
    soft = wire(compile_plan(Rule(name="s", limit=1, period_seconds=60)), enforced=False)
    hard = wire(compile_plan(Rule(name="h", limit=3, period_seconds=60)), enforced=True)
    allowed = [server(["a", "b"], ([soft, hard], [], [2, 1, 1, 1, 2, 2, 1]), START)[1::4] for _ in range(4)]
    assert allowed == [[1, 1], [0, 1], [0, 1], [0, 0]]
