"""Latencies in 24 buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.web.histogram import BUCKETS, UPPER_SECONDS, LaneTimings, bucket_of, merge, quantile_ms

durations = st.floats(0, 60, allow_nan=False)


@given(durations)
def test_a_duration_lies_below_the_upper_bound_of_its_bucket_and_of_no_earlier_one(seconds):
    bucket = bucket_of(seconds)
    assert seconds < UPPER_SECONDS[bucket]
    if bucket:
        assert seconds >= UPPER_SECONDS[bucket - 1] * 0.999999


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from((0.5, 0.9, 0.99)))
def test_a_quantile_is_in_the_bucket_of_the_exact_one(values, q):
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    ordered = sorted(values)
    exact = next(value for rank, value in enumerate(ordered, 1) if rank >= q * len(ordered))
    found = quantile_ms(counts, q) / 1000
    bucket = bucket_of(exact)
    lower = UPPER_SECONDS[bucket - 1] if bucket else 0.0
    upper = min(UPPER_SECONDS[bucket], 2 * UPPER_SECONDS[-2])
    assert lower - 1e-6 <= found <= upper + 1e-6


def test_nothing_has_no_quantile():
    assert quantile_ms([0] * BUCKETS, 0.5) is None


def test_histograms_add_up():
    assert merge(([1] * BUCKETS, [2] * BUCKETS)) == [3] * BUCKETS
    assert merge(()) == [0] * BUCKETS


@given(
    st.integers(0, 10_000),
    st.lists(durations, max_size=20),
    st.lists(durations, max_size=20),
)
def test_a_lane_accounts_for_every_request_once(requests, awaited, sampled):
    timings = LaneTimings()
    for seconds in awaited:
        timings.awaited[bucket_of(seconds)] += 1
    for seconds in sampled:
        timings.sampled[bucket_of(seconds)] += 1
    requests = max(requests, len(awaited))
    assert sum(timings.take(requests)) == requests
    assert sum(timings.take(0)) == 0


def test_what_was_not_timed_is_spread_as_the_sample_was():
    timings = LaneTimings()
    timings.sampled[3] = 3
    timings.sampled[8] = 1
    timings.awaited[12] = 4
    counts = timings.take(404)
    assert (counts[3], counts[8], counts[12]) == (300, 100, 4)


def test_before_the_first_sample_a_hot_answer_counts_as_ten_microseconds():
    assert LaneTimings().take(7)[bucket_of(10e-6)] == 7


@pytest.mark.parametrize("seconds", [1e9, 5.0])
def test_the_last_bucket_has_no_end(seconds):
    assert bucket_of(seconds) == BUCKETS - 1
