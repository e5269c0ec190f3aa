"""Leased rules: this node holds a slice of a key's limit and decides by itself until it is used or has ended.

Invariant: what all nodes admit of one key is at most what its rule admits, plus the units of leases that
were outstanding when their holders died or lost touch; each lease ends at the server by its expiry, and
here a little earlier. A slice follows the demand of the last seconds, so an idle node holds nothing. With
a head start (for a home that is far away) the first units come from a small local share, and are reported
as a debt with the next lease.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from time import monotonic
from typing import Final

import structlog

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.limiter.contracts import Outcome
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.plan import US
from twelvefold.systems.limiter.service.local import LocalLimit
from twelvefold.systems.limiter.store.leases import Grant, LeaseStore

log = structlog.get_logger("limiter")

LEASE_SECONDS: Final = 2.0
_MARGIN: Final = 0.9
"""A node stops using its lease at this part of its life, counted from before it asked."""
_LOW: Final = 0.25
_FRESH_SECONDS: Final = 0.001
"""For so long a slice says the same about when its limit is whole again: at a million decisions a second most
of a decision would be that sum. What is said is never too early."""
_MAX_SLOTS: Final = 100_000
_MAX_WAITERS: Final = 10_000
_SWEEP_SECONDS: Final = 0.5
DENY_SECONDS: Final = 1.0
"""A refusal is repeated from memory for so long at most, so that a reset or a raise is seen."""

Waiter = Callable[[Outcome | Exception], None]


class Slot:
    """One key's slice here. Times in the loop's seconds."""

    __slots__ = (
        "bound", "debt", "deny_need", "deny_until", "fence", "fresh_until", "granted", "key", "left", "low", "rate",
        "refilling", "remaining", "reset_at", "reset_us", "retry_at", "since", "start", "until", "used", "waiters",
    )  # fmt: skip

    def __init__(self, bound: Bound, key: bytes, now: float, start: LocalLimit | None) -> None:
        self.bound = bound
        self.key = key
        self.start = start
        self.fence = 0
        self.granted = self.left = self.used = self.debt = self.remaining = self.deny_need = self.reset_us = 0
        self.until = self.fresh_until = self.deny_until = self.reset_at = self.retry_at = 0.0
        self.since = now
        self.rate = 0.0
        self.low = 0.0
        self.refilling = False
        self.waiters: list[tuple[int, Waiter]] = []

    def freshen(self, now: float) -> bool:
        """Renew what is told with each decision; False: the lease has ended."""
        self.reset_us = _until(self.reset_at, now)
        self.fresh_until = min(self.until, now + _FRESH_SECONDS)
        return now < self.fresh_until


class LeaseBook:
    """All slices of this node at one store."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        lease_seconds: float = LEASE_SECONDS,
        head_start: Callable[[Bound], LocalLimit | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._head_start = head_start
        self._loop = asyncio.get_running_loop()
        self._slots: dict[bytes, dict[bytes, Slot]] = {}
        """By a rule's prefix and a key, so that no decision makes a name of the two."""
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper = asyncio.create_task(self._sweep(), name="limiter: return idle leases")

    def take(self, bound: Bound, key: bytes, cost: int) -> Outcome | None:
        """The outcome, if this node knows it; None: `wait` for the next lease.

        Cost 0 says what one unit would be told, and takes nothing.
        """
        now = monotonic()
        slots = self._slots.get(bound.prefix)
        slot = slots.get(key) if slots is not None else None
        if slot is None:
            slot = self._open(bound, key, now)
        left = slot.left
        if left >= (cost or 1) and (now < slot.fresh_until or slot.freshen(now)):
            slot.left = left = left - cost
            slot.used += cost
            if left < slot.low and not slot.refilling:
                self._refill(slot, 0)
            return Outcome(True, slot.remaining + left, slot.reset_us, 0)
        return self._take_without(slot, cost, now)

    def _take_without(self, slot: Slot, cost: int, now: float) -> Outcome | None:
        """There is no slice: a refusal of late still holds, or the head start gives."""
        need = cost or 1
        if now < slot.deny_until and need >= slot.deny_need:
            retry = -1 if slot.retry_at < 0 else max(1, _until(slot.retry_at, now))
            return Outcome(False, slot.left, _until(slot.reset_at, now), retry)
        if slot.start is not None and slot.start.hit(slot.key, cost):
            slot.debt += cost
            slot.used += cost
            if not slot.refilling:
                self._refill(slot, need)
            return Outcome(True, slot.left, self._lease_us, 0)
        return Outcome(False, 0, US, US) if len(slot.waiters) >= _MAX_WAITERS else None

    def wait(self, bound: Bound, key: bytes, cost: int, waiter: Waiter) -> None:
        """What `take` did not know: `waiter` gets the outcome, or an error, when the next lease is here."""
        slot = self._slots[bound.prefix][key]
        slot.waiters.append((cost, waiter))
        if not slot.refilling:
            self._refill(slot, cost or 1)

    def give(self, bound: Bound, key: bytes, cost: int) -> bool:
        """Give units back into the slice they came from; False: there is none, so the store must take them."""
        slot = self._slot(bound, key)
        if slot is None or monotonic() >= slot.until or slot.left + cost > slot.granted:
            return False
        slot.left += cost
        return True

    def look(self, bound: Bound, key: bytes) -> int:
        """Units that this node could admit now without asking."""
        slot = self._slot(bound, key)
        return slot.left if slot is not None and monotonic() < slot.until else 0

    def forget(self, bound: Bound, key: bytes) -> None:
        """Drop the slice unreturned: the state it came from has been reset."""
        slot = self._slot(bound, key)
        if slot is not None:
            slot.left = slot.granted = slot.debt = 0
            slot.low = 0.0
            slot.until = slot.fresh_until = slot.deny_until = 0.0

    async def held_by_all(self, bound: Bound, key: bytes) -> dict[str, int]:
        """Units that all nodes hold, by node. Raises `EngineUnavailableError`."""
        return await self._store.outstanding(bound, key)

    @property
    def outstanding(self) -> int:
        """Units that this node holds."""
        now = monotonic()
        return sum(slot.left for slot in self._all() if now < slot.until)

    async def close(self) -> None:
        """Return everything."""
        self._sweeper.cancel()
        await asyncio.wait([self._sweeper, *self._tasks])
        for slot in list(self._all()):
            if slot.granted or slot.debt:
                try:
                    await self._ask(slot, need=0, want=0)
                except (TwelvefoldError, TimeoutError):
                    return  # they come back by expiry

    # -- refilling ------------------------------------------------------------------------------

    @property
    def _lease_us(self) -> int:
        return int(self._lease_seconds * US)

    def _slot(self, bound: Bound, key: bytes) -> Slot | None:
        return self._slots.get(bound.prefix, {}).get(key)

    def _all(self) -> Iterator[Slot]:
        return (slot for slots in self._slots.values() for slot in slots.values())

    def _open(self, bound: Bound, key: bytes, now: float) -> Slot:
        if self._count >= _MAX_SLOTS:
            idle = [slot for slot in self._all() if not slot.granted and not slot.refilling]
            for slot in idle[: _MAX_SLOTS // 10] or list(islice(self._all(), 1)):
                self._drop(slot)
        slot = Slot(bound, key, now, self._head_start(bound))
        self._slots.setdefault(bound.prefix, {})[key] = slot
        self._count += 1
        return slot

    def _drop(self, slot: Slot) -> None:
        slots = self._slots.get(slot.bound.prefix, {})
        if slots.get(slot.key) is not slot:  # the sweep waited, and meanwhile it had to make room
            return
        del slots[slot.key]
        if not slots:
            del self._slots[slot.bound.prefix]
        self._count -= 1

    def _refill(self, slot: Slot, need: int) -> None:
        slot.refilling = True
        task = asyncio.create_task(self._run(slot, need))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, slot: Slot, need: int) -> None:
        """Take the next slice and serve who waits; repeat while someone waits who may yet be served."""
        try:
            while True:
                try:
                    grant = await self._ask(slot, need=need, want=max(need, self._wanted(slot)))
                except (TwelvefoldError, TimeoutError) as error:
                    self._fail(slot, error)
                    return
                self._serve(slot, grant, need)
                if not slot.waiters:
                    return
                need = slot.waiters[0][0] or 1
        finally:
            slot.refilling = False

    async def _ask(self, slot: Slot, *, need: int, want: int) -> Grant:
        asked_at = monotonic()
        keeps = want > 0 and asked_at < slot.until
        unused, debt = slot.left, slot.debt
        slot.debt = 0
        if not keeps:
            slot.left = 0
        try:
            grant = await self._store.lease(
                slot.bound,
                slot.key,
                fence=slot.fence,
                unused=unused,
                need=max(0, need - unused) if keeps else need,
                want=want,
                ttl_us=self._lease_us,
                debt=debt,
                keeps=keeps,
            )
        except BaseException:
            slot.debt += debt
            raise
        # What was kept went on being used meanwhile; a lease that had run out at the server is void.
        slot.left = (slot.left if grant.kept else 0) + grant.granted
        slot.granted = grant.granted + grant.kept
        slot.low = slot.granted * _LOW
        slot.fence = grant.fence
        slot.until = asked_at + grant.ttl_us / US * _MARGIN
        slot.remaining, slot.reset_at = grant.remaining, asked_at + grant.reset_us / US
        slot.fresh_until = 0.0
        return grant

    def _wanted(self, slot: Slot) -> int:
        """Enough for the lease's life at the rate of late, at most a tenth of the limit."""
        now = monotonic()
        elapsed = max(now - slot.since, 0.001)
        slot.rate = 0.5 * slot.rate + 0.5 * (slot.used / elapsed)
        slot.used, slot.since = 0, now
        capacity = slot.bound.plan.capacity if slot.bound.plan is not None else 0
        return max(1, min(int(slot.rate * self._lease_seconds) + 1, capacity // 10))

    def _serve(self, slot: Slot, grant: Grant, need: int) -> None:
        now = monotonic()
        if not grant.granted and need:
            slot.deny_need = need
            slot.retry_at = -1.0 if grant.retry_us < 0 else now + grant.retry_us / US
            slot.deny_until = now + min(
                DENY_SECONDS, grant.retry_us / US if grant.retry_us > 0 else DENY_SECONDS
            )
        waiters, slot.waiters = slot.waiters, []
        for cost, waiter in waiters:
            wanted = cost or 1
            if slot.left >= wanted:
                slot.left -= cost
                slot.used += cost
                waiter(Outcome(True, slot.remaining + slot.left, _until(slot.reset_at, now), 0))
            elif now < slot.deny_until and wanted >= slot.deny_need:
                retry = -1 if slot.retry_at < 0 else max(1, _until(slot.retry_at, now))
                waiter(Outcome(False, slot.left, _until(slot.reset_at, now), retry))
            else:
                slot.waiters.append((cost, waiter))

    def _fail(self, slot: Slot, error: Exception) -> None:
        waiters, slot.waiters = slot.waiters, []
        for _, waiter in waiters:
            waiter(error)

    async def _sweep(self) -> None:
        """Return what lies idle; it would come back by expiry, but later."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = monotonic()
            for slot in list(self._all()):
                if slot.refilling or now - slot.since < self._lease_seconds / 2:
                    continue
                if slot.used:
                    self._wanted(slot)
                elif slot.granted or slot.debt:
                    slot.refilling = True
                    try:
                        await self._ask(slot, need=0, want=0)
                        if slot.waiters:
                            self._refill(slot, slot.waiters[0][0] or 1)
                            continue
                    except (TwelvefoldError, TimeoutError) as error:
                        log.info("limiter.lease.not_returned", reason=str(error))
                        self._fail(slot, error)
                    slot.refilling = False
                elif now >= slot.deny_until and not slot.waiters:
                    self._drop(slot)


def _until(moment: float, now: float) -> int:
    """Microseconds from now, never below 0, rounded up."""
    return max(0, int((moment - now) * US) + 1)
