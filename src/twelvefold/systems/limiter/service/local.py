"""State in this process: the same algorithms over dictionaries, for local rules and for bad days.

`hit` is the hot path, one closure a rule: about a sixth of a microsecond. Everything else goes through
`rules.algorithms`. Memory is bounded: at `max_keys` the keys that have run out are swept away, and while
none have, newcomers share one state, so that inventing keys buys nobody a limit of their own.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twelvefold.systems.limiter.contracts import HitRefusedError, Outcome
from twelvefold.systems.limiter.rules.algorithms import Window, judge, refund, used
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.calendar import window_of
from twelvefold.systems.limiter.rules.plan import COUNTER, FIXED, LOG, NS, US, Plan

OVERFLOW: Final = b"*"
DEFAULT_MAX_KEYS: Final = 1_000_000
_US_NS: Final = NS // US

Clock = Callable[[], int]
HitFunction = Callable[..., bool]


def local_limit(
    bound: Bound,
    *,
    max_keys: int = DEFAULT_MAX_KEYS,
    monotonic_ns: Clock = time.monotonic_ns,
    wall_ns: Clock = time.time_ns,
) -> "LocalLimit":
    """State for one rule with a limit."""
    plan = bound.local_plan
    assert plan is not None
    if plan.kind in (FIXED, COUNTER):
        return _Windows(bound, plan, max_keys, wall_ns)
    if plan.kind == LOG:
        return _Log(bound, plan, max_keys, monotonic_ns)
    return _Bucket(bound, plan, max_keys, monotonic_ns)


class LocalLimit(ABC):
    """One rule's keys in this process. `hit(key, cost=1)` takes and says whether it could."""

    hit: HitFunction

    def __init__(self, bound: Bound, plan: Plan, max_keys: int, clock_ns: Clock) -> None:
        self.bound = bound
        self.plan = plan
        self._max_keys = max(1, max_keys)
        self._clock = clock_ns

    def ask(self, key: bytes, cost: int = 1) -> Outcome:
        """Like `hit`, with all the numbers; cost 0 looks without taking."""
        now = self._clock()
        window = self._window(now)
        key, state = self._read(key, now)
        outcome, after = judge(self.plan, state, now, cost, window)
        if outcome.allowed and cost:
            self._write(key, after)
        return outcome

    def give(self, key: bytes, cost: int) -> None:
        """Give units back, at most what was taken."""
        now = self._clock()
        window = self._window(now)
        key, state = self._read(key, now)
        self._write(key, refund(self.plan, state, now, cost, window))

    def used(self, key: bytes) -> int:
        """Units taken and not yet back."""
        now = self._clock()
        window = self._window(now)
        return used(self.plan, self._read(key, now)[1], now, window)

    def forget(self, key: bytes) -> None:
        """As if never seen."""
        self._write(key, None)

    @abstractmethod
    def __len__(self) -> int: ...

    def _window(self, now: int) -> Window | None:
        del now
        return None

    @abstractmethod
    def _read(self, key: bytes, now: int) -> tuple[bytes, Any]:
        """The state, and the key that it is under: another one when there is no room for newcomers."""

    @abstractmethod
    def _write(self, key: bytes, state: Any) -> None:
        """Keep the state; None is a key never seen."""


def _checked(cost: int) -> None:
    if cost < 0:
        raise HitRefusedError("a cost is 0 or more; give units back with refund", field="cost")


class _Bucket(LocalLimit):
    """Key to the moment, in ticks, at which its bucket is full."""

    def __init__(self, bound: Bound, plan: Plan, max_keys: int, clock_ns: Clock) -> None:
        super().__init__(bound, plan, max_keys, clock_ns)
        self._states: dict[bytes, int] = {}
        self._interval = plan.interval if plan.limit else 0
        self._tolerance = plan.tolerance
        self._ticks_a_us = plan.scale * _US_NS
        self.hit = _never
        if plan.limit:
            self.hit = self._make_hit_whole() if plan.scale == 1 else self._make_hit()

    def _make_hit(self) -> HitFunction:
        states, clock, room = self._states, self._clock, self._room_for
        get = states.get
        interval, tolerance, scale, max_keys = (
            self.plan.interval,
            self.plan.tolerance,
            self.plan.scale,
            self._max_keys,
        )
        ask = self.ask

        def hit(key: bytes, cost: int = 1) -> bool:
            now = clock() * scale
            full_at = get(key, 0)
            if full_at < now:
                if not full_at and len(states) >= max_keys:
                    key = room(key, now)
                    full_at = max(now, get(key, 0))
                else:
                    full_at = now
            if cost < 1:
                _checked(cost)
                return ask(key, 0).allowed
            full_at += cost * interval
            if full_at - now > tolerance:
                return False
            states[key] = full_at
            return True

        return hit

    def _make_hit_whole(self) -> HitFunction:
        """As `_make_hit` where a nanosecond is one tick, which saves its multiplications."""
        states, clock, room = self._states, self._clock, self._room_for
        get = states.get
        interval, tolerance, max_keys = self.plan.interval, self.plan.tolerance, self._max_keys
        ask = self.ask

        def hit_whole(key: bytes, cost: int = 1) -> bool:
            now = clock()
            full_at = get(key, 0)
            if full_at < now:
                if not full_at and len(states) >= max_keys:
                    key = room(key, now)
                    full_at = max(now, get(key, 0))
                else:
                    full_at = now
            if cost != 1:
                if cost < 1:
                    _checked(cost)
                    return ask(key, 0).allowed
                full_at += (cost - 1) * interval
            full_at += interval
            if full_at - now > tolerance:
                return False
            states[key] = full_at
            return True

        return hit_whole

    def ask(self, key: bytes, cost: int = 1) -> Outcome:
        """See `LocalLimit.ask`; `rules.algorithms` written out, as every decision of a local rule comes here."""
        states, interval = self._states, self._interval
        if cost != 1 or not interval:
            return super().ask(key, cost)
        now = self._clock() * self.plan.scale
        full_at = states.get(key, 0)
        if not full_at and len(states) >= self._max_keys:
            return super().ask(key, cost)
        ahead = full_at - now if full_at > now else 0
        wanted = ahead + interval
        spare = self._tolerance - wanted
        ticks_a_us = self._ticks_a_us
        if spare >= 0:
            states[key] = now + wanted
            return Outcome(True, spare // interval, -(-wanted // ticks_a_us), 0)
        return Outcome(
            False, (self._tolerance - ahead) // interval, -(-ahead // ticks_a_us), -(spare // ticks_a_us)
        )

    def _room_for(self, key: bytes, now_ticks: int) -> bytes:
        states = self._states
        for known in [known for known, full_at in states.items() if full_at <= now_ticks]:
            del states[known]
        return key if len(states) < self._max_keys else OVERFLOW

    def _read(self, key: bytes, now: int) -> tuple[bytes, Any]:
        state = self._states.get(key)
        if state is None and len(self._states) >= self._max_keys:
            key = self._room_for(key, now * self.plan.scale)
            state = self._states.get(key)
        return key, state

    def _write(self, key: bytes, state: Any) -> None:
        if state is None:
            self._states.pop(key, None)
        else:
            self._states[key] = state

    def __len__(self) -> int:
        return len(self._states)


class _Windows(LocalLimit):
    """This window's counts and the last one's; a new window costs two assignments, whatever it held."""

    def __init__(self, bound: Bound, plan: Plan, max_keys: int, clock_ns: Clock) -> None:
        super().__init__(bound, plan, max_keys, clock_ns)
        self._counts: dict[bytes, int] = {}
        self._before: dict[bytes, int] = {}
        self._start = self._end = 0
        if not plan.limit:
            self.hit = _never
        else:
            self.hit = self._hit_fixed if plan.kind == FIXED else self._hit_counter

    def _hit_fixed(self, key: bytes, cost: int = 1) -> bool:
        now = self._clock()
        if not self._start <= now < self._end:
            self._roll(now)
        counts = self._counts
        count = counts.get(key, 0)
        if not count and len(counts) >= self._max_keys:
            key, count = OVERFLOW, counts.get(OVERFLOW, 0)
        if cost < 1:
            _checked(cost)
            return count < self.plan.limit
        count += cost
        if count > self.plan.limit:
            return False
        counts[key] = count
        return True

    def _hit_counter(self, key: bytes, cost: int = 1) -> bool:
        now = self._clock()
        if not self._start <= now < self._end:
            self._roll(now)
        counts, plan = self._counts, self.plan
        count = counts.get(key, 0)
        if not count and len(counts) >= self._max_keys:
            key, count = OVERFLOW, counts.get(OVERFLOW, 0)
        before = self._before.get(key, 0)
        _checked(cost)
        after = count + cost
        if before:
            left = plan.steps - (now - self._start) // plan.step
            if (after if cost else after + 1) * plan.steps + before * left > plan.limit * plan.steps:
                return False
        elif (after if cost else after + 1) > plan.limit:
            return False
        if cost:
            counts[key] = after
        return True

    def _roll(self, now: int) -> None:
        if now >= self._end:
            self._before = self._counts if now < self._end + self.plan.period else {}
            self._counts = {}
        # Else the clock was set back: what was counted later counts now.
        self._start, self._end = self._bounds(now)

    def _bounds(self, now: int) -> Window:
        if self.bound.rule.calendar is not None:
            start, end = window_of(self.bound.edges(now // _US_NS), now // _US_NS)
            return start * _US_NS, end * _US_NS
        start = now - now % self.plan.period
        return start, start + self.plan.period

    def _window(self, now: int) -> Window | None:
        if not self._start <= now < self._end:
            self._roll(now)
        return (self._start, self._end) if self.plan.kind == FIXED else None

    def _read(self, key: bytes, now: int) -> tuple[bytes, Any]:
        del now
        count = self._counts.get(key, 0)
        if not count and len(self._counts) >= self._max_keys:
            key, count = OVERFLOW, self._counts.get(OVERFLOW, 0)
        if self.plan.kind == FIXED:
            return key, (self._start, count) if count else None
        before = self._before.get(key, 0)
        return key, (self._start, before, count) if count or before else None

    def _write(self, key: bytes, state: Any) -> None:
        if state is None:
            self._counts.pop(key, None)
            self._before.pop(key, None)
        elif state[-1]:
            self._counts[key] = state[-1]
        else:
            self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts) + len(self._before)


class _Log(LocalLimit):
    """Key to the moments of its units, oldest first."""

    def __init__(self, bound: Bound, plan: Plan, max_keys: int, clock_ns: Clock) -> None:
        super().__init__(bound, plan, max_keys, clock_ns)
        self._logs: dict[bytes, deque[int]] = {}
        self.hit = self._hit if plan.limit else _never

    def _hit(self, key: bytes, cost: int = 1) -> bool:
        now = self._clock()
        entries = self._logs.get(key)
        if entries is None:
            if len(self._logs) >= self._max_keys:
                key = self._room_for(key, now)
            entries = self._logs.get(key) or deque()
        horizon = now - self.plan.period
        while entries and entries[0] <= horizon:
            entries.popleft()
        _checked(cost)
        if len(entries) + (cost or 1) > self.plan.limit:
            return False
        if cost == 1:
            entries.append(now)
        else:
            entries.extend([now] * cost)
        if cost:
            self._logs[key] = entries
        return True

    def _room_for(self, key: bytes, now: int) -> bytes:
        horizon = now - self.plan.period
        for known in [
            known for known, entries in self._logs.items() if not entries or entries[-1] <= horizon
        ]:
            del self._logs[known]
        return key if len(self._logs) < self._max_keys else OVERFLOW

    def _read(self, key: bytes, now: int) -> tuple[bytes, Any]:
        entries = self._logs.get(key)
        if entries is None and len(self._logs) >= self._max_keys:
            key = self._room_for(key, now)
            entries = self._logs.get(key)
        return key, tuple(entries) if entries else None

    def _write(self, key: bytes, state: Any) -> None:
        if state:
            self._logs[key] = deque(state)
        else:
            self._logs.pop(key, None)

    def __len__(self) -> int:
        return len(self._logs)


def _never(key: bytes, cost: int = 1) -> bool:
    """A limit of 0."""
    del key
    _checked(cost)
    return False
