"""Snowflake ids: unique and ascending, whatever the clock does."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import (
    EPOCH_MS,
    LAST_MS,
    MAX_ID,
    MAX_WAIT_MS,
    SEQUENCES,
    ClockBehindError,
    LeaseExpiredError,
    SnowflakeGenerator,
    decode,
)

NOW = 1_800_000_000_000


def generator(clock: ManualClock, worker_id: int = 7, **options: int) -> SnowflakeGenerator:
    return SnowflakeGenerator(worker_id, clock, wait=lambda ms: clock.advance(ms=int(ms)), **options)


def test_an_id_says_when_and_by_whom_it_was_made() -> None:
    parts = decode(generator(ManualClock(NOW), 1023).make())
    assert (parts.timestamp_ms, parts.worker_id, parts.sequence) == (NOW, 1023, 0)


@pytest.mark.parametrize("outside", [-1, MAX_ID + 1])
def test_what_is_no_id_is_refused(outside: int) -> None:
    with pytest.raises(InvalidInputError):
        decode(outside)
    assert decode(MAX_ID).timestamp_ms == LAST_MS


def test_the_4097th_id_of_a_millisecond_waits_for_the_next() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    full = ids.make_many(SEQUENCES)
    assert {decode(made).timestamp_ms for made in full} == {NOW}
    assert clock.now_ms() == NOW
    assert decode(ids.make()).timestamp_ms == NOW + 1
    assert clock.now_ms() == NOW + 1


def test_many_in_one_call_ascend_over_milliseconds() -> None:
    made = generator(ManualClock(NOW)).make_many(3 * SEQUENCES)
    assert made == sorted(set(made))
    assert decode(made[-1]).timestamp_ms == NOW + 2


def test_a_small_step_back_goes_on_in_the_last_millisecond() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    first = ids.make()
    clock.step_back(ms=MAX_WAIT_MS)
    second = ids.make()
    assert second == first + 1
    assert clock.now_ms() == NOW - MAX_WAIT_MS  # without waiting


def test_a_small_step_back_with_the_millisecond_used_up_waits() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    ids.make_many(SEQUENCES)
    clock.step_back(ms=MAX_WAIT_MS)
    assert decode(ids.make()).timestamp_ms == NOW + 1


def test_a_large_step_back_is_refused_until_the_clock_has_caught_up() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    last = ids.make()
    clock.step_back(ms=10_000)
    with pytest.raises(ClockBehindError, match="10000 ms behind the last id") as caught:
        ids.make()
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 10)
    clock.advance(ms=10_000 - MAX_WAIT_MS)
    assert ids.make() > last


def test_a_restart_with_the_clock_set_back_starts_above_the_floor() -> None:
    clock = ManualClock(NOW)
    with pytest.raises(ClockBehindError):
        generator(clock, floor_ms=NOW + MAX_WAIT_MS + 1).make()
    assert decode(generator(clock, floor_ms=NOW + 5).make()).timestamp_ms == NOW + 6


def test_beyond_the_lease_none_is_made_until_it_is_renewed() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock, ceiling_ms=NOW + 10)
    clock.advance(ms=10)
    ids.make_many(SEQUENCES)
    with pytest.raises(LeaseExpiredError):
        ids.make()
    ids.extend(NOW + 20)
    ids.make()
    ids.extend(NOW)  # a late, lower renewal takes nothing back
    ids.make()


def test_a_clock_that_ran_ahead_for_a_moment_does_not_block_afterwards() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock, ceiling_ms=NOW + 1000)
    clock.advance(ms=86_400_000)
    with pytest.raises(LeaseExpiredError):
        ids.make()
    clock.step_back(ms=86_400_000)
    assert decode(ids.make()).timestamp_ms == NOW


def test_revoked_it_refuses_and_its_last_moment_stands() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    ids.make()
    ids.revoke()
    clock.advance(ms=5)
    with pytest.raises(LeaseExpiredError):
        ids.make()
    assert ids.last_ms == NOW


def test_another_lease_goes_on_above_its_floor_and_above_itself() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock, 900)
    last = ids.make()
    ids.revoke()
    ids.adopt(3, floor_ms=NOW - 5, ceiling_ms=NOW + 100)
    following = ids.make()
    assert following > last
    assert decode(following).worker_id == 3
    ids.adopt(4, floor_ms=NOW + 30, ceiling_ms=NOW + 100)
    assert decode(ids.make()).timestamp_ms == NOW + 31


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ClockBehindError):
        generator(ManualClock(EPOCH_MS - 86_400_000)).make()
    with pytest.raises(LeaseExpiredError):
        generator(ManualClock(LAST_MS + 1)).make()
    assert generator(ManualClock(LAST_MS), 1023).make() <= MAX_ID


@pytest.mark.parametrize("worker_id", [-1, 1024])
def test_a_worker_id_that_does_not_fit_is_an_error(worker_id: int) -> None:
    with pytest.raises(ValueError, match="worker_id must be 0 to 1023"):
        generator(ManualClock(), worker_id)
    with pytest.raises(ValueError, match="worker_id must be 0 to 1023"):
        generator(ManualClock()).adopt(worker_id, floor_ms=0, ceiling_ms=0)


@given(
    st.lists(st.tuples(st.sampled_from(["forward", "back", "make", "many"]), st.integers(0, 80)), max_size=60)
)
def test_ids_ascend_whatever_the_clock_does(steps: list[tuple[str, int]]) -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    made: list[int] = []
    for what, ms in steps:
        if what == "forward":
            clock.advance(ms=ms)
        elif what == "back":
            clock.step_back(ms=ms)
        else:
            try:
                made.extend([ids.make()] if what == "make" else ids.make_many(3000))
            except ClockBehindError:
                clock.advance(ms=ms)
    assert made == sorted(set(made))


def test_threads_never_get_the_same_id() -> None:
    clock = ManualClock(NOW)
    ids = generator(clock)
    made: list[list[int]] = [[] for _ in range(4)]

    def work(mine: list[int]) -> None:
        mine.extend(ids.make() for _ in range(3000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [snowflake for mine in made for snowflake in mine]
    assert len(set(everything)) == 12_000
    assert all(mine == sorted(mine) for mine in made)
