"""A leased worker id and the id generator that stands on it.

Invariant: no two ids are ever equal, whatever dies, pauses or sets its clock back. The row's high
water mark is on disk before the generator may reach up to it, and the next holder starts above it:
the holders of one worker id divide the milliseconds among them, so even one that wakes up after its
lease has gone cannot make an id that its successor makes. After Kleppmann's fencing tokens (2016).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Self

import structlog

from twelvefold.engines.database import Database
from twelvefold.engines.identity.store import Grant, LeaseStore
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.retry import Backoff

LEASE_SECONDS = 30.0
"""Long enough to outlive a restart of the database; a dead holder's worker id rests as long."""

RENEW_AT = 1 / 3
REVOKE_AT = 5 / 6
"""Parts of the lease: renewed after a third, given up by us before the database does."""

RETRY = Backoff(first_seconds=0.05, cap_seconds=1.0)

_log = structlog.get_logger("identity")


class WorkerLease:
    """Renewed in the background until `release`.

    If the lease is lost (the database away too long), `ids` refuses with `LeaseExpiredError`; as soon
    as the database answers again it goes on, under another worker id if someone has taken ours.

    Attributes:
        ids: makes ids; the object stays the same for the life of the lease.
    """

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        grant: Grant,
        *,
        holder: str,
        lease_seconds: float,
        ids: SnowflakeGenerator,
    ) -> None:
        self.ids = ids
        self._store = store
        self._clock = clock
        self._grant = grant
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._revoke: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def acquire(
        cls,
        database: Database,
        clock: Clock,
        *,
        holder: str,
        lease_seconds: float = LEASE_SECONDS,
        wait: Callable[[float], None] = lambda ms: time.sleep(ms / 1000),
    ) -> Self:
        """Take a worker id. Raises `EngineUnavailableError` if the database is away or none is free.

        Args:
            database: where the leases are kept.
            clock: of this process.
            holder: who we are, for people who read the table (`web 3 on host`).
            lease_seconds: how long the worker id stays ours without a renewal.
            wait: blocks for milliseconds when a millisecond's 4,096 ids are used up.
        """
        store = LeaseStore(database)
        await store.prepare()
        sent = asyncio.get_running_loop().time()
        grant = await store.take(holder, now_ms=clock.now_ms(), lease_seconds=lease_seconds)
        ids = SnowflakeGenerator(
            grant.worker_id, clock, floor_ms=grant.floor_ms, ceiling_ms=grant.ceiling_ms, wait=wait
        )
        lease = cls(store, clock, grant, holder=holder, lease_seconds=lease_seconds, ids=ids)
        lease._arm(sent)
        lease._task = asyncio.create_task(lease._keep(), name="identity: keep lease")
        return lease

    @property
    def worker_id(self) -> int:
        """The worker id held now."""
        return self._grant.worker_id

    @property
    def fence(self) -> int:
        """Grows with every new holder of this worker id."""
        return self._grant.fence

    async def renew(self) -> None:
        """Renew, or take another worker id if ours has gone. Happens by itself, every third of a lease."""
        sent = asyncio.get_running_loop().time()
        now_ms = self._clock.now_ms()
        ceiling_ms = now_ms + int(self._lease_seconds * 1000)
        if await self._store.renew(self._grant, ceiling_ms=ceiling_ms, lease_seconds=self._lease_seconds):
            self.ids.extend(ceiling_ms)
        else:
            self.ids.revoke()
            _log.warning("identity.lease.lost", worker_id=self._grant.worker_id, holder=self._holder)
            self._grant = await self._store.take(
                self._holder, now_ms=now_ms, lease_seconds=self._lease_seconds
            )
            self.ids.adopt(
                self._grant.worker_id, floor_ms=self._grant.floor_ms, ceiling_ms=self._grant.ceiling_ms
            )
        self._arm(sent)

    async def release(self) -> None:
        """Stop making ids and give the worker id back, for the next start to use at once."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        if self._revoke is not None:
            self._revoke.cancel()
        # In this order: after `revoke` no id can be later than `last_ms`.
        self.ids.revoke()
        try:
            await self._store.release(self._grant, last_ms=self.ids.last_ms)
        except TwelvefoldError as error:
            _log.info("identity.release.skipped", reason=error.message)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds * RENEW_AT)
            for delay in RETRY.delays():
                try:
                    await self.renew()
                    break
                except TwelvefoldError as error:
                    _log.warning("identity.renew.failed", reason=error.message)
                await asyncio.sleep(delay)

    def _arm(self, sent: float) -> None:
        """Revoke in time, counted from before the request left, so that the database's clock ends later."""
        if self._revoke is not None:
            self._revoke.cancel()
        loop = asyncio.get_running_loop()
        self._revoke = loop.call_at(sent + self._lease_seconds * REVOKE_AT, self.ids.revoke)
