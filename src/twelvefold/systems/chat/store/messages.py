"""Messages: into the timeline through the sequencer, and out of it as members see them."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from twelvefold.engines.database import Database, Record, Transaction
from twelvefold.engines.timeline import Audit, Entry, Head, NewEntry, Placed, PostgresTimeline
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import (
    ConversationNotFoundError,
    Event,
    Reaction,
)
from twelvefold.systems.chat.rules.bodies import KINDS, Body, event_of, unpack
from twelvefold.systems.chat.rules.words import searchable
from twelvefold.systems.chat.store.sequencer import Acknowledge, Sequencer

SHOWN_REACTORS = 20
_BEGINNING = re.compile(r'[^\s"*]{2}\*\s*$')
"""A query that ends with the beginning of a word: `rhub*`."""

MESSAGE = KINDS["message"]
EDITED = KINDS["edited"]


__all__ = ["Acknowledge", "Head", "MessageStore", "Stored", "entry", "shown"]


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry that has just been stored; also as the bus carries it."""

    conversation_id: int
    seq: int
    id: int
    kind: int
    author: str
    data: bytes


def entry(
    conversation_id: int, event_id: int, kind: int, author: str, data: bytes, *, fence: int,
    key: bytes | None = None, fingerprint: bytes = b"", raises: bool = False,
) -> NewEntry:  # fmt: skip
    """An entry of the timeline. Without a key it gets one from its id, so that it can be said again."""
    return NewEntry(
        stream_id=conversation_id,
        id=event_id,
        kind=kind,
        author=author,
        key=key or b"id" + event_id.to_bytes(14, "big"),
        body=fingerprint,
        data=data,
        fence=fence,
        counts=kind == MESSAGE,
        raises=raises,
    )


class MessageStore:
    """See the module."""

    def __init__(self, database: Database, timeline: PostgresTimeline, sequencer: Sequencer) -> None:
        self._database = database
        self._timeline = timeline
        self._sequencer = sequencer
        sequencer.on_stored = self._stored
        sequencer.on_stale = self._stale
        self.on_stored: Callable[[Mapping[int, Sequence[Stored]]], None] = lambda _: None
        self.fence_for: Callable[[int, str], Awaitable[int]] | None = None

    @property
    def waiting(self) -> int:
        """Messages that are not acknowledged yet."""
        return self._sequencer.waiting

    def submit(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, conversation_id: int, event_id: int, author: str, data: bytes, key: bytes, fingerprint: bytes, fence: int,
        acknowledge: Acknowledge,
    ) -> None:  # fmt: skip
        """Store a message with the next commit. Raises `OverloadedError`; all else goes to `acknowledge`."""
        self._sequencer.submit(
            NewEntry(
                stream_id=conversation_id, id=event_id, kind=MESSAGE, author=author, key=key, body=fingerprint, data=data,
                fence=fence,
            ),
            acknowledge,
        )  # fmt: skip

    async def _stale(self, said: NewEntry) -> NewEntry:
        assert self.fence_for is not None
        return msgspec.structs.replace(said, fence=await self.fence_for(said.stream_id, said.author))

    def _stored(self, entries: Sequence[NewEntry], placed: Sequence[Placed]) -> None:
        stored: dict[int, list[Stored]] = {}
        for said, one in zip(entries, placed, strict=True):
            # An append that was said again, because its outcome was not known, finds its own entries: also new.
            if said.id == one.id:
                place = said.stream_id
                made = Stored(place, one.seq, said.id, said.kind, said.author, said.data)
                if place in stored:
                    stored[place].append(made)
                else:
                    stored[place] = [made]
        if stored:
            self.on_stored(stored)

    async def head(self, conversation_id: int) -> Head:
        """Where a conversation stands. Raises `ConversationNotFoundError`."""
        heads = await self._timeline.heads([conversation_id])
        if conversation_id not in heads:
            raise ConversationNotFoundError(conversation=str(conversation_id))
        return heads[conversation_id]

    async def last_seqs(self, conversation_ids: Sequence[int]) -> dict[int, int]:
        """The newest sequences of many conversations."""
        return {id_: head.last_seq for id_, head in (await self._timeline.heads(conversation_ids)).items()}

    async def after(self, conversation_id: int, seq: int, limit: int) -> list[Event]:
        """Events after a sequence, ascending, as they are now."""
        return await self._shown(
            conversation_id, await self._timeline.read(conversation_id, after_seq=seq, limit=limit)
        )

    async def before(self, conversation_id: int, seq: int, limit: int) -> list[Event]:
        """Events before a sequence, descending."""
        return await self._shown(
            conversation_id, await self._timeline.read_back(conversation_id, before_seq=seq, limit=limit)
        )

    async def some(self, conversation_id: int, seqs: Sequence[int]) -> list[Event]:
        """Events by their sequences, ascending."""
        return await self._shown(conversation_id, await self._timeline.pick(conversation_id, seqs))

    async def body(self, conversation_id: int, seq: int) -> tuple[Stored, Body] | None:
        """One entry, and what is in it."""
        found = await self._timeline.pick(conversation_id, [seq])
        if not found:
            return None
        one = found[0]
        return Stored(conversation_id, one.seq, one.id, one.kind, one.author, one.data), unpack(one.data)

    async def thread(self, conversation_id: int, thread: int, after: int, limit: int) -> list[Event]:
        """The answers of a thread, ascending."""
        rows = await self._database.fetch(
            """SELECT seq FROM chat.thread_entry WHERE conversation_id = $1 AND thread_seq = $2 AND seq > $3
               ORDER BY seq LIMIT $4""",
            conversation_id, thread, after, limit,
        )  # fmt: skip
        return await self.some(conversation_id, [row["seq"] for row in rows])

    async def audit(self, conversation_id: int) -> Audit:
        """Check that the sequence is dense and its chain holds."""
        return await self._timeline.audit(conversation_id)

    async def search(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, tenant: TenantId, user: str, text: str, conversation_id: int | None, before_id: int, limit: int
    ) -> list[tuple[int, int, int]]:
        """`(conversation, sequence, id)` of what a user saw or could have seen, newest first."""
        text = searchable(text)
        # A query is text that ends with its last word in quotes, unless there is no word, or it ends with a group.
        rows = await self._database.fetch(
            """SELECT s.conversation_id, s.seq, s.id FROM chat.search_entry s,
                 LATERAL (SELECT websearch_to_tsquery('simple', $3)::text AS said) q
               WHERE s.tenant_id = $1 AND s.id < $5 AND s.words @@
                   (CASE WHEN $7 AND q.said LIKE '%''' THEN q.said || ':*' ELSE q.said END)::tsquery
                 AND ($4::bigint IS NULL OR s.conversation_id = $4)
                 AND NOT EXISTS (SELECT 1 FROM chat.ban b WHERE b.conversation_id = s.conversation_id AND b.user_id = $2)
                 AND (EXISTS (SELECT 1 FROM chat.membership m WHERE m.conversation_id = s.conversation_id AND m.user_id = $2
                              AND s.seq >= m.from_seq AND (m.to_seq IS NULL OR s.seq <= m.to_seq))
                      OR EXISTS (SELECT 1 FROM chat.conversation c WHERE c.id = s.conversation_id AND c.access = 'open'))
               ORDER BY s.id DESC LIMIT $6""",
            tenant, user, text, conversation_id, before_id, limit, _BEGINNING.search(text) is not None,
        )  # fmt: skip
        return [(row["conversation_id"], row["seq"], row["id"]) for row in rows]

    async def take_news(self, transaction: Transaction, limit: int) -> list[tuple[int, int]]:
        """For the worker: what was appended."""
        return await self._timeline.take_news(transaction, limit)

    async def retain(self, since_ms: int) -> int:
        """Drop buckets that ended before."""
        return await self._timeline.retain(since_ms=since_ms)

    async def _shown(self, conversation_id: int, entries: Sequence[Entry]) -> list[Event]:
        """Entries with what belongs to them now: an edit brings its target's text, a message its reactions."""
        targets = {}
        for one in entries:
            if one.kind == EDITED:
                body = unpack(one.data)
                if body.target is not None:
                    targets[one.seq] = body.target
        now = {one.seq: one for one in await self._timeline.pick(conversation_id, list(targets.values()))}
        events = [shown(one) for one in entries]
        reactions = await self._reactions(conversation_id, [e.seq for e in events if e.type == "message"])
        replies = await self._replies(conversation_id, [e.seq for e in events if e.type == "message"])
        made = []
        for event in events:
            if event.seq in targets and targets[event.seq] in now:
                event = msgspec.structs.replace(event, message=shown(now[targets[event.seq]]))  # noqa: PLW2901  # the same, completed
            elif event.seq in reactions or event.seq in replies:
                event = msgspec.structs.replace(  # noqa: PLW2901  # the same, completed
                    event, reactions=reactions.get(event.seq, ()), replies=replies.get(event.seq, 0)
                )
            made.append(event)
        return made

    async def _reactions(self, conversation_id: int, seqs: list[int]) -> dict[int, tuple[Reaction, ...]]:
        if not seqs:
            return {}
        rows: list[Record] = await self._database.fetch(
            f"""SELECT target_seq, emoji, count(*) AS count,
                   (array_agg(user_id ORDER BY at_ms, user_id))[:{SHOWN_REACTORS}] AS users
               FROM chat.reaction WHERE conversation_id = $1 AND target_seq = ANY ($2::bigint[])
               GROUP BY target_seq, emoji ORDER BY target_seq, min(at_ms), emoji""",
            conversation_id, seqs,
        )  # fmt: skip
        found: dict[int, Any] = {}
        for row in rows:
            found.setdefault(row["target_seq"], []).append(
                Reaction(row["emoji"], row["count"], tuple(row["users"]))
            )
        return {seq: tuple(some) for seq, some in found.items()}

    async def _replies(self, conversation_id: int, seqs: list[int]) -> dict[int, int]:
        if not seqs:
            return {}
        rows = await self._database.fetch(
            """SELECT thread_seq, count(*) AS count FROM chat.thread_entry
               WHERE conversation_id = $1 AND thread_seq = ANY ($2::bigint[]) GROUP BY thread_seq""",
            conversation_id, seqs,
        )  # fmt: skip
        return {row["thread_seq"]: row["count"] for row in rows}


def shown(one: Entry | Stored) -> Event:
    """An entry as members see it."""
    conversation_id = one.stream_id if isinstance(one, Entry) else one.conversation_id
    return event_of(conversation_id, one.seq, one.id, one.kind, one.author, unpack(one.data))
