"""What a rule would have done: recorded, sent or invented traffic run through candidates, in moments.

The same algorithms as everywhere (as a process runs them for itself), with the events' own times. Nothing is taken
from anybody.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.local import local_limit

MAX_EVENTS: Final = 100_000
MAX_CANDIDATES: Final = 6
SHOWN_EVENTS: Final = 5_000
_POINTS: Final = 120
_TOP: Final = 10


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the traffic."""

    at_ms: float
    key: str = "k"
    cost: int = 1


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What one candidate did. `admitted` says it event by event where there are at most 5,000."""

    rule: str
    allowed: int
    denied: int
    keys_denied: int
    top_denied: tuple[tuple[str, int], ...]
    step_ms: float
    from_ms: float
    series: tuple[tuple[int, int], ...]
    """Allowed and denied in each step."""
    admitted: tuple[bool, ...] | None


def replay(rule: Rule, events: Sequence[Event]) -> Replayed:
    """Run `rule` over `events`, oldest first. Raises `RuleRefusedError`, `InvalidInputError`."""
    if rule.algorithm == "concurrency":
        raise InvalidInputError(
            "how long requests took is not recorded, so places cannot be replayed", field="rule"
        )
    bound = Bound(TenantId(0), rule)
    ordered = sorted(events, key=lambda event: event.at_ms)
    first = ordered[0].at_ms if ordered else 0.0
    span = (ordered[-1].at_ms - first) if ordered else 0.0
    step = max(span / _POINTS, 1.0)
    series = [[0, 0] for _ in range(min(_POINTS, int(span / step)) + 1)]
    now = 0
    limit = None
    if bound.plan is not None:
        limit = local_limit(bound, max_keys=len(ordered) + 1, monotonic_ns=lambda: now, wall_ns=lambda: now)
    denied: Counter[str] = Counter()
    admitted: list[bool] = []
    for event in ordered:
        now = int(event.at_ms * 1000) * 1000
        allowed = limit is None or limit.hit(event.key.encode("utf-8", "replace"), event.cost)
        admitted.append(allowed)
        series[min(int((event.at_ms - first) / step), len(series) - 1)][0 if allowed else 1] += 1
        if not allowed:
            denied[event.key] += 1
    return Replayed(
        rule=rule.name,
        allowed=sum(admitted),
        denied=len(admitted) - sum(admitted),
        keys_denied=len(denied),
        top_denied=tuple(denied.most_common(_TOP)),
        step_ms=step,
        from_ms=first,
        series=tuple((allowed, refused) for allowed, refused in series),
        admitted=tuple(admitted) if len(admitted) <= SHOWN_EVENTS else None,
    )
