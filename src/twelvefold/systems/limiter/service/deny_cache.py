"""Refusals remembered for up to a second, so that a flood on a used-up key never reaches the shared state.

The second is the bound within which a reset, a refund or a raise elsewhere is seen here. A rule with a
penalty is never remembered: its every attempt counts.
"""

import time
from typing import Final

from twelvefold.systems.limiter.contracts import Outcome
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.plan import US

MAX_SECONDS: Final = 1.0
MAX_ENTRIES: Final = 100_000


class DenyCache:
    """Key to the refusal it got, by this process's monotonic clock."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, float, int, Outcome]] = {}

    def get(self, bound: Bound, key: bytes, cost: int) -> Outcome | None:
        """The refusal that still holds for so many units, with what is left of its wait."""
        if not self._known:
            return None
        known = self._known.get(bound.prefix + key)
        if known is None:
            return None
        until, since, needed, outcome = known
        now = time.monotonic()
        if now >= until:
            del self._known[bound.prefix + key]
            return None
        if cost < needed or not cost:
            return None
        passed = int((now - since) * US)
        retry = outcome.retry_us if outcome.retry_us < 0 else max(1, outcome.retry_us - passed)
        return Outcome(False, outcome.remaining, max(0, outcome.reset_us - passed), retry)

    def put(self, bound: Bound, key: bytes, cost: int, outcome: Outcome) -> None:
        """Remember a refusal."""
        if bound.rule.penalty_seconds or not bound.enforced:
            return
        if len(self._known) >= MAX_ENTRIES:
            self._known.clear()
        now = time.monotonic()
        wait = MAX_SECONDS if outcome.retry_us < 0 else min(MAX_SECONDS, outcome.retry_us / US)
        self._known[bound.prefix + key] = (now + wait, now, cost, outcome)

    def forget(self, bound: Bound, key: bytes) -> None:
        """Ask again."""
        self._known.pop(bound.prefix + key, None)
