"""The rules that this process goes by: all tenants' stored rules in memory, each compiled once.

A change replaces the compiled rule, with the earlier forms that keys may still have state under. What
cannot be used is kept out, with the reason, and what was there before stays: a bad change never opens a
gate. Rules that come with a request (CL.THROTTLE, inline rules) are compiled on first sight and bounded.
"""

import difflib
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Rule, RuleNotFoundError, StoredRule
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.plan import check_form

log = structlog.get_logger("limiter")

MAX_INLINE: Final = 4096


class RuleBook:
    """Compiled rules by tenant and name."""

    def __init__(self) -> None:
        self._rules: dict[TenantId, dict[str, Bound]] = {}
        self._versions: dict[TenantId, dict[str, int]] = {}
        self._inline: dict[tuple[TenantId, Rule], Bound] = {}

    def bound(self, tenant: TenantId, rule: str | Rule) -> Bound:
        """The compiled rule. Raises `RuleNotFoundError` naming the nearest, or `RuleRefusedError`."""
        if isinstance(rule, str):
            known = self._rules.get(tenant, {})
            found = known.get(rule)
            if found is None:
                nearest = difflib.get_close_matches(rule[:64], known, n=1)
                raise RuleNotFoundError(
                    f"there is no rule '{rule[:64]}'",
                    field="rule",
                    hint=f"did you mean '{nearest[0]}'?"
                    if nearest
                    else "make it with PUT /v1/limiter/rules/{name}",
                )
            return found
        try:
            bound = self._inline.get((tenant, rule))
        except TypeError:  # no hash: a field is not what it should be
            check_form(rule)
            raise
        if bound is None:
            if len(self._inline) >= MAX_INLINE:
                for old in list(self._inline)[: MAX_INLINE // 4]:
                    del self._inline[old]
            bound = self._inline[tenant, rule] = Bound(tenant, rule)
        return bound

    @property
    def tenants(self) -> list[TenantId]:
        """Who has stored rules here."""
        return list(self._rules)

    def rules_of(self, tenant: TenantId) -> Sequence[Bound]:
        """All stored rules of a tenant."""
        return list(self._rules.get(tenant, {}).values())

    def replace(self, tenant: TenantId, stored: Iterable[StoredRule]) -> None:
        """Go by these rules of a tenant from now on; unchanged ones keep their compiled form."""
        before, versions = self._rules.get(tenant, {}), self._versions.get(tenant, {})
        rules: dict[str, Bound] = {}
        seen: dict[str, int] = {}
        for each in stored:
            name = each.rule.name
            seen[name] = each.version
            if versions.get(name) == each.version and name in before:
                rules[name] = before[name]
                continue
            try:
                rules[name] = compile_stored(tenant, each)
            except TwelvefoldError as error:
                log.warning("limiter.rule.refused", rule=name, reason=error.message)
                if name in before:
                    rules[name] = before[name]
        self._rules[tenant] = rules
        self._versions[tenant] = seen

    def put(self, tenant: TenantId, stored: StoredRule) -> None:
        """Go by one rule; for the process that changed it, and for a library without a database."""
        self._rules.setdefault(tenant, {})[stored.rule.name] = compile_stored(tenant, stored)
        self._versions.setdefault(tenant, {})[stored.rule.name] = stored.version

    def remove(self, tenant: TenantId, name: str) -> None:
        """Forget a rule."""
        self._rules.get(tenant, {}).pop(name, None)
        self._versions.get(tenant, {}).pop(name, None)


def compile_stored(tenant: TenantId, stored: StoredRule) -> Bound:
    """The compiled rule with its earlier forms. Raises `RuleRefusedError`."""
    previous = tuple(
        (Bound(tenant, rule), until_ms)
        for rule, until_ms in stored.previous
        if rule.limit and rule.algorithm != "concurrency"
    )
    return Bound(tenant, stored.rule, previous)


def succeed(before: StoredRule | None, rule: Rule, now_ms: int | None = None) -> StoredRule:
    """The next version of a stored rule: with the earlier forms whose state can still matter, at most four."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if before is None:
        return StoredRule(rule=rule, version=1, created_at_ms=now, updated_at_ms=now)
    previous = [(earlier, until) for earlier, until in before.previous if until > now]
    plan = Bound(TenantId(0), before.rule).plan
    if plan is not None and plan.limit:
        previous.insert(0, (before.rule, now + plan.time_to_full // 1000 + 1000))
    return StoredRule(
        rule=rule,
        version=before.version + 1,
        created_at_ms=before.created_at_ms,
        updated_at_ms=now,
        previous=tuple(previous[:4]),
    )
