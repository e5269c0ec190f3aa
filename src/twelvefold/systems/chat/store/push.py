"""Push subscriptions, and notifications on their way: rows in PostgreSQL, taken with a lease."""

from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.engines.database import Database, Transaction
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import PushKeys, PushSubscription


class PushJob(msgspec.Struct, frozen=True, kw_only=True):
    """One notification to one device."""

    subscription_id: int
    tenant_id: int
    user: str
    conversation_id: int
    seq: int
    attempts: int
    service: str
    address: str
    keys: PushKeys | None


class PushStore:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, tenant: TenantId, user: str, subscription_id: int, subscription: PushSubscription
    ) -> None:
        """A device's subscription; an older one of the same device is replaced."""
        s = subscription
        await self._database.execute(
            """INSERT INTO chat.push_subscription (id, tenant_id, user_id, device, service, address, keys)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (tenant_id, user_id, device) DO UPDATE SET
                   service = EXCLUDED.service, address = EXCLUDED.address, keys = EXCLUDED.keys""",
            subscription_id, tenant, user, s.device, s.service, s.address,
            None if s.keys is None else msgspec.to_builtins(s.keys),
        )  # fmt: skip

    async def remove(self, tenant: TenantId, user: str, device: str) -> None:
        """A device wants no more."""
        await self._database.execute(
            "DELETE FROM chat.push_subscription WHERE tenant_id = $1 AND user_id = $2 AND device = $3",
            tenant,
            user,
            device,
        )

    async def remove_by_id(self, subscription_id: int) -> None:
        """The push service says that it has ended."""
        await self._database.execute("DELETE FROM chat.push_subscription WHERE id = $1", subscription_id)

    async def candidates(
        self, transaction: Transaction, conversation_id: int, author: str
    ) -> list[tuple[int, int, str]]:
        """`(subscription, tenant, user)` of the members who could be woken."""
        rows = await transaction.fetch(
            """SELECT s.id, s.tenant_id, s.user_id FROM chat.member m
               JOIN chat.push_subscription s ON s.tenant_id = m.tenant_id AND s.user_id = m.user_id
               WHERE m.conversation_id = $1 AND m.user_id <> $2""",
            conversation_id, author,
        )  # fmt: skip
        return [(row["id"], row["tenant_id"], row["user_id"]) for row in rows]

    async def enqueue(
        self,
        transaction: Transaction,
        subscriptions: Sequence[int],
        conversation_id: int,
        seq: int,
        due_at_ms: int,
    ) -> None:
        """A notification for each; the same one twice is once."""
        await transaction.execute(
            """INSERT INTO chat.push_job (subscription_id, conversation_id, seq, due_at_ms)
               SELECT unnest($1::bigint[]), $2, $3, $4 ON CONFLICT DO NOTHING""",
            list(subscriptions), conversation_id, seq, due_at_ms,
        )  # fmt: skip

    async def take(self, now_ms: int, lease_ms: int, limit: int) -> list[PushJob]:
        """What is due, for as long as the lease lasts; each take counts as an attempt."""
        rows = await self._database.fetch(
            """UPDATE chat.push_job j SET due_at_ms = $1 + $2, attempts = attempts + 1
               FROM chat.push_subscription s
               WHERE s.id = j.subscription_id AND (j.subscription_id, j.conversation_id, j.seq) IN (
                   SELECT subscription_id, conversation_id, seq FROM chat.push_job WHERE due_at_ms <= $1
                   ORDER BY due_at_ms LIMIT $3 FOR UPDATE SKIP LOCKED)
               RETURNING j.subscription_id, s.tenant_id, s.user_id, j.conversation_id, j.seq, j.attempts, s.service,
                   s.address, s.keys""",
            now_ms, lease_ms, limit,
        )  # fmt: skip
        return [_job(row) for row in rows]

    async def done(self, job: PushJob) -> None:
        """It was delivered, or is not wanted any more."""
        await self._database.execute(
            "DELETE FROM chat.push_job WHERE subscription_id = $1 AND conversation_id = $2 AND seq = $3",
            job.subscription_id, job.conversation_id, job.seq,
        )  # fmt: skip

    async def later(self, job: PushJob, due_at_ms: int) -> None:
        """Try again then."""
        await self._database.execute(
            """UPDATE chat.push_job SET due_at_ms = $4
               WHERE subscription_id = $1 AND conversation_id = $2 AND seq = $3""",
            job.subscription_id, job.conversation_id, job.seq, due_at_ms,
        )  # fmt: skip

    async def waiting(self) -> int:
        """How many are on their way."""
        return int(await self._database.fetch_value("SELECT count(*) FROM chat.push_job"))


def _job(row: Any) -> PushJob:
    return PushJob(
        subscription_id=row["subscription_id"],
        tenant_id=row["tenant_id"],
        user=row["user_id"],
        conversation_id=row["conversation_id"],
        seq=row["seq"],
        attempts=row["attempts"],
        service=row["service"],
        address=row["address"],
        keys=None if row["keys"] is None else msgspec.convert(row["keys"], PushKeys),
    )
