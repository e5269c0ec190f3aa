"""What a rule would have done is what it does."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.algorithms import judge
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.calendar import window_of
from twelvefold.systems.limiter.service.replay import Event, replay

RULES = st.builds(
    lambda limit, period, form: Rule(name="r", limit=limit, period_seconds=period, **form),
    st.integers(0, 12),
    st.sampled_from([1, 7, 60]),
    st.sampled_from(
        [
            {"algorithm": "token_bucket"},
            {"algorithm": "fixed_window"},
            {"algorithm": "fixed_window", "calendar": "day", "zone": "Europe/Berlin"},
            {"algorithm": "sliding_log"},
            {"algorithm": "sliding_counter"},
        ]
    ),
)
EVENTS = st.lists(
    st.builds(
        lambda at_ms, key, cost: Event(at_ms=at_ms, key=key, cost=cost),
        st.one_of(st.integers(0, 90_000), st.integers(1_700_000_000_000, 1_700_200_000_000)),
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(RULES, EVENTS)
@settings(max_examples=200, deadline=None)
def test_a_replay_decides_as_the_specification_does(rule: Rule, events: list[Event]) -> None:
    bound, states, expected = Bound(DEFAULT_TENANT, rule), dict[str, Any](), []
    assert bound.plan is not None
    for event in sorted(events, key=lambda event: event.at_ms):
        now = int(event.at_ms * 1000)
        edges = bound.edges(now)
        window = window_of(edges, now) if edges else None
        outcome, states[event.key] = judge(bound.plan, states.get(event.key), now, event.cost, window)
        expected.append(outcome.allowed)
    assert replay(rule, events).admitted == tuple(expected)
