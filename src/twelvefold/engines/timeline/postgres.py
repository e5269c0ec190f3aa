"""The timeline in PostgreSQL.

Invariant: an append is one statement, so the row locks that give the dense order live and die inside the
server. A client that is stopped in the middle holds no lock, and one that wakes up late meets the fence.
Each bucket is a partition of its own; `span` says which bucket holds which part of a stream.
"""

import re
from collections.abc import Sequence
from typing import Any, Self

from twelvefold.engines.database import (
    ConstraintError,
    Database,
    Record,
    StatementError,
    Transaction,
    migrate,
)
from twelvefold.engines.timeline.appending import (
    arguments_for_many,
    arguments_for_one,
    placed_of,
    statement_for_many,
    statement_for_one,
)
from twelvefold.engines.timeline.audit import Auditor
from twelvefold.engines.timeline.contract import (
    CHAIN_START,
    Audit,
    Capability,
    Entry,
    Head,
    NewEntry,
    Placed,
)
from twelvefold.engines.timeline.templated import SpaceFiles

DAY_MS = 86_400_000
READ_LIMIT = 10_000
_SPACE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_COLUMNS = "stream_id, seq, id, counted, kind, opens, amended, author, digest, data"


class PostgresTimeline:
    """See `contract.Timeline`. Made by `open`.

    Args:
        database: where it is.
        space: the streams of one system; its tables are in the schema `timeline_<space>`.
        bucket_days: how long a bucket is. Never change it for a space that has entries.
    """

    capabilities = frozenset({Capability.TRANSACTIONAL, Capability.NEWS})

    def __init__(self, database: Database, space: str, *, bucket_days: int = 30) -> None:
        if not _SPACE.fullmatch(space):
            raise ValueError(f"a space is lower-case letters, digits and _, not {space!r}")
        self._database = database
        self._schema = f"timeline_{space}"
        self._bucket_ms = bucket_days * DAY_MS
        self._made: set[int] = set()
        self._append = statement_for_many(self._schema)
        self._append_one: dict[int, str] = {}

    @classmethod
    async def open(cls, database: Database, space: str, *, bucket_days: int = 30) -> Self:
        """Migrate the space and return it."""
        timeline = cls(database, space, bucket_days=bucket_days)
        await migrate(database, timeline._schema, SpaceFiles(timeline._schema))
        return timeline

    def bucket_of(self, at_ms: int) -> int:
        """The number of the bucket of a moment."""
        return at_ms // self._bucket_ms

    async def create(
        self, stream_ids: Sequence[int], *, epoch: str, within: Transaction | None = None
    ) -> None:
        """See `Timeline.create`."""
        await (within or self._database).execute(
            f"INSERT INTO {self._schema}.stream (id, epoch, chain) SELECT unnest($1::bigint[]), $2, $3"
            " ON CONFLICT DO NOTHING",
            list(stream_ids),
            epoch,
            CHAIN_START,
        )

    async def append(
        self, entries: Sequence[NewEntry], *, at_ms: int, within: Transaction | None = None
    ) -> list[Placed]:
        """See `Timeline.append`."""
        if not entries:
            return []
        _refuse_raise_before_end(entries)
        bucket = self.bucket_of(at_ms)
        if bucket not in self._made:
            await self._make(bucket, within)
        if within is None and len(entries) == 1:
            placed = await self._place_one(entries[0], bucket)
            if placed is not None:
                return [placed]
        row = await (within or self._database).fetch_row(self._append, *arguments_for_many(entries), bucket)
        assert row is not None  # it is an aggregate's
        return placed_of(row)

    async def heads(self, stream_ids: Sequence[int]) -> dict[int, Head]:
        """See `Timeline.heads`."""
        rows = await self._database.fetch(
            f"SELECT id, epoch, first_seq, last_seq, counted, fence FROM {self._schema}.stream"
            " WHERE id = ANY ($1::bigint[])",
            list(stream_ids),
        )
        return {row["id"]: head_of(row) for row in rows}

    async def read(self, stream_id: int, *, after_seq: int, limit: int) -> list[Entry]:
        """See `Timeline.read`."""
        return [
            entry_of(row)
            for row in await self._walk(stream_id, after_seq, min(limit, READ_LIMIT), ascending=True)
        ]

    async def read_back(self, stream_id: int, *, before_seq: int, limit: int) -> list[Entry]:
        """See `Timeline.read_back`."""
        return [
            entry_of(row)
            for row in await self._walk(stream_id, before_seq, min(limit, READ_LIMIT), ascending=False)
        ]

    async def pick(self, stream_id: int, seqs: Sequence[int]) -> list[Entry]:
        """See `Timeline.pick`."""
        if not seqs:
            return []
        wanted = sorted(set(seqs))
        spans = await self._spans(stream_id, wanted[0], wanted[-1])
        found: list[Entry] = []
        for place, (bucket, first) in enumerate(spans):
            end = spans[place + 1][1] if place + 1 < len(spans) else wanted[-1] + 1
            here = [seq for seq in wanted if first <= seq < end]
            if here:
                rows = await self._in_bucket(
                    bucket,
                    "stream_id = $1 AND bucket = $2 AND seq = ANY ($3::bigint[]) ORDER BY seq",
                    stream_id,
                    bucket,
                    here,
                )
                found += map(entry_of, rows)
        return found

    async def amend(
        self, stream_id: int, seq: int, data: bytes, *, within: Transaction | None = None
    ) -> bool:
        """See `Timeline.amend`."""
        spans = await self._spans(stream_id, seq, seq)
        if not spans:
            return False
        changed = await (within or self._database).fetch_value(
            f"""WITH changed AS (
                    UPDATE {self._schema}.entry SET data = $3, amended = true
                    WHERE stream_id = $1 AND bucket = $4 AND seq = $2 RETURNING key
                ), forgotten AS (
                    UPDATE {self._schema}.entry_key k SET body = '' FROM changed c
                    WHERE k.stream_id = $1 AND k.key = c.key)
                SELECT true FROM changed""",
            stream_id,
            seq,
            data,
            spans[0][0],
        )
        return changed is True

    async def retain(self, *, since_ms: int) -> int:
        """See `Timeline.retain`."""
        end = self.bucket_of(since_ms)
        rows = await self._database.fetch(
            f"SELECT DISTINCT bucket FROM {self._schema}.span WHERE bucket < $1 ORDER BY bucket", end
        )
        for row in rows:
            await self._drop(row["bucket"])
        return len(rows)

    async def audit(self, stream_id: int) -> Audit:
        """See `Timeline.audit`."""
        head = await self._database.fetch_row(
            f"SELECT first_seq, last_seq, chain FROM {self._schema}.stream WHERE id = $1", stream_id
        )
        if head is None:
            return Audit(stream_id=stream_id, entries=0, amended=0, faults=("there is no such stream",))
        begin = await self._database.fetch_value(
            f"SELECT chain_before FROM {self._schema}.span WHERE stream_id = $1 ORDER BY first_seq LIMIT 1",
            stream_id,
        )
        auditor = Auditor(head["first_seq"], begin or CHAIN_START)
        after = head["first_seq"] - 1
        while rows := await self._walk(stream_id, after, 1000, ascending=True):
            rows = [row for row in rows if row["seq"] <= head["last_seq"]]  # what came while we walked
            if not rows:
                break
            auditor.take(rows)
            after = rows[-1]["seq"]
        return auditor.verdict(stream_id, head["last_seq"], head["chain"])

    async def take_news(self, transaction: Transaction, limit: int) -> list[tuple[int, int]]:
        """`(stream, sequence)` of what was appended, oldest first; committed with `transaction`.

        Whoever else takes news at the same time gets other ones. `limit` is in appends.
        """
        rows = await transaction.fetch(
            f"""DELETE FROM {self._schema}.news WHERE id IN (
                    SELECT id FROM {self._schema}.news ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
                RETURNING id, streams, seqs""",
            limit,
        )
        return [
            pair
            for row in sorted(rows, key=lambda row: row["id"])
            for pair in zip(row["streams"], row["seqs"], strict=True)
        ]

    async def _place_one(self, entry: NewEntry, bucket: int) -> Placed | None:
        """Store an entry about which there is nothing to judge; None if there is."""
        if entry.raises:
            return None
        statement = self._append_one.get(bucket)
        if statement is None:
            statement = self._append_one[bucket] = statement_for_one(self._schema, bucket)
        try:
            row = await self._database.fetch_row(statement, *arguments_for_one(entry))
        except ConstraintError:  # somebody else has just used the key
            return None
        return None if row is None else Placed("stored", row[0], entry.id, row[1])

    async def _make(self, bucket: int, within: Transaction | None) -> None:
        # One ahead, so that the turn of a bucket stops nobody; outside the caller's transaction, so that it
        # does not hold the lock on the partitioned table while it waits for others.
        del within
        for number in (bucket, bucket + 1):
            await self._database.execute(f"SELECT {self._schema}.make_bucket($1)", number)
        self._made |= {bucket}

    async def _drop(self, bucket: int) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(
                f"""WITH gone AS (
                        DELETE FROM {self._schema}.span WHERE bucket = $1 RETURNING stream_id, first_seq
                    ), next AS (
                        SELECT g.stream_id, (SELECT min(s.first_seq) FROM {self._schema}.span s
                            WHERE s.stream_id = g.stream_id AND s.first_seq > g.first_seq) AS first_seq FROM gone g
                    )
                    UPDATE {self._schema}.stream s SET first_seq = coalesce(n.first_seq, s.last_seq + 1),
                        bucket = CASE WHEN n.first_seq IS NULL THEN 0 ELSE s.bucket END
                    FROM next n WHERE s.id = n.stream_id""",
                bucket,
            )
            await transaction.execute(f"DELETE FROM {self._schema}.entry_key WHERE bucket = $1", bucket)
            await transaction.execute(f"DROP TABLE IF EXISTS {self._schema}.entry_{int(bucket)}")
        self._made.discard(bucket)

    async def _spans(self, stream_id: int, first: int, last: int) -> list[tuple[int, int]]:
        rows = await self._database.fetch(
            f"""SELECT bucket, first_seq FROM {self._schema}.span WHERE stream_id = $1 AND first_seq <= $3
                AND first_seq >= coalesce((SELECT max(first_seq) FROM {self._schema}.span
                                           WHERE stream_id = $1 AND first_seq <= $2), 0)
                ORDER BY first_seq""",
            stream_id,
            first,
            last,
        )
        return [(row["bucket"], row["first_seq"]) for row in rows]

    async def _walk(self, stream_id: int, border: int, limit: int, *, ascending: bool) -> list[Record]:
        """Entries on one side of `border`, bucket after bucket until there are `limit`."""
        if ascending:
            spans = await self._spans(stream_id, border + 1, (1 << 62))
            where = "seq > $3 ORDER BY seq LIMIT $4"
        else:
            spans = (await self._spans(stream_id, 0, border - 1))[::-1]
            where = "seq < $3 ORDER BY seq DESC LIMIT $4"
        found: list[Record] = []
        for bucket, _ in spans:
            found += await self._in_bucket(
                bucket,
                f"stream_id = $1 AND bucket = $2 AND {where}",
                stream_id,
                bucket,
                border,
                limit - len(found),
            )
            if len(found) >= limit:
                break
        return found

    async def _in_bucket(self, bucket: int, where: str, *args: Any) -> list[Record]:
        """Rows of one partition, by its own name: no other partition is planned or locked."""
        try:
            return await self._database.fetch(
                f"SELECT {_COLUMNS} FROM {self._schema}.entry_{bucket:d} WHERE {where}", *args
            )
        except StatementError as error:
            if error.message.startswith("42P01"):  # retention dropped it a moment ago
                return []
            raise


def entry_of(row: Record) -> Entry:
    """A row as an entry."""
    return Entry(
        stream_id=row["stream_id"],
        seq=row["seq"],
        id=row["id"],
        kind=row["kind"],
        author=row["author"],
        counted=row["counted"],
        amended=row["amended"],
        digest=row["digest"],
        data=row["data"],
    )


def head_of(row: Record) -> Head:
    """A row as a head."""
    return Head(
        stream_id=row["id"],
        epoch=row["epoch"],
        first_seq=row["first_seq"],
        last_seq=row["last_seq"],
        counted=row["counted"],
        fence=row["fence"],
    )


def _refuse_raise_before_end(entries: Sequence[NewEntry]) -> None:
    raising: set[int] = set()
    for entry in entries:
        if entry.stream_id in raising:
            raise ValueError("an entry that raises the fence must be the last for its stream")
        if entry.raises:
            raising.add(entry.stream_id)
