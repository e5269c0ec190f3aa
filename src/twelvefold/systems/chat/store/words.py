"""What the worker keeps beside the messages: words for search, answers of threads."""

from twelvefold.engines.database import Database, Transaction
from twelvefold.systems.chat.rules.words import searchable
from twelvefold.systems.chat.store.messages import Stored

MAX_WORDS_CHARACTERS = 200_000
"""A tsvector has at most a megabyte; what comes after this is not found."""


class WordStore:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, transaction: Transaction, stored: Stored, text: str) -> None:
        """Make a message's words findable; without a text, no longer."""
        text = searchable(text[:MAX_WORDS_CHARACTERS])[:MAX_WORDS_CHARACTERS]
        text = text.replace("\0", " ")  # what is stored must never stop the worker
        if not text:
            await transaction.execute(
                "DELETE FROM chat.search_entry WHERE conversation_id = $1 AND seq = $2",
                stored.conversation_id,
                stored.seq,
            )
            return
        await transaction.execute(
            """INSERT INTO chat.search_entry (conversation_id, seq, id, tenant_id, author, words)
               SELECT $1, $2, $3, c.tenant_id, $4, to_tsvector('simple', $5) FROM chat.conversation c WHERE c.id = $1
               ON CONFLICT (conversation_id, seq) DO UPDATE SET words = EXCLUDED.words""",
            stored.conversation_id, stored.seq, stored.id, stored.author, text,
        )  # fmt: skip

    async def answer(self, transaction: Transaction, conversation_id: int, thread: int, seq: int) -> None:
        """A message answers in a thread."""
        await transaction.execute(
            "INSERT INTO chat.thread_entry (conversation_id, thread_seq, seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            conversation_id, thread, seq,
        )  # fmt: skip

    async def may_see(self, tenant: int, user: str, conversation_id: int, seq: int) -> bool:
        """Whether a message lies in an interval of somebody's membership, and they are not banned."""
        found: bool = await self._database.fetch_value(
            """SELECT EXISTS (SELECT 1 FROM chat.membership m WHERE m.conversation_id = $1 AND m.tenant_id = $2
                   AND m.user_id = $3 AND $4 >= m.from_seq AND (m.to_seq IS NULL OR $4 <= m.to_seq))
               AND NOT EXISTS (SELECT 1 FROM chat.ban WHERE conversation_id = $1 AND user_id = $3)""",
            conversation_id, tenant, user, seq,
        )  # fmt: skip
        return found

    async def forget_before(self, event_id: int) -> None:
        """What retention ends."""
        await self._database.execute("DELETE FROM chat.search_entry WHERE id < $1", event_id)
