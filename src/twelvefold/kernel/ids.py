"""Snowflake ids: 41 bits of milliseconds, 10 of worker, 12 of sequence.

Invariant: no two ids made under valid worker leases are equal, whatever the wall clock does. A
generator never goes back behind its last millisecond, starts above the floor that its lease carries
over from the last holder, and refuses once the lease's ceiling is passed. Source: Twitter's
Snowflake (2010) and the duplicates that its successors shipped when clocks stepped back.
"""

import threading
from collections.abc import Callable

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError, InvalidInputError

EPOCH_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z; 41 bits last until 2095."""

LAST_MS = EPOCH_MS + (1 << 41) - 1
"""The last millisecond that fits."""

WORKERS = 1 << 10
SEQUENCES = 1 << 12
MAX_ID = (1 << 63) - 1
MAX_WAIT_MS = 50
"""How far the clock may lag behind the last id before making one is refused instead of awaited."""


class ClockBehindError(EngineUnavailableError):
    """The clock was set back further than an id generator waits for."""

    code = "clock_behind"

    def __init__(self, behind_ms: int) -> None:
        super().__init__(
            "clock", f"it is {behind_ms} ms behind the last id", retry_after_seconds=behind_ms / 1000
        )


class LeaseExpiredError(EngineUnavailableError):
    """The worker lease has run out and could not be renewed."""

    code = "lease_expired"

    def __init__(self) -> None:
        super().__init__("worker lease", "it ran out; ids would not be unique")


class SnowflakeParts(msgspec.Struct, frozen=True):
    """What an id says about its making."""

    timestamp_ms: int
    worker_id: int
    sequence: int


def decode(snowflake: int) -> SnowflakeParts:
    """Take an id apart. Raises `InvalidInputError` outside [0, 2^63)."""
    if not 0 <= snowflake <= MAX_ID:
        raise InvalidInputError("an id is a number from 0 to 9223372036854775807", field="id")
    return SnowflakeParts(
        (snowflake >> 22) + EPOCH_MS, (snowflake >> 12) & (WORKERS - 1), snowflake & (SEQUENCES - 1)
    )


class SnowflakeGenerator:
    """Makes ids for one leased worker id. Thread-safe.

    Args:
        worker_id: 0 to 1023, leased.
        clock: where the milliseconds come from.
        floor_ms: no id gets a timestamp at or below this (the last holder's high water mark).
        ceiling_ms: no id gets a timestamp above this; the lease renews it.
        wait: called with milliseconds when the sequence of a millisecond is used up or the clock lags.
    """

    def __init__(
        self,
        worker_id: int,
        clock: Clock,
        *,
        floor_ms: int = 0,
        ceiling_ms: int = LAST_MS,
        wait: Callable[[float], None],
    ) -> None:
        if not 0 <= worker_id < WORKERS:
            raise ValueError(f"worker_id must be 0 to {WORKERS - 1}, not {worker_id}")
        self.worker_id = worker_id
        self._clock = clock
        self._wait = wait
        self._last_ms = max(floor_ms, EPOCH_MS - 1)
        self._sequence = SEQUENCES - 1
        self._ceiling_ms = min(ceiling_ms, LAST_MS)
        self._worker_bits = worker_id << 12
        self._lock = threading.Lock()

    @property
    def last_ms(self) -> int:
        """The newest millisecond that an id was made in."""
        return self._last_ms

    def extend(self, ceiling_ms: int) -> None:
        """The lease was renewed up to `ceiling_ms`."""
        with self._lock:
            self._ceiling_ms = max(self._ceiling_ms, min(ceiling_ms, LAST_MS))

    def revoke(self) -> None:
        """The lease was lost: refuse from now on. Afterwards no id is later than `last_ms`."""
        with self._lock:
            self._ceiling_ms = -1

    def adopt(self, worker_id: int, *, floor_ms: int, ceiling_ms: int) -> None:
        """Go on under another lease; arguments as in the constructor. Ids keep ascending."""
        if not 0 <= worker_id < WORKERS:
            raise ValueError(f"worker_id must be 0 to {WORKERS - 1}, not {worker_id}")
        with self._lock:
            self.worker_id = worker_id
            self._worker_bits = worker_id << 12
            self._last_ms = max(self._last_ms, floor_ms)
            self._sequence = (
                SEQUENCES - 1
            )  # the next id gets a new millisecond: a lower worker id sorts lower
            self._ceiling_ms = min(ceiling_ms, LAST_MS)

    def make(self) -> int:
        """One id. Waits a millisecond after 4,096; raises `ClockBehindError` or `LeaseExpiredError`."""
        with self._lock:
            return self._make()

    def make_many(self, count: int) -> list[int]:
        """`count` ids in ascending order, under one lock."""
        with self._lock:
            return [self._make() for _ in range(count)]

    def _make(self) -> int:
        now = self._clock.now_ms()
        if now <= self._last_ms:
            if self._sequence < SEQUENCES - 1 and self._last_ms - now <= MAX_WAIT_MS:
                if self._last_ms > self._ceiling_ms:
                    raise LeaseExpiredError
                self._sequence += 1
                return (self._last_ms - EPOCH_MS) << 22 | self._worker_bits | self._sequence
            now = self._wait_past(self._last_ms)
        # Before `_last_ms` moves: a clock that ran ahead for a moment must not block us once it is right.
        if now > self._ceiling_ms:
            raise LeaseExpiredError
        self._last_ms = now
        self._sequence = 0
        return (now - EPOCH_MS) << 22 | self._worker_bits

    def _wait_past(self, last_ms: int) -> int:
        now = self._clock.now_ms()
        while now <= last_ms:
            behind = last_ms - now
            if behind > MAX_WAIT_MS:
                raise ClockBehindError(behind)
            self._wait(behind + 1)
            now = self._clock.now_ms()
        return now
