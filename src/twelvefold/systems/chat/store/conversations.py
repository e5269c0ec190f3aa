"""Conversations, members, bans and intervals in PostgreSQL; each change is one transaction with its entry.

Invariant: whoever is in, and from which sequence to which, agrees with the sequence itself, because the
entry that says so is appended in the same transaction, and raises the fence that every sender must know.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from twelvefold.engines.database import ConstraintError, Database, Record, Transaction
from twelvefold.engines.timeline import Timeline
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import (
    ChannelTakenError,
    Conversation,
    ConversationNotFoundError,
    Listed,
    Member,
    Role,
)
from twelvefold.systems.chat.rules.bodies import at_ms_of
from twelvefold.systems.chat.store.messages import entry

_COLUMNS = (
    "c.id, c.kind, c.name, c.channel, c.access, c.history, c.slow_mode_seconds, c.members, c.created_at_ms,"
    " c.created_by"
)
IDLE_LIMIT = "SET LOCAL idle_in_transaction_session_timeout = '3s'"
"""A process that is stopped in the middle of a change holds its conversation no longer than this."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as the send path needs it, with the fence under which it was read."""

    conversation: Conversation
    fence: int
    epoch: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored about somebody in a conversation."""

    role: Role | None
    banned: bool
    intervals: tuple[tuple[int, int | None], ...]


def pair_key(one: str, other: str) -> bytes:
    """Names the direct conversation of two users, in either order."""
    first, second = sorted((one, other))
    return hashlib.sha256(first.encode() + b"\0" + second.encode()).digest()


class ConversationStore:
    """Queries about conversations. Every method takes the tenant."""

    def __init__(self, database: Database, timeline: Timeline) -> None:
        self._database = database
        self._timeline = timeline

    async def create(
        self, tenant: TenantId, conversation: Conversation, pair: bytes | None, epoch: str
    ) -> int:
        """Store a conversation; returns its id, or that of the direct one that the pair has already.

        Raises `ChannelTakenError`.
        """
        c = conversation
        async with self._database.transaction() as transaction:
            try:
                made = await transaction.fetch_value(
                    """INSERT INTO chat.conversation (id, tenant_id, kind, name, channel, direct_key, access, history,
                           slow_mode_seconds, created_at_ms, created_by)
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                       ON CONFLICT ON CONSTRAINT conversation_pair DO NOTHING RETURNING id""",
                    c.id, tenant, c.kind, c.name, c.channel, pair, c.access, c.history, c.slow_mode_seconds,
                    c.created_at_ms, c.created_by,
                )  # fmt: skip
            except ConstraintError as error:
                raise ChannelTakenError(field="channel") from error
            if made is not None:
                await self._timeline.create([c.id], epoch=epoch, within=transaction)
                return c.id
        found = await self._database.fetch_value(
            "SELECT id FROM chat.conversation WHERE tenant_id = $1 AND direct_key = $2", tenant, pair
        )
        assert isinstance(found, int)
        return found

    async def load(self, tenant: TenantId, conversation_id: int) -> Row:
        """A conversation. Raises `ConversationNotFoundError`."""
        # The fence is read first: a change in between makes what is read later newer, never older.
        heads = await self._timeline.heads([conversation_id])
        row = await self._database.fetch_row(
            f"SELECT {_COLUMNS} FROM chat.conversation c WHERE c.id = $1 AND c.tenant_id = $2",
            conversation_id,
            tenant,
        )
        if row is None or conversation_id not in heads:
            raise ConversationNotFoundError(conversation=str(conversation_id))
        head = heads[conversation_id]
        return Row(conversation=_conversation(row), fence=head.fence, epoch=head.epoch)

    async def fences(self, conversation_ids: Sequence[int]) -> list[int]:
        """Conversations' fences now; 0 where there is none."""
        heads = await self._timeline.heads(conversation_ids)
        return [heads[one].fence if one in heads else 0 for one in conversation_ids]

    async def by_channel(self, tenant: TenantId, channel: str) -> int | None:
        """The id of the conversation with a channel name."""
        found: int | None = await self._database.fetch_value(
            "SELECT id FROM chat.conversation WHERE tenant_id = $1 AND channel = $2", tenant, channel
        )
        return found

    async def channels(self, tenant: TenantId, prefix: str, limit: int) -> list[tuple[str, int]]:
        """Channel names that begin so, and their ids."""
        rows = await self._database.fetch(
            "SELECT channel, id FROM chat.conversation WHERE tenant_id = $1 AND starts_with(channel, $2) LIMIT $3",
            tenant, prefix, limit,
        )  # fmt: skip
        return [(row["channel"], row["id"]) for row in rows]

    async def facts(self, places: Sequence[tuple[TenantId, int, str]]) -> list[Facts]:
        """What is stored about people in conversations: `(tenant, conversation, user)`, in their order."""
        rows = await self._database.fetch(
            """SELECT m.role, b.user_id IS NOT NULL AS banned,
                   ARRAY(SELECT ARRAY[from_seq, coalesce(to_seq, -1)] FROM chat.membership i
                         WHERE i.conversation_id = a.conversation_id AND i.user_id = a.user_id
                           AND i.tenant_id = a.tenant_id ORDER BY from_seq) AS spans
               FROM unnest($1::bigint[], $2::bigint[], $3::text[])
                   WITH ORDINALITY AS a(tenant_id, conversation_id, user_id, place)
               LEFT JOIN chat.member m ON m.conversation_id = a.conversation_id AND m.user_id = a.user_id
                   AND m.tenant_id = a.tenant_id
               LEFT JOIN chat.ban b ON b.conversation_id = a.conversation_id AND b.user_id = a.user_id
               ORDER BY a.place""",
            [place[0] for place in places],
            [place[1] for place in places],
            [place[2] for place in places],
        )
        return [
            Facts(
                role=row["role"],
                banned=row["banned"],
                intervals=tuple((first, None if last < 0 else last) for first, last in row["spans"]),
            )
            for row in rows
        ]

    async def change(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, conversation_id: int, event_id: int, kind: int, author: str, data: bytes,
        work: Callable[["Changes", int, int], Awaitable[None]], *,
        fence: int, key: bytes | None = None, raises: bool = False,
    ) -> int | None:  # fmt: skip
        """Append an entry and do `work(changes, seq, counted)`, both or neither; returns the sequence.

        None: the fence was raised (or the key was used before) and nothing was done.
        """
        said = entry(conversation_id, event_id, kind, author, data, fence=fence, key=key, raises=raises)
        async with self._database.transaction() as transaction:
            await transaction.execute(IDLE_LIMIT)
            (placed,) = await self._timeline.append([said], at_ms=at_ms_of(event_id), within=transaction)
            if placed.outcome == "missing":
                raise ConversationNotFoundError(conversation=str(conversation_id))
            if placed.outcome != "stored":
                return None
            await work(Changes(transaction, conversation_id, self._timeline), placed.seq, placed.counted)
        return placed.seq

    async def members(self, tenant: TenantId, conversation_id: int, after: str, limit: int) -> list[Member]:
        """Members by name, and how far they are."""
        rows = await self._database.fetch(
            """SELECT m.user_id, m.role, m.joined_at_ms, coalesce(r.delivered_seq, 0) AS delivered_seq,
                   coalesce(r.read_seq, 0) AS read_seq
               FROM chat.member m LEFT JOIN chat.receipt r USING (conversation_id, user_id)
               WHERE m.tenant_id = $1 AND m.conversation_id = $2 AND m.user_id > $3 ORDER BY m.user_id LIMIT $4""",
            tenant, conversation_id, after, limit,
        )  # fmt: skip
        return [
            Member(user=row["user_id"], role=row["role"], joined_at_ms=row["joined_at_ms"],
                   delivered_seq=row["delivered_seq"], read_seq=row["read_seq"])
            for row in rows
        ]  # fmt: skip

    async def has_owner_but(self, conversation_id: int, user: str) -> bool:
        """Whether somebody else is an owner."""
        found: bool = await self._database.fetch_value(
            "SELECT EXISTS (SELECT 1 FROM chat.member WHERE conversation_id = $1 AND role = 'owner' AND user_id <> $2)",
            conversation_id, user,
        )  # fmt: skip
        return found

    async def of_user(self, tenant: TenantId, user: str, after_id: int, limit: int) -> list[Listed]:
        """The conversations that somebody is in, newest first by their beginning, with unread counts."""
        rows = await self._database.fetch(
            f"""SELECT {_COLUMNS}, m.role, coalesce(r.read_seq, 0) AS read_seq, coalesce(r.read_counted, 0) AS read_counted,
                    CASE c.kind WHEN 'direct' THEN (SELECT user_id FROM chat.member o
                        WHERE o.conversation_id = c.id AND o.user_id <> $2 LIMIT 1) END AS peer
                FROM chat.member m JOIN chat.conversation c ON c.id = m.conversation_id
                LEFT JOIN chat.receipt r ON r.conversation_id = c.id AND r.user_id = m.user_id
                WHERE m.tenant_id = $1 AND m.user_id = $2 AND c.id < $3 ORDER BY c.id DESC LIMIT $4""",
            tenant, user, after_id, limit,
        )  # fmt: skip
        heads = await self._timeline.heads([row["id"] for row in rows])
        return [
            Listed(conversation=_conversation(row), peer=row["peer"], role=row["role"], last_seq=heads[row["id"]].last_seq,
                   unread=max(0, heads[row["id"]].counted - row["read_counted"]), read_seq=row["read_seq"])
            for row in rows if row["id"] in heads
        ]  # fmt: skip

    async def bans(self, conversation_id: int) -> list[dict[str, Any]]:
        """Who is banned."""
        rows = await self._database.fetch(
            "SELECT user_id, banned_at_ms, banned_by, reason FROM chat.ban WHERE conversation_id = $1 ORDER BY user_id",
            conversation_id,
        )
        return [dict(row.items()) for row in rows]


class Changes:
    """What can be done to a conversation within the transaction of its entry."""

    def __init__(self, transaction: Transaction, conversation_id: int, timeline: Timeline) -> None:
        self._transaction = transaction
        self._id = conversation_id
        self._timeline = timeline

    async def add(
        self, tenant: TenantId, users: Sequence[tuple[str, Role]], *, at_ms: int, from_seq: int, counted: int
    ) -> None:
        """Take members in; those who are in stay as they are."""
        names, roles = [user for user, _ in users], [role for _, role in users]
        await self._transaction.execute(
            """WITH added AS (
                   INSERT INTO chat.member (conversation_id, tenant_id, user_id, role, joined_at_ms)
                   SELECT $1, $2, u.name, u.role, $5 FROM unnest($3::text[], $4::text[]) u(name, role)
                   ON CONFLICT DO NOTHING RETURNING user_id
               ), spans AS (
                   INSERT INTO chat.membership (conversation_id, tenant_id, user_id, from_seq)
                   SELECT $1, $2, user_id, $6 FROM added
                   ON CONFLICT (conversation_id, user_id, from_seq) DO UPDATE SET to_seq = NULL
               ), marks AS (
                   INSERT INTO chat.receipt (conversation_id, user_id, delivered_seq, read_seq, read_counted)
                   SELECT $1, user_id, $6 - 1, $6 - 1, $7 FROM added
                   ON CONFLICT (conversation_id, user_id) DO UPDATE SET
                       delivered_seq = greatest(receipt.delivered_seq, EXCLUDED.delivered_seq),
                       read_seq = greatest(receipt.read_seq, EXCLUDED.read_seq),
                       read_counted = greatest(receipt.read_counted, EXCLUDED.read_counted)
               )
               UPDATE chat.conversation SET members = members + (SELECT count(*) FROM added) WHERE id = $1""",
            self._id, tenant, names, roles, at_ms, from_seq, counted,
        )  # fmt: skip

    async def remove(self, user: str, *, to_seq: int) -> None:
        """Let a member go; they see nothing after `to_seq`."""
        await self._transaction.execute(
            """WITH gone AS (
                   DELETE FROM chat.member WHERE conversation_id = $1 AND user_id = $2 RETURNING user_id
               ), spans AS (
                   UPDATE chat.membership SET to_seq = $3 WHERE conversation_id = $1 AND user_id = $2 AND to_seq IS NULL
               ), cursors AS (
                   DELETE FROM chat.cursor WHERE conversation_id = $1 AND user_id = $2
               )
               UPDATE chat.conversation SET members = members - (SELECT count(*) FROM gone) WHERE id = $1""",
            self._id, user, to_seq,
        )  # fmt: skip

    async def ban(self, user: str, *, by: str, at_ms: int, reason: str) -> None:
        """Keep somebody out."""
        await self._transaction.execute(
            """INSERT INTO chat.ban (conversation_id, user_id, banned_at_ms, banned_by, reason) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT DO NOTHING""",
            self._id, user, at_ms, by, reason,
        )  # fmt: skip

    async def unban(self, user: str) -> None:
        """Let them come back."""
        await self._transaction.execute(
            "DELETE FROM chat.ban WHERE conversation_id = $1 AND user_id = $2", self._id, user
        )

    async def give_role(self, user: str, role: Role) -> None:
        """Make somebody something else."""
        await self._transaction.execute(
            "UPDATE chat.member SET role = $3 WHERE conversation_id = $1 AND user_id = $2",
            self._id,
            user,
            role,
        )

    async def settle(self, name: str | None, slow_mode_seconds: int | None) -> None:
        """Change what a conversation is called, and how slow it is."""
        await self._transaction.execute(
            """UPDATE chat.conversation SET name = coalesce($2, name), slow_mode_seconds = coalesce($3, slow_mode_seconds)
               WHERE id = $1""",
            self._id, name, slow_mode_seconds,
        )  # fmt: skip

    async def rewrite(self, seq: int, data: bytes, *, gone: bool) -> None:
        """Replace a message's body for good; one that is gone leaves nothing that could be found."""
        await self._timeline.amend(self._id, seq, data, within=self._transaction)
        await self._transaction.execute(
            "DELETE FROM chat.search_entry WHERE conversation_id = $1 AND seq = $2", self._id, seq
        )
        if gone:
            await self._transaction.execute(
                "DELETE FROM chat.reaction WHERE conversation_id = $1 AND target_seq = $2", self._id, seq
            )
            await self._transaction.execute(
                "DELETE FROM chat.push_job WHERE conversation_id = $1 AND seq = $2", self._id, seq
            )

    async def forget_media(self, media_ids: Sequence[int]) -> None:
        """Their links stop working now; the bytes go with the worker's next round."""
        await self._transaction.execute(
            "UPDATE chat.medium SET deleted = true WHERE conversation_id = $1 AND id = ANY ($2::bigint[])",
            self._id, list(media_ids),
        )  # fmt: skip

    async def react(self, seq: int, emoji: str, user: str, at_ms: int, *, added: bool) -> None:
        """Put a reaction there, or take it away."""
        if added:
            await self._transaction.execute(
                """INSERT INTO chat.reaction (conversation_id, target_seq, emoji, user_id, at_ms)
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING""",
                self._id, seq, emoji, user, at_ms,
            )  # fmt: skip
        else:
            await self._transaction.execute(
                "DELETE FROM chat.reaction WHERE conversation_id = $1 AND target_seq = $2 AND emoji = $3 AND user_id = $4",
                self._id, seq, emoji, user,
            )  # fmt: skip


def _conversation(row: Record) -> Conversation:
    return Conversation(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        channel=row["channel"],
        access=row["access"],
        history=row["history"],
        slow_mode_seconds=row["slow_mode_seconds"],
        members=row["members"],
        created_at_ms=row["created_at_ms"],
        created_by=row["created_by"],
    )
