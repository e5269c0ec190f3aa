"""How far everybody is: receipts (watermarks of a member) and cursors (of a device), in PostgreSQL.

Invariant: a watermark never goes back, in whatever order reports arrive: the statement takes the greater.
"""

from collections.abc import Mapping, Sequence

from twelvefold.engines.database import Database
from twelvefold.engines.timeline import Timeline
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Receipt


class ProgressStore:
    """Receipts and cursors."""

    def __init__(self, database: Database, timeline: Timeline) -> None:
        self._database = database
        self._timeline = timeline

    async def raise_marks(
        self, marks: Mapping[tuple[int, str], tuple[int, int, int]]
    ) -> set[tuple[int, str]]:
        """`(conversation, user)` to `(delivered, read, messages up to read)`; returns those that rose."""
        # In the order of their keys, so that two processes cannot deadlock.
        items = sorted(marks.items())
        rows = await self._database.fetch(
            """INSERT INTO chat.receipt AS r (conversation_id, user_id, delivered_seq, read_seq, read_counted)
               SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
               ON CONFLICT (conversation_id, user_id) DO UPDATE SET
                   delivered_seq = greatest(r.delivered_seq, EXCLUDED.delivered_seq),
                   read_seq = greatest(r.read_seq, EXCLUDED.read_seq),
                   read_counted = greatest(r.read_counted, EXCLUDED.read_counted)
               WHERE r.delivered_seq < EXCLUDED.delivered_seq OR r.read_seq < EXCLUDED.read_seq
               RETURNING conversation_id, user_id""",
            [key[0] for key, _ in items],
            [key[1] for key, _ in items],
            [mark[0] for _, mark in items],
            [mark[1] for _, mark in items],
            [mark[2] for _, mark in items],
        )
        return {(row["conversation_id"], row["user_id"]) for row in rows}

    async def counted_at(self, conversation_id: int, seqs: Sequence[int]) -> dict[int, int]:
        """How many messages there are up to each of these sequences."""
        return {entry.seq: entry.counted for entry in await self._timeline.pick(conversation_id, seqs)}

    async def receipts(self, conversation_id: int, after: str, limit: int) -> list[Receipt]:
        """Members' watermarks, by name."""
        rows = await self._database.fetch(
            """SELECT r.user_id, r.delivered_seq, r.read_seq FROM chat.receipt r
               JOIN chat.member m USING (conversation_id, user_id)
               WHERE conversation_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3""",
            conversation_id, after, limit,
        )  # fmt: skip
        return [
            Receipt(user=row["user_id"], delivered_seq=row["delivered_seq"], read_seq=row["read_seq"])
            for row in rows
        ]

    async def of_message(self, conversation_id: int, seq: int) -> tuple[int, int]:
        """How many members a message was delivered to, and how many read it."""
        row = await self._database.fetch_row(
            """SELECT count(*) FILTER (WHERE delivered_seq >= $2) AS delivered,
                   count(*) FILTER (WHERE read_seq >= $2) AS read
               FROM chat.receipt JOIN chat.member USING (conversation_id, user_id) WHERE conversation_id = $1""",
            conversation_id, seq,
        )  # fmt: skip
        return (row["delivered"], row["read"]) if row else (0, 0)

    async def move_cursors(self, moves: Mapping[tuple[TenantId, str, str, int], int]) -> None:
        """`(tenant, user, device, conversation)` to the sequence that the device has everything up to."""
        items = sorted(moves.items())
        await self._database.execute(
            """INSERT INTO chat.cursor AS c (tenant_id, user_id, device, conversation_id, seq)
               SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
               ON CONFLICT (tenant_id, user_id, device, conversation_id) DO UPDATE SET
                   seq = greatest(c.seq, EXCLUDED.seq)""",
            [key[0] for key, _ in items],
            [key[1] for key, _ in items],
            [key[2] for key, _ in items],
            [key[3] for key, _ in items],
            [seq for _, seq in items],
        )

    async def cursors(self, devices: Sequence[tuple[TenantId, str, str]]) -> list[dict[int, int]]:
        """Where devices `(tenant, user, name)` stand in their users' conversations; a new one begins where the user read."""
        rows = await self._database.fetch(
            """SELECT g.place, m.conversation_id, coalesce(c.seq, r.read_seq, 0) AS seq
               FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS g(tenant_id, user_id, device, place)
               JOIN chat.member m ON m.tenant_id = g.tenant_id AND m.user_id = g.user_id
               LEFT JOIN chat.cursor c ON c.tenant_id = m.tenant_id AND c.user_id = m.user_id
                   AND c.conversation_id = m.conversation_id AND c.device = g.device
               LEFT JOIN chat.receipt r ON r.conversation_id = m.conversation_id AND r.user_id = m.user_id""",
            [tenant for tenant, _, _ in devices], [user for _, user, _ in devices], [name for _, _, name in devices],
        )  # fmt: skip
        found: list[dict[int, int]] = [{} for _ in devices]
        for row in rows:
            found[row["place"] - 1][row["conversation_id"]] = row["seq"]
        return found

    async def devices(self, tenant: TenantId, user: str) -> Sequence[str]:
        """Devices that have cursors."""
        rows = await self._database.fetch(
            "SELECT DISTINCT device FROM chat.cursor WHERE tenant_id = $1 AND user_id = $2 ORDER BY device",
            tenant,
            user,
        )
        return [row["device"] for row in rows]

    async def forget_device(self, tenant: TenantId, user: str, device: str) -> None:
        """A device that is gone for good."""
        await self._database.execute(
            "DELETE FROM chat.cursor WHERE tenant_id = $1 AND user_id = $2 AND device = $3",
            tenant,
            user,
            device,
        )

    async def revoke(self, tenant: TenantId, user: str, before_s: int) -> None:
        """Tokens made before a moment are no longer good."""
        await self._database.execute(
            """INSERT INTO chat.revocation AS r (tenant_id, user_id, before_s) VALUES ($1, $2, $3)
               ON CONFLICT (tenant_id, user_id) DO UPDATE SET before_s = greatest(r.before_s, EXCLUDED.before_s)""",
            tenant, user, before_s,
        )  # fmt: skip

    async def revocations(self, users: Sequence[tuple[TenantId, str]]) -> list[int]:
        """For each user the second before which tokens do not count; 0 if nothing was revoked."""
        rows = await self._database.fetch(
            """SELECT coalesce(r.before_s, 0) AS before_s
               FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS g(tenant_id, user_id, place)
               LEFT JOIN chat.revocation r ON r.tenant_id = g.tenant_id AND r.user_id = g.user_id ORDER BY g.place""",
            [tenant for tenant, _ in users], [user for _, user in users],
        )  # fmt: skip
        return [row["before_s"] for row in rows]
