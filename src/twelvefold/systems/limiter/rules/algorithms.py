"""The four algorithms, each specified once: what a state says at a moment, and what it becomes.

`judge(plan, state, now, cost)` gives the outcome and the state after it; a state of None is a key never
seen. `scripts/algorithms.lua` says the same in Lua, and one set of vectors holds both to it. Invariants:
a refusal changes nothing; a clock that is set back can delay a key by at most its own window; waiting
exactly `retry_us` succeeds if nobody else came by. Sources: GCRA (ITU-T I.371, as in redis-cell); the
sliding counter that Cloudflare described in 2017.
"""

from collections.abc import Sequence
from typing import Any, Final

from twelvefold.systems.limiter.contracts import Outcome
from twelvefold.systems.limiter.rules.plan import BUCKET, COUNTER, FIXED, LOG, US, Plan

NEVER: Final = -1
State = Any
"""Token bucket: the moment at which it is full again, in ticks. Fixed window: (start, count). Sliding log:
a tuple of moments, oldest first. Sliding counter: (start, count before, count)."""

Window = tuple[int, int]
"""Start and end of a fixed window, in clock units."""


def judge(
    plan: Plan, state: State | None, now: int, cost: int, window: Window | None = None
) -> tuple[Outcome, State | None]:
    """Ask for `cost` units at `now`; 0 looks without taking, and is allowed while one unit is left."""
    if plan.kind == BUCKET and plan.limit:
        return _judge_bucket(plan, state, now, cost)
    if plan.kind == FIXED:
        return _judge_fixed(plan, state, window or window_at(plan, now), now, cost)
    if plan.kind == LOG:
        return _judge_log(plan, state, now, cost)
    if plan.kind == COUNTER:
        return _judge_counter(plan, state, now, cost)
    return _outcome(plan, 0, 0, NEVER, allowed=False), state


def refund(
    plan: Plan, state: State | None, now: int, cost: int, window: Window | None = None
) -> State | None:
    """Give `cost` units back; what was never taken cannot be given back."""
    if state is None or cost <= 0:
        return state
    if plan.kind == BUCKET and plan.limit:
        ahead = _ahead(plan, state, now) - cost * plan.interval
        return now * plan.scale + ahead if ahead > 0 else None
    if plan.kind == FIXED:
        start, count = _fixed_now(state, window or window_at(plan, now))
        return (start, max(0, count - cost)) if count > cost else None
    if plan.kind == LOG:
        # The oldest leave, whichever were meant: what stays can only be counted too long, never too short.
        return tuple(_log_now(plan, state, now)[cost:]) or None
    if plan.kind == COUNTER:
        start, before, count = _counter_now(plan, state, now)
        return (start, before, max(0, count - cost))
    return state


def used(plan: Plan, state: State | None, now: int, window: Window | None = None) -> int:
    """Units taken and not yet back, rounded up; what a changed limit starts from."""
    if state is None:
        return 0
    if plan.kind == BUCKET and plan.limit:
        return -(-_ahead(plan, state, now) // plan.interval)
    if plan.kind == FIXED:
        return _fixed_now(state, window or window_at(plan, now))[1]
    if plan.kind == LOG:
        return len(_log_now(plan, state, now))
    if plan.kind == COUNTER:
        start, before, count = _counter_now(plan, state, now)
        left = plan.steps - (now - start) // plan.step
        return count + -(-before * left // plan.steps)
    return 0


def seed(plan: Plan, units: int, now: int, window: Window | None = None) -> State | None:
    """The state of a key that has used `units` by now, at most all that the plan admits."""
    units = min(units, plan.capacity)
    if units <= 0:
        return None
    if plan.kind == BUCKET and plan.limit:
        return now * plan.scale + units * plan.interval
    if plan.kind == FIXED:
        return ((window or window_at(plan, now))[0], units)
    if plan.kind == LOG:
        return (now,) * units
    if plan.kind == COUNTER:
        return (now - now % plan.period, 0, units)
    return None


def window_at(plan: Plan, now: int) -> Window:
    """The window of a fixed window that is not the calendar's."""
    start = now - now % plan.period
    return start, start + plan.period


def _outcome(plan: Plan, remaining: int, reset: int, retry: int, *, allowed: bool) -> Outcome:
    """Clock units become microseconds, rounded up: a wait is never a moment too short."""
    if plan.per_second != US:
        reset = -(-reset * US // plan.per_second)
        retry = retry if retry <= 0 else -(-retry * US // plan.per_second)
    return Outcome(allowed, remaining, reset, 0 if allowed else retry)


# -- token bucket ---------------------------------------------------------------------------------


def _ahead(plan: Plan, full_at: int | None, now: int) -> int:
    """Ticks from now until the bucket is full; more than it takes to fill means a clock was set back."""
    if full_at is None:
        return 0
    return min(max(full_at - now * plan.scale, 0), plan.tolerance)


def _judge_bucket(plan: Plan, full_at: int | None, now: int, cost: int) -> tuple[Outcome, int | None]:
    ahead = _ahead(plan, full_at, now)
    wanted = ahead + (cost or 1) * plan.interval
    allowed = wanted <= plan.tolerance
    after = wanted if allowed and cost else ahead
    remaining = (plan.tolerance - after) // plan.interval
    reset = -(-after // plan.scale)
    retry = NEVER if cost > plan.capacity else -(-(wanted - plan.tolerance) // plan.scale)
    return (
        _outcome(plan, remaining, reset, retry, allowed=allowed),
        now * plan.scale + after if allowed and cost else full_at,
    )


# -- fixed window ---------------------------------------------------------------------------------


def _fixed_now(state: tuple[int, int] | None, window: Window) -> tuple[int, int]:
    """A window that lies ahead of now is this one, seen before the clock was set back."""
    if state is None or state[0] < window[0]:
        return window[0], 0
    return window[0], state[1]


def _judge_fixed(
    plan: Plan, state: tuple[int, int] | None, window: Window, now: int, cost: int
) -> tuple[Outcome, tuple[int, int] | None]:
    start, count = _fixed_now(state, window)
    allowed = count + (cost or 1) <= plan.limit
    after = count + cost if allowed else count
    until = window[1] - now
    retry = NEVER if cost > plan.limit or not plan.limit else until
    outcome = _outcome(plan, max(0, plan.limit - after), until if after else 0, retry, allowed=allowed)
    return outcome, (start, after) if allowed and cost else state


# -- sliding log ----------------------------------------------------------------------------------


def _log_now(plan: Plan, state: Sequence[int] | None, now: int) -> Sequence[int]:
    if not state:
        return ()
    if state[-1] > now:  # the clock was set back: what happened "later" happened just now
        return (now,) * len(state)
    horizon = now - plan.period
    first = 0
    while first < len(state) and state[first] <= horizon:
        first += 1
    return state[first:]


def _judge_log(
    plan: Plan, state: Sequence[int] | None, now: int, cost: int
) -> tuple[Outcome, Sequence[int] | None]:
    entries = _log_now(plan, state, now)
    if state and state[-1] > now:
        state = entries
    count = len(entries)
    allowed = count + (cost or 1) <= plan.limit
    if allowed and cost:
        entries = (*entries, *((now,) * cost))
    remaining = max(0, plan.limit - len(entries))
    reset = entries[-1] + plan.period - now if entries else 0
    if allowed:
        return _outcome(plan, remaining, reset, 0, allowed=True), entries if cost else state
    if cost > plan.limit or not plan.limit:
        return _outcome(plan, remaining, reset, NEVER, allowed=False), state
    last_to_go = entries[count + (cost or 1) - plan.limit - 1]
    return _outcome(plan, remaining, reset, last_to_go + plan.period - now, allowed=False), state


# -- sliding counter ------------------------------------------------------------------------------


def _counter_now(plan: Plan, state: tuple[int, int, int] | None, now: int) -> tuple[int, int, int]:
    start = now - now % plan.period
    if state is None or state[0] < start - plan.period:
        return start, 0, 0
    if state[0] < start:
        return start, state[2], 0
    return start, state[1], state[2]


def _judge_counter(
    plan: Plan, state: tuple[int, int, int] | None, now: int, cost: int
) -> tuple[Outcome, tuple[int, int, int] | None]:
    start, before, count = _counter_now(plan, state, now)
    steps, limit = plan.steps, plan.limit
    left = steps - (now - start) // plan.step
    wanted = cost or 1
    allowed = (count + wanted) * steps + before * left <= limit * steps
    after = count + cost if allowed else count
    remaining = max(0, (limit - after) - -(-before * left // steps))
    reset = start + plan.period * (2 if after else 1 if before else 0) - now if after or before else 0
    retry = _counter_retry(plan, (start, before, count), wanted, now)
    outcome = _outcome(plan, remaining, reset, retry, allowed=allowed)
    return outcome, (start, before, after) if allowed and cost else state


def _counter_retry(plan: Plan, state: tuple[int, int, int], wanted: int, now: int) -> int:
    """Until the first step at which the weighted sum has fallen far enough."""
    start, before, count = state
    steps, spare = plan.steps, plan.limit - wanted
    if spare < 0:
        return NEVER
    if before and spare >= count:
        step = steps - (spare - count) * steps // before
        if step < steps:
            return start + max(0, step) * plan.step - now
        return start + plan.period - now
    if not count:
        return start + plan.period - now
    step = max(0, steps - spare * steps // count)
    return start + plan.period + (step * plan.step if step < steps else plan.period) - now
