"""Time as an argument.

Nothing below `platform` reads the wall clock by itself: it asks the `Clock` it was given, so any
moment can be tested and no test sleeps. Wall time may step back (NTP, an operator); monotonic time
may not. Deadlines use monotonic time, records use wall time.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two readings of time."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970-01-01 UTC; it can go backwards."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; it never goes backwards."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told; for tests and for simulation."""

    __slots__ = ("_monotonic", "_now_ms")

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return self._now_ms

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic

    def advance(self, *, ms: int) -> None:
        """Let `ms` milliseconds pass on both clocks."""
        if ms < 0:
            raise ValueError("time passes forwards; use step_back for a wall clock that is set back")
        self._now_ms += ms
        self._monotonic += ms / 1000

    def step_back(self, *, ms: int) -> None:
        """Set the wall clock back by `ms`, as an operator or NTP would; monotonic time goes on."""
        self._now_ms -= ms


def from_ms(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime, exact to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, tz=UTC).replace(microsecond=(ms % 1000) * 1000)


def to_ms(moment: datetime) -> int:
    """An aware datetime as whole milliseconds since 1970, rounded down."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without a time zone names no moment")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
