"""A rule bound to its tenant: compiled once, so that a check only looks numbers up.

The fingerprint in the keys covers all that gives state its meaning. A rule that changes gets new keys,
and what a key had used is carried over from the earlier form's key the first time it is seen again.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Final

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.calendar import edges, zone_of
from twelvefold.systems.limiter.rules.plan import NS, US, Plan, check_rule, compile_plan, wire

HOUR_US: Final = 3_600 * US
_FINGERPRINT_BYTES: Final = 6


class Bound:
    """One rule of one tenant.

    Attributes:
        plan, local_plan: in microseconds for Valkey, in nanoseconds for this process; None without a limit.
        prefix: what the rule's keys begin with, hash tag included.
        previous: earlier forms of the rule, newest first, and until which millisecond their state matters.
        enforced: whether a refusal stops the request.
    """

    __slots__ = (
        "_definition",
        "_minute",
        "enforced",
        "local_plan",
        "name",
        "plan",
        "prefix",
        "previous",
        "rule",
        "tenant",
    )

    def __init__(self, tenant: TenantId, rule: Rule, previous: tuple[tuple["Bound", int], ...] = ()) -> None:
        check_rule(rule)
        self.tenant = tenant
        self.rule = rule
        self.name = rule.name
        self.enforced = rule.action == "deny" and not rule.shadow
        self.plan: Plan | None = None
        self.local_plan: Plan | None = None
        self._definition: tuple[int, ...] = ()
        self._minute = -1
        if rule.limit is not None:
            self.plan = compile_plan(rule, US)
            self.local_plan = compile_plan(rule, NS)
            self._definition = wire(self.plan, enforced=self.enforced)
            if rule.calendar is not None:
                zone_of(rule.zone)
        # Short on purpose: with a key of up to 26 bytes in all a bucket's state fits Valkey's 56-byte allocation.
        self.prefix = b"l{%d}%b" % (tenant, fingerprint(rule))
        self.previous = tuple(entry for entry in previous if entry[0].prefix != self.prefix)

    def edges(self, now_us: int) -> tuple[int, ...]:
        """The calendar's windows around now; empty for a rule without a calendar."""
        if self.rule.calendar is None:
            return ()
        if self.rule.calendar == "minute":  # every zone's minutes begin together
            start = now_us - now_us % (60 * US)
            return tuple(start + number * 60 * US for number in (-1, 0, 1, 2))
        return edges(self.rule.calendar, self.rule.zone, now_us // HOUR_US)

    def definition(self, now_us: int) -> tuple[int, ...]:
        """The rule's numbers for the scripts, with the calendar's edges as of now."""
        if self.rule.calendar is None or self.plan is None:
            return self._definition
        minute = now_us // (60 * US)
        if minute != self._minute:
            self._minute = minute
            self._definition = wire(self.plan, enforced=self.enforced, edges=self.edges(now_us))
        return self._definition


@lru_cache(maxsize=4096)
def fingerprint(rule: Rule) -> bytes:
    """Eight letters that stand for the rule's name and for all that its state depends on."""
    parts = (
        rule.name,
        rule.algorithm,
        rule.limit,
        rule.burst,
        rule.period_seconds,
        rule.calendar,
        rule.zone,
        bool(rule.penalty_seconds),
    )
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=_FINGERPRINT_BYTES).digest()
    return base64.urlsafe_b64encode(digest)
