"""Backoff: growing, capped, jittered, never nothing."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from twelvefold.kernel.retry import Backoff


def test_bounds_double_up_to_the_cap() -> None:
    delays = Backoff(first_seconds=0.1, cap_seconds=1.0).delays(lambda: 1.0)
    assert [round(delay, 6) for delay in islice(delays, 6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_smallest_draw_still_waits_a_tenth() -> None:
    delays = Backoff(first_seconds=0.1, cap_seconds=1.0).delays(lambda: 0.0)
    assert [round(delay, 6) for delay in islice(delays, 3)] == [0.01, 0.02, 0.04]


def test_a_first_delay_above_the_cap_is_capped() -> None:
    delays = Backoff(first_seconds=10, cap_seconds=1).delays(lambda: 1.0)
    assert list(islice(delays, 2)) == [1, 1]


def test_each_use_begins_anew() -> None:
    backoff = Backoff(first_seconds=1)
    list(islice(backoff.delays(), 10))
    assert next(backoff.delays(lambda: 1.0)) == 1


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 2000))
def test_it_goes_on_for_ever_within_its_bounds(draw: float, count: int) -> None:
    for delay in islice(Backoff().delays(lambda: draw), count):
        assert 0 < delay <= 5
