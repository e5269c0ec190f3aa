"""Places among so many at once: taken, kept, left, and free by themselves when their holder does not come back."""

import time

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import HitRefusedError, Key, Permit, Rule, StateUnavailableError
from twelvefold.systems.limiter.rules.keys import encode_key
from twelvefold.systems.limiter.service.rule_book import RuleBook
from twelvefold.systems.limiter.service.tally import Tally, shown
from twelvefold.systems.limiter.store.leases import PermitStore


class Places:
    """Concurrency rules. While the state is away the rule's failure policy decides about taking a place."""

    def __init__(self, permits: PermitStore, book: RuleBook, tally: Tally) -> None:
        self._permits = permits
        self._book = book
        self._tally = tally

    async def call(self, verb: str, rule: str | Rule, key: Key, permit_id: str, tenant: TenantId) -> Permit:
        """`take`, `renew` or `free`. Raises `HitRefusedError`, and `StateUnavailableError` where policy says so."""
        bound = self._book.bound(tenant, rule)
        if bound.rule.algorithm != "concurrency" or bound.plan is None:
            raise HitRefusedError(
                f"'{bound.name}' is no concurrency rule", field="rule", hint="ask it with check"
            )
        if not 0 < len(permit_id) <= 64:
            raise HitRefusedError("a permit's id is what acquire gave", field="id")
        suffix = encode_key(key)
        try:
            now_us, done, count, wait_us = await self._permits.call(verb, bound, suffix, permit_id)
        except (TwelvefoldError, TimeoutError) as error:
            if verb != "take" or bound.rule.failure == "closed":
                raise StateUnavailableError("limiter", str(error)) from error
            done, count, wait_us, now_us = True, 0, 0, time.time_ns() // 1000
        if verb == "take":
            self._tally.count(bound, shown(suffix), 1, now_us, refused=not done)
        return Permit(
            allowed=done,
            id=permit_id if done else "",
            rule=bound.name,
            limit=bound.plan.limit,
            in_use=count,
            expires_at=(now_us + bound.plan.period) / 1e6,
            retry_after_seconds=None if done or not bound.plan.limit else wait_us / 1e6,
        )
