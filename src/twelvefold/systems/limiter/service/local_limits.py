"""All rules' states in this process: those of local rules, and the fallbacks that count while Valkey is away.

A fallback admits its part of the limit: of four processes each a quarter, so that together they admit
about what the rule does. Bounded in rules and in keys.
"""

from typing import Final

import msgspec

from twelvefold.systems.limiter.contracts import Outcome
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.plan import scaled
from twelvefold.systems.limiter.service.local import LocalLimit, local_limit

MAX_RULES: Final = 2048


class LocalLimits:
    """States by rule; the fallback of a rule is one of its own."""

    def __init__(self, *, max_keys: int, fallback_parts: int) -> None:
        self._max_keys = max_keys
        self._fallback_parts = max(1, fallback_parts)
        self._limits: dict[bytes, LocalLimit] = {}
        """By the rule's prefix, which is of one length for a tenant's rules, and the purpose behind it."""
        self._names: dict[int, dict[bytes, None]] = {}
        """Whose they are: who makes many rules loses states of his own, and nobody else's."""

    def limit(self, bound: Bound, *, parts: int = 1, purpose: bytes = b"") -> LocalLimit:
        """The state of a rule, or of one of `parts` parts of it, for one purpose."""
        name = bound.prefix + purpose if purpose else bound.prefix
        known = self._limits.get(name)
        if known is None:
            if len(self._limits) >= MAX_RULES:
                most = max(self._names.values(), key=len)
                oldest = next(iter(most))
                del most[oldest], self._limits[oldest]
            rule = msgspec.structs.replace(
                scaled(bound.rule, parts), mode="local", reach="site", penalty_seconds=0
            )
            known = self._limits[name] = local_limit(Bound(bound.tenant, rule), max_keys=self._max_keys)
            self._names.setdefault(bound.tenant, {})[name] = None
        return known

    def ask(self, bound: Bound, key: bytes, cost: int, *, fallback: bool = False) -> Outcome:
        """Take here, or look with cost 0."""
        if fallback:
            return self.limit(bound, parts=self._fallback_parts, purpose=b"fallback").ask(key, cost)
        return self.limit(bound).ask(key, cost)

    def give(self, bound: Bound, key: bytes, cost: int) -> None:
        """Give back to a local rule."""
        self.limit(bound).give(key, cost)

    def forget(self, bound: Bound, key: bytes) -> None:
        """Reset a key everywhere here."""
        for name, limit in self._limits.items():
            if name.startswith(bound.prefix):
                limit.forget(key)
