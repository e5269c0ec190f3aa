"""The limiter: asks rules for keys, all at once or not at all, within 20 ms whatever the engines do.

`ask` is what every door uses: it gives the verdict at once where this process knows it (local and leased
rules, the deny cache, an outage), and calls back where the shared state has to be asked. `check` and its
relatives are the same for people who await.
"""

import asyncio
import functools
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, ParamSpec, TypeVar

import structlog

from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import (
    MAX_COST,
    MAX_HITS,
    Decision,
    Hit,
    HitRefusedError,
    Key,
    Outcome,
    Permit,
    Rule,
    StateUnavailableError,
    Verdict,
)
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.keys import encode_key
from twelvefold.systems.limiter.service.decisions import (
    decision_of,
    degraded,
    refusal,
    unlimited,
    verdict_of,
)
from twelvefold.systems.limiter.service.deny_cache import DenyCache
from twelvefold.systems.limiter.service.flights import BareFlight, Done, Flight, LeaseWait, OneDone
from twelvefold.systems.limiter.service.joint import Joint
from twelvefold.systems.limiter.service.leased import LeaseBook
from twelvefold.systems.limiter.service.local_limits import LocalLimits
from twelvefold.systems.limiter.service.places import Places
from twelvefold.systems.limiter.service.rule_book import RuleBook
from twelvefold.systems.limiter.service.tally import Tally, shown
from twelvefold.systems.limiter.store.leases import PermitStore
from twelvefold.systems.limiter.store.shared_state import SharedState

log = structlog.get_logger("limiter")

Asked = tuple[Bound, bytes, int]
P = ParamSpec("P")
R = TypeVar("R")
_ACT_SECONDS: Final = 1.0
"""A reset is no check: nobody's request waits for it."""


class Limiter:
    """See the module. `platform` wires it; `open_limiter` does for a process of one's own."""

    def __init__(
        self,
        *,
        shared: SharedState,
        home_shared: SharedState,
        leases: LeaseBook,
        home: LeaseBook,
        permits: PermitStore,
        book: RuleBook,
        local: LocalLimits,
        tally: Tally | None = None,
    ) -> None:
        self.book = book
        self.tally = tally or Tally()
        self._shared = shared
        self._home_shared = home_shared
        self._leases = leases
        self._home = home
        self._places = Places(permits, book, self.tally)
        self._local = local
        self._denied = DenyCache()

    # -- for people -----------------------------------------------------------------------------

    async def check(
        self, rule: str | Rule, key: Key, cost: int = 1, *, tenant: TenantId = DEFAULT_TENANT
    ) -> Decision:
        """Take `cost` units of `rule` for `key` if they are there; 0 only looks.

        Raises:
            RuleNotFoundError: no stored rule has this name.
            HitRefusedError: an empty or oversized key, a negative or absurd cost.
        """
        return (await self.check_all((Hit(rule, key, cost),), tenant=tenant)).binding

    async def check_all(self, hits: Sequence[Hit], *, tenant: TenantId = DEFAULT_TENANT) -> Verdict:
        """Ask several rules at once: all are debited, or none when one refuses. Raises like `check`."""
        return await self.verdict(tenant, self.resolve(tenant, hits))

    async def verdict(self, tenant: TenantId, asked: Sequence[Asked]) -> Verdict:
        """As `ask`, for people who await."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        verdict = self.ask(tenant, asked, lambda made: None if future.done() else future.set_result(made))
        return await future if verdict is None else verdict

    async def peek(self, rule: str | Rule, key: Key, *, tenant: TenantId = DEFAULT_TENANT) -> Decision:
        """What `check` would say to one unit, without taking it."""
        return await self.check(rule, key, 0, tenant=tenant)

    async def require(
        self, rule: str | Rule, key: Key, cost: int = 1, *, tenant: TenantId = DEFAULT_TENANT
    ) -> Decision:
        """`check` that raises `LimitExceededError` (or `StateUnavailableError`) instead of saying no."""
        decision = await self.check(rule, key, cost, tenant=tenant)
        if not decision.allowed:
            raise refusal(decision)
        return decision

    async def refund(
        self, rule: str | Rule, key: Key, cost: int = 1, *, tenant: TenantId = DEFAULT_TENANT
    ) -> None:
        """Give units back, at most what was taken. Raises like `check`, and `StateUnavailableError`."""
        ((bound, suffix, units),) = self.resolve(tenant, (Hit(rule, key, cost),))
        if units and bound.plan is not None:
            await self._give(bound, suffix, units)
            self._denied.forget(bound, suffix)

    async def reset(self, rule: str | Rule, key: Key, *, tenant: TenantId = DEFAULT_TENANT) -> None:
        """As if the key had never been seen; known to all processes within a second."""
        ((bound, suffix, _),) = self.resolve(tenant, (Hit(rule, key, 0),), concurrency=True)
        self._denied.forget(bound, suffix)
        self._local.forget(bound, suffix)
        self._leases.forget(bound, suffix)
        self._home.forget(bound, suffix)
        names = [bound.prefix + suffix + tail for tail in (b"", b"!", b"~", b"@")]
        names += [earlier.prefix + suffix for earlier, _ in bound.previous]
        try:
            async with asyncio.timeout(_ACT_SECONDS):
                await self._state_of(bound).forget(names)
        except (EngineUnavailableError, TimeoutError) as error:
            raise StateUnavailableError("limiter", "the key was not reset") from error

    def limited(
        self,
        rule: str | Rule,
        key: Callable[P, Key] | Key,
        *,
        cost: int = 1,
        tenant: TenantId = DEFAULT_TENANT,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """Decorate a coroutine function: each call asks first, and raises `LimitExceededError` when refused.

        `key` is a key, or makes one of the call's arguments.
        """

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
            @functools.wraps(function)
            async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
                whose = key(*args, **kwargs) if callable(key) else key
                decision = await self.require(rule, whose, cost, tenant=tenant)
                if decision.delay_seconds:
                    await asyncio.sleep(decision.delay_seconds)
                return await function(*args, **kwargs)

            return guarded

        return decorate

    async def outstanding(
        self, rule: str | Rule, key: Key, *, tenant: TenantId = DEFAULT_TENANT
    ) -> dict[str, int]:
        """Units of a leased rule that nodes hold now: how far more than the limit can be admitted at worst."""
        ((bound, suffix, _),) = self.resolve(tenant, (Hit(rule, key, 0),))
        if bound.rule.mode != "leased":
            return {}
        book = self._home if bound.rule.reach == "home" else self._leases
        return await book.held_by_all(bound, suffix)

    # -- places ---------------------------------------------------------------------------------

    async def acquire(self, rule: str | Rule, key: Key, *, tenant: TenantId = DEFAULT_TENANT) -> Permit:
        """A place of a concurrency rule, for at most `period_seconds` unless it is renewed."""
        return await self._places.call("take", rule, key, secrets.token_urlsafe(12), tenant)

    async def renew(
        self, rule: str | Rule, key: Key, permit_id: str, *, tenant: TenantId = DEFAULT_TENANT
    ) -> Permit:
        """Keep a place for another `period_seconds`; `allowed` is false when it had ended."""
        return await self._places.call("renew", rule, key, permit_id, tenant)

    async def release(
        self, rule: str | Rule, key: Key, permit_id: str, *, tenant: TenantId = DEFAULT_TENANT
    ) -> None:
        """Leave a place; one that has ended is no error."""
        await self._places.call("free", rule, key, permit_id, tenant)

    def figures(self) -> dict[str, Callable[[], float]]:
        """What a process tells of itself to those who watch it; `_total` counts from its start."""
        return {
            "limiter_allowed_total": lambda: self.tally.decided - self.tally.refused,
            "limiter_refused_total": lambda: self.tally.refused,
            "limiter_degraded_total": lambda: self.tally.degraded,
            "limiter_state_healthy": lambda: self._shared.healthy,
            "limiter_leased_units": lambda: self._leases.outstanding + self._home.outstanding,
        }

    # -- for doors ------------------------------------------------------------------------------

    def resolve(self, tenant: TenantId, hits: Sequence[Hit], *, concurrency: bool = False) -> list[Asked]:
        """Look rules up, encode keys, check costs; the same rule and key twice becomes one hit."""
        if not 0 < len(hits) <= MAX_HITS:
            raise HitRefusedError(f"a check names 1 to {MAX_HITS} rules", field="checks")
        asked: dict[tuple[Bound, bytes], int] = {}
        for hit in hits:
            if type(hit.cost) is not int or not 0 <= hit.cost <= MAX_COST:
                raise HitRefusedError(
                    f"a cost is a whole number from 0 to {MAX_COST}",
                    field="cost",
                    hint="give units back with refund",
                )
            bound = self.book.bound(tenant, hit.rule)
            if bound.rule.algorithm == "concurrency" and not concurrency:
                raise HitRefusedError(
                    f"'{bound.name}' limits how many at once", field="rule", hint="use acquire and release"
                )
            whose = (bound, encode_key(hit.key))
            asked[whose] = asked.get(whose, 0) + hit.cost
        return [(bound, key, cost) for (bound, key), cost in asked.items()]

    def ask(self, tenant: TenantId, asked: Sequence[Asked], done: Done) -> Verdict | None:
        """The verdict if it is known here; else None, and `done` gets it within 20 ms, exactly once."""
        if len(asked) > 1:
            return Joint(self, tenant, asked, done).begin()
        bound, key, cost = asked[0]
        decision = self.decide_here(bound, key, cost, lambda made: done(verdict_of((made,))))
        if decision is not None:
            return verdict_of((decision,))
        if bound.rule.mode == "exact":
            one = Flight(self, bound, key, cost, done)
            try:
                self._shared.ask(tenant, asked, one.answer, one.fault)
            except (EngineUnavailableError, OverloadedError) as error:
                return verdict_of((self.degrade(bound, key, cost, error),))
        return None

    def ask_one(self, bound: Bound, key: bytes, cost: int, done: OneDone) -> Outcome | Decision | None:
        """As `ask` for one rule with a limit, without making a decision of an outcome: for the Redis door.

        None: `done` gets the outcome later, or a decision where the failure policy speaks.
        """
        mode = bound.rule.mode
        if mode == "local":
            return self.ask_local(bound, key, cost)
        if mode == "leased":
            return self.decide_here(bound, key, cost, done)
        known = self._denied.get(bound, key, cost)
        if known is not None:
            self.count(bound, key, cost, known, 0)
            return known
        one = BareFlight(self, bound, key, cost, done)
        try:
            self._shared.ask(bound.tenant, ((bound, key, cost),), one.answer, one.fault)
        except (EngineUnavailableError, OverloadedError) as error:
            return self.degrade(bound, key, cost, error)
        return None

    def ask_local(self, bound: Bound, key: bytes, cost: int = 1) -> Outcome:
        """Ask a local rule, and count what it says."""
        outcome = self._local.limit(bound).ask(key, cost)
        if outcome.allowed and not bound.rule.record:
            self.tally.admit(bound, 1)
        else:
            self.count(bound, key, cost, outcome, 0)
        return outcome

    def ask_here(self, bound: Bound, keys: Sequence[bytes]) -> list[Outcome]:
        """One unit of a local rule for each key, in order: for the Redis door's pipelines."""
        ask = self._local.limit(bound).ask
        outcomes: list[Outcome] = []
        admitted = 0
        for key in keys:
            outcome = ask(key)
            outcomes.append(outcome)
            if outcome.allowed and not bound.rule.record:
                admitted += 1
            else:
                self.count(bound, key, 1, outcome, 0)
        self.tally.admit(bound, admitted)
        return outcomes

    def decide_here(
        self, bound: Bound, key: bytes, cost: int, later: Callable[[Decision], None]
    ) -> Decision | None:
        """What this process knows by itself. None: an exact rule, or a lease on its way, which calls `later`."""
        if bound.plan is None:
            self.tally.count(bound, "", cost, 0, refused=False)
            return unlimited(bound)
        mode = bound.rule.mode
        if mode == "exact":
            outcome = self._denied.get(bound, key, cost)
            return None if outcome is None else self.settle(bound, key, cost, outcome, time.time_ns() // 1000)
        if mode == "local":
            outcome = self._local.ask(bound, key, cost)
            return self.settle(bound, key, cost, outcome, time.time_ns() // 1000)
        book = self._home if bound.rule.reach == "home" else self._leases
        taken = book.take(bound, key, cost)
        if taken is None:
            book.wait(bound, key, cost, LeaseWait(self, bound, key, cost, later))
            return None
        return self.settle(bound, key, cost, taken, time.time_ns() // 1000)

    def ask_shared(
        self,
        tenant: TenantId,
        asked: Sequence[Asked],
        answer: Callable[[int, Sequence[int], int], None],
        fault: Callable[[Exception], None],
    ) -> None:
        """See `SharedState.ask`."""
        self._shared.ask(tenant, asked, answer, fault)

    def settle(self, bound: Bound, key: bytes, cost: int, outcome: Outcome, now_us: int) -> Decision:
        """Count an outcome and make it a decision."""
        self.count(bound, key, cost, outcome, now_us)
        return decision_of(bound, outcome, now_us)

    def count(self, bound: Bound, key: bytes, cost: int, outcome: Outcome, now_us: int) -> None:
        """Count an outcome."""
        if outcome.allowed and not bound.rule.record:
            self.tally.admit(bound, 1)
        else:
            at_us = now_us or time.time_ns() // 1000
            self.tally.count(bound, shown(key), cost, at_us, refused=not outcome.allowed)

    def remember_refusal(self, bound: Bound, key: bytes, cost: int, outcome: Outcome) -> None:
        """Answer the same from memory for up to a second."""
        self._denied.put(bound, key, cost, outcome)

    def degrade(self, bound: Bound, key: bytes, cost: int, error: Exception) -> Decision:
        """The rule's failure policy speaks, as the state cannot be reached."""
        del error
        outcome = None
        if bound.rule.failure == "local":
            outcome = self._local.ask(bound, key, cost, fallback=True)
        decision = degraded(bound, outcome, time.time_ns() // 1000, random.random())  # noqa: S311 - spreads retries
        self.tally.degraded += 1
        self.tally.count(bound, shown(key), cost, 0, refused=not decision.allowed)
        return decision

    def give_here(self, bound: Bound, key: bytes, cost: int) -> None:
        """Take back what `decide_here` took; used when another rule of the same check refuses."""
        if bound.plan is None or not cost:
            return
        if bound.rule.mode == "local":
            self._local.give(bound, key, cost)
            return
        book = self._home if bound.rule.reach == "home" else self._leases
        if not book.give(bound, key, cost):
            try:
                self._state_of(bound).ask(
                    bound.tenant, ((bound, key, -cost),), lambda *_: None, lambda _: None
                )
            except (EngineUnavailableError, OverloadedError) as error:
                log.info("limiter.refund.lost", rule=bound.name, reason=error.message)

    async def _give(self, bound: Bound, key: bytes, cost: int) -> None:
        if bound.rule.mode == "local":
            self._local.give(bound, key, cost)
            return
        book = self._home if bound.rule.reach == "home" else self._leases
        if bound.rule.mode == "leased" and book.give(bound, key, cost):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answer(_now: int, _numbers: Sequence[int], _at: int) -> None:
            if not future.done():
                future.set_result(None)

        def fault(error: Exception) -> None:
            if not future.done():
                future.set_exception(StateUnavailableError("limiter", str(error)))

        try:
            self._state_of(bound).ask(bound.tenant, ((bound, key, -cost),), answer, fault)
        except EngineUnavailableError as error:
            raise StateUnavailableError("limiter", error.message) from error
        await future

    def _state_of(self, bound: Bound) -> SharedState:
        return self._home_shared if bound.rule.reach == "home" else self._shared
