"""Guessing API keys is slow: credentials that prove nothing are counted against the address they came from.

The count is shared by all processes and doors, at most `a_minute` from one address (IPv6: one network). An
address over it is remembered here until its wait is over, so that its next guess costs neither the database
nor Valkey anything. While Valkey is away nobody is barred: an outage locks nobody out.
"""

import time
from typing import Final

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Rule, TooManyFailuresError
from twelvefold.systems.limiter.rules.keys import client_network
from twelvefold.systems.limiter.service.limiter import Limiter

_NOBODY: Final = TenantId(0)
_MAX_BARRED: Final = 100_000


class Guesses:
    """Failures by address.

    Args:
        a_minute: failures of one address; 0 counts nothing and bars nobody.
        ipv6_prefix: how much of an IPv6 address is one client.
    """

    def __init__(self, limiter: Limiter, *, a_minute: int, ipv6_prefix: int = 64) -> None:
        self._limiter = limiter
        self._rule = Rule(name="failures-minute", limit=a_minute, period_seconds=60, failure="open")
        self._ipv6_prefix = ipv6_prefix
        self._barred: dict[str, float] = {}

    def barred(self, client: str) -> TooManyFailuresError | None:
        """Why nothing new from this address is looked at now; None: it is."""
        if not self._barred:
            return None
        address = client_network(client, self._ipv6_prefix)
        until = self._barred.get(address)
        if until is None:
            return None
        left = until - time.monotonic()
        if left <= 0:
            del self._barred[address]
            return None
        return TooManyFailuresError(retry_after_seconds=left)

    async def failed(self, client: str) -> TooManyFailuresError | None:
        """Count a failure; the error for it, if there were too many."""
        if not self._rule.limit:
            return None
        address = client_network(client, self._ipv6_prefix)
        decision = await self._limiter.check(self._rule, ("guesses", address), tenant=_NOBODY)
        if decision.allowed:
            return None
        wait = decision.retry_after_seconds or 1.0
        if len(self._barred) >= _MAX_BARRED:
            self._barred.clear()
        self._barred[address] = time.monotonic() + wait
        return TooManyFailuresError(retry_after_seconds=wait)


__all__ = ["Guesses"]
