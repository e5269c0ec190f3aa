"""Clocks and moments."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.kernel.clock import ManualClock, SystemClock, from_ms, to_ms


def test_the_systems_clock_is_the_machines() -> None:
    clock = SystemClock()
    before, reading, after = time.time() * 1000, clock.now_ms(), time.time() * 1000
    assert before - 1 <= reading <= after
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(1000)
    assert (clock.now_ms(), clock.monotonic()) == (1000, 0)
    clock.advance(ms=1500)
    assert (clock.now_ms(), clock.monotonic()) == (2500, 1.5)


def test_setting_the_wall_clock_back_leaves_monotonic_time_alone() -> None:
    clock = ManualClock(10_000)
    clock.advance(ms=500)
    clock.step_back(ms=3000)
    assert (clock.now_ms(), clock.monotonic()) == (7500, 0.5)
    with pytest.raises(ValueError, match="time passes forwards"):
        clock.advance(ms=-1)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_survive_the_way_there_and_back(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


def test_moments_of_other_zones_are_the_same_moment() -> None:
    east = datetime(2026, 11, 24, 9, 30, tzinfo=timezone(timedelta(hours=2)))
    assert to_ms(east) == to_ms(datetime(2026, 11, 24, 7, 30, tzinfo=UTC))
    assert from_ms(1_795_505_400_123).isoformat() == "2026-11-24T07:30:00.123000+00:00"


def test_fractions_are_rounded_down_before_1970_too() -> None:
    assert to_ms(datetime(1970, 1, 1, microsecond=1999, tzinfo=UTC)) == 1
    assert to_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="names no moment"):
        to_ms(datetime(2026, 1, 1))  # noqa: DTZ001  (that is the test)
