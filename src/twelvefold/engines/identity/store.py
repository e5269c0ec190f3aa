"""The lease table, the only place that says who holds a worker id.

Expiry is judged by the database's clock alone, so nodes need not agree on the time. The high water
mark is in the holder's own milliseconds, because that is what its ids carry.
"""

from importlib.resources import files

import msgspec

from twelvefold.engines.database import Database, Transaction, migrate
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.kernel.ids import WORKERS

SCHEMA = files("twelvefold.engines.identity") / "schema"

ATTEMPTS = 20
"""Others may take the same fresh id at the same moment; each attempt gets the next one."""

_FREE = """
SELECT worker_id, high_water_ms FROM identity.worker_lease
WHERE expires_at < clock_timestamp() AND high_water_ms < $1
ORDER BY worker_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_TAKE = """
UPDATE identity.worker_lease
SET holder = $2, fence = fence + 1, high_water_ms = $3,
    expires_at = clock_timestamp() + $4 * interval '1 second'
WHERE worker_id = $1 RETURNING fence
"""

_ADD = """
INSERT INTO identity.worker_lease (worker_id, holder, fence, high_water_ms, expires_at)
SELECT number, $1, 1, $2, clock_timestamp() + $3 * interval '1 second'
FROM generate_series(0, $4::int - 1) AS number
WHERE NOT EXISTS (SELECT FROM identity.worker_lease WHERE worker_id = number)
ORDER BY number LIMIT 1
ON CONFLICT DO NOTHING RETURNING worker_id
"""

_RENEW = """
UPDATE identity.worker_lease
SET high_water_ms = greatest(high_water_ms, $3), expires_at = clock_timestamp() + $4 * interval '1 second'
WHERE worker_id = $1 AND fence = $2 RETURNING worker_id
"""

_RELEASE = """
UPDATE identity.worker_lease SET high_water_ms = $3, expires_at = clock_timestamp()
WHERE worker_id = $1 AND fence = $2
"""


class Grant(msgspec.Struct, frozen=True):
    """What a holder was given: ids above `floor_ms` and up to `ceiling_ms`, under this worker id."""

    worker_id: int
    fence: int
    floor_ms: int
    ceiling_ms: int


class LeaseStore:
    """Takes, renews and gives back rows of the lease table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self) -> None:
        """Make the table, if it is not there yet."""
        await migrate(self._database, "identity", SCHEMA)

    async def take(self, holder: str, *, now_ms: int, lease_seconds: float) -> Grant:
        """Take a worker id that nobody holds and whose ids all lie before `now_ms`.

        Raises `EngineUnavailableError` when there is none.
        """
        ceiling_ms = now_ms + int(lease_seconds * 1000)
        for _ in range(ATTEMPTS):
            async with self._database.transaction() as tx:
                grant = await self._take(tx, holder, now_ms, ceiling_ms, lease_seconds)
            if grant is not None:
                return grant
            if await self._database.fetch_value("SELECT count(*) FROM identity.worker_lease") >= WORKERS:
                break
        raise EngineUnavailableError(
            "worker lease", f"none of the {WORKERS} worker ids is free at this time of this clock"
        )

    async def renew(self, grant: Grant, *, ceiling_ms: int, lease_seconds: float) -> bool:
        """Hold on to a worker id, for ids up to `ceiling_ms`; False if someone else has it now."""
        found = await self._database.fetch_value(
            _RENEW, grant.worker_id, grant.fence, ceiling_ms, lease_seconds
        )
        return found is not None

    async def release(self, grant: Grant, *, last_ms: int) -> None:
        """Give a worker id back; no id of ours is later than `last_ms`."""
        await self._database.execute(_RELEASE, grant.worker_id, grant.fence, last_ms)

    async def _take(
        self, tx: Transaction, holder: str, now_ms: int, ceiling_ms: int, lease_seconds: float
    ) -> Grant | None:
        free = await tx.fetch_row(_FREE, now_ms)
        if free is not None:
            worker_id, floor_ms = free
            fence = await tx.fetch_value(_TAKE, worker_id, holder, ceiling_ms, lease_seconds)
            return Grant(worker_id, fence, floor_ms, ceiling_ms)
        worker_id = await tx.fetch_value(_ADD, holder, ceiling_ms, lease_seconds, WORKERS)
        return None if worker_id is None else Grant(worker_id, 1, 0, ceiling_ms)
