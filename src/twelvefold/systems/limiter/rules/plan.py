"""A rule compiled to whole numbers: what every algorithm computes with, in process and in Valkey.

Time comes in ticks. `per_second` says how many of a clock's units make a second (a million for Valkey's
microseconds, a thousand million for this machine's nanoseconds), and one unit is `scale` ticks, chosen so
that the time a token takes is a whole number of ticks: then nothing is ever rounded, and the arithmetic
is exact. Only where that would overflow the 53 bits of a Lua number is the interval rounded up, by less
than a thousandth of a unit.
"""

from collections.abc import Mapping
from math import gcd
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from twelvefold.systems.limiter.contracts import MAX_LOG_LIMIT, Rule, RuleRefusedError

US: Final = 1_000_000
NS: Final = 1_000_000_000
EXACT: Final = 1 << 53
"""Whole numbers below this are exact in a Lua number."""
STEPS: Final = 65_536
"""Into how many steps a sliding counter divides its window."""
MAX_FILL_SECONDS: Final = 10 * 366 * 86_400
DAY: Final = 86_400

BUCKET, FIXED, LOG, COUNTER, CONCURRENCY = 1, 2, 3, 4, 5
KINDS: Final = {
    "token_bucket": BUCKET,
    "fixed_window": FIXED,
    "sliding_log": LOG,
    "sliding_counter": COUNTER,
    "concurrency": CONCURRENCY,
}
_CALENDAR_SECONDS: Final = {
    "minute": 60,
    "hour": 3600,
    "day": DAY,
    "week": 7 * DAY,
    "month": 31 * DAY,
    "year": 366 * DAY,
}


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The numbers of one rule. Lengths are in clock units, except `interval` and `tolerance`: in ticks."""

    kind: int
    limit: int
    capacity: int
    """The most that can be admitted at one moment."""
    period: int
    per_second: int
    scale: int = 1
    interval: int = 0
    tolerance: int = 0
    step: int = 1
    steps: int = 1
    penalty: int = 0

    @property
    def time_to_full(self) -> int:
        """Clock units after which no trace of a key is left that matters."""
        if self.kind == BUCKET:
            return -(-self.tolerance // self.scale)
        return self.period * (2 if self.kind == COUNTER else 1)


def read_rule(fields: Mapping[str, Any]) -> Rule:
    """A rule of these fields. Raises `RuleRefusedError` naming the field, and the words that it knows, if it knows words."""
    try:
        return msgspec.convert(fields, Rule)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`")
        words = _CHOICES.get(field.partition("[")[0])
        hint = f"one of {', '.join(words)}" if words else None
        raise RuleRefusedError(text, field=field or None, hint=hint) from error


def check_form(rule: Rule) -> None:
    """Hold a rule that a program made to its fields' types and bounds, as JSON is held to them when it is read.

    Raises `RuleRefusedError` naming the field. It never reaches the state, whose refusal would look like an outage.
    """
    if not isinstance(rule, Rule):
        raise RuleRefusedError("a rule is a Rule, or the name of a stored one", field="rule")
    sound = read_rule({name: getattr(rule, name) for name in rule.__struct_fields__})
    if sound != rule:  # what is read as a tuple was a list, which has no hash
        raise RuleRefusedError(f"write it as {sound.by!r}", field="by")


def _words(form: Any) -> tuple[str, ...]:
    if get_origin(form) is Literal:
        return tuple(map(str, get_args(form)))
    return next(filter(None, map(_words, get_args(form))), ())


_CHOICES: Final = {
    field.name: words for field in msgspec.structs.fields(Rule) if (words := _words(field.type))
}


def check_rule(rule: Rule) -> Rule:
    """`rule`, if it can work. Raises `RuleRefusedError` naming the field and what to do."""
    check_form(rule)
    kind = KINDS[rule.algorithm]
    limit = rule.limit or 0
    fill_seconds = (rule.burst or limit) * rule.period_seconds // limit if kind == BUCKET and limit else 0
    faults: tuple[tuple[bool, str, str, str | None], ...] = (
        (rule.limit is None and kind == CONCURRENCY, "limit", "a concurrency limit needs a number", None),
        (rule.burst is not None and kind != BUCKET, "burst", "only a token bucket has a burst", None),
        (
            rule.calendar is not None and kind != FIXED,
            "calendar",
            "only a fixed window follows the calendar",
            "set algorithm to fixed_window",
        ),
        (
            rule.zone != "UTC" and rule.calendar is None,
            "zone",
            "a time zone only matters to a calendar window",
            None,
        ),
        (
            kind == LOG and limit > MAX_LOG_LIMIT,
            "limit",
            f"a sliding log keeps every request, at most {MAX_LOG_LIMIT}",
            "take sliding_counter for larger limits",
        ),
        (
            kind == CONCURRENCY and (rule.mode != "exact" or rule.penalty_seconds > 0),
            "mode",
            "concurrency is always exact and knows no penalty",
            None,
        ),
        (
            rule.penalty_seconds > 0 and rule.mode != "exact",
            "penalty_seconds",
            "a penalty needs the mode exact",
            None,
        ),
        (
            rule.reach == "home" and rule.mode != "leased",
            "reach",
            "a limit over data centres is leased",
            "set mode to leased",
        ),
        (
            fill_seconds > MAX_FILL_SECONDS,
            "burst",
            f"this bucket would take {fill_seconds // DAY} days to fill, at most ten years",
            None,
        ),
    )
    for holds, field, message, hint in faults:
        if holds:
            raise RuleRefusedError(message, field=field, hint=hint)
    return rule


def compile_plan(rule: Rule, per_second: int = US) -> Plan:
    """The numbers of a rule with a limit, for a clock of `per_second` units a second."""
    assert rule.limit is not None
    kind = KINDS[rule.algorithm]
    seconds = _CALENDAR_SECONDS[rule.calendar] if rule.calendar else rule.period_seconds
    period = seconds * per_second
    penalty = rule.penalty_seconds * per_second
    limit = rule.limit
    if kind == BUCKET and limit:
        capacity = rule.burst or limit
        interval, scale = _interval(period, limit, capacity)
        return Plan(
            kind=kind,
            limit=limit,
            capacity=capacity,
            period=period,
            per_second=per_second,
            scale=scale,
            interval=interval,
            tolerance=capacity * interval,
            penalty=penalty,
        )
    step = -(-period // STEPS)
    return Plan(
        kind=kind,
        limit=limit,
        capacity=limit,
        period=period,
        per_second=per_second,
        step=step,
        steps=-(-period // step),
        penalty=penalty,
    )


def _interval(period: int, limit: int, capacity: int) -> tuple[int, int]:
    """Ticks that a token takes, and ticks in a clock unit."""
    shared = gcd(period, limit)
    interval, scale = period // shared, limit // shared
    if scale * (capacity + 1) < EXACT:
        return interval, scale
    return -(-period * 1000 // limit), 1000


def scaled(rule: Rule, parts: int) -> Rule:
    """`rule` with one of `parts` equal parts of its limit, rounded up, and at least 1 unless it is a ban."""
    if rule.limit is None or parts <= 1:
        return rule
    return msgspec.structs.replace(
        rule, limit=-(-rule.limit // parts), burst=None if rule.burst is None else -(-rule.burst // parts)
    )


def wire(plan: Plan, *, enforced: bool, edges: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The plan as Valkey's scripts take it: kind, enforced, penalty, capacity, and the kind's own numbers."""
    head = (plan.kind, int(enforced), plan.penalty, plan.capacity)
    if plan.kind == BUCKET:
        interval, interval_rest = divmod(plan.interval, plan.scale)
        tolerance, tolerance_rest = divmod(plan.tolerance, plan.scale)
        return (*head, plan.scale, interval, interval_rest, tolerance, tolerance_rest)
    if plan.kind == FIXED:
        return (*head, plan.period, *edges)
    if plan.kind == COUNTER:
        return (*head, plan.period, plan.step, plan.steps)
    return (*head, plan.period)
