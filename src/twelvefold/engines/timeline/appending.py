"""What an append says to PostgreSQL: one entry in a small statement, many as the columns of a large one.

Invariant: the small statement stores an entry exactly where the large one would have stored it; in every other
case (a key that was used, another fence, another bucket, no such stream) it touches nothing, and the large one
judges. A statement costs the server for each of its parts, so the small one has four, for one entry each.
"""

from collections.abc import Sequence
from typing import Any

from twelvefold.engines.database import Record, number_array
from twelvefold.engines.timeline.contract import NewEntry, Outcome, Placed, digest_of

DIGEST_BYTES = 32
_OUTCOMES: dict[str, Outcome] = {"n": "stored", "e": "existed", "c": "conflict", "s": "stale", "m": "missing"}


def statement_for_one(schema: str, bucket: int) -> str:
    """Store one entry in a bucket; gives its sequence and count, or no row if there is something to judge.

    The row of the stream orders all who append to it, as in the large statement. Two who use one key at once
    can both find it unused; the key's index then refuses the second.
    """
    return f"""
        WITH moved AS (
            UPDATE {schema}.stream SET last_seq = last_seq + 1, counted = counted + $9::integer, chain = sha256(chain || $6)
            WHERE id = $1 AND bucket = {bucket:d} AND ($8::bigint < 0 OR fence = $8)
              AND NOT EXISTS (SELECT FROM {schema}.entry_key WHERE stream_id = $1 AND key = $5)
            RETURNING last_seq, counted
        ), written AS (
            INSERT INTO {schema}.entry_{bucket:d}
                (stream_id, seq, id, counted, bucket, kind, opens, author, key, digest, data)
            SELECT $1, last_seq, $2, counted, {bucket:d}, $3, true, $4, $5, $6, $7 FROM moved
        ), keyed AS (
            INSERT INTO {schema}.entry_key (stream_id, key, seq, id, bucket, body)
            SELECT $1, $5, last_seq, $2, {bucket:d}, $10 FROM moved
        ), told AS (
            INSERT INTO {schema}.news (streams, seqs) SELECT ARRAY[$1], ARRAY[last_seq] FROM moved
        )
        SELECT last_seq, counted FROM moved"""  # noqa: S608  # the space's own, checked name


def arguments_for_one(entry: NewEntry) -> tuple[Any, ...]:
    """The arguments of `statement_for_one`."""
    return (
        entry.stream_id,
        entry.id,
        entry.kind,
        entry.author,
        entry.key,
        digest_of(entry.id, entry.kind, entry.author, entry.data),
        entry.data,
        entry.fence,
        int(entry.counts),
        entry.body,
    )


def statement_for_many(schema: str) -> str:
    """Judge and store many; one row."""
    return f"""
        SELECT * FROM {schema}.append(
            $1::text::bigint[], $2::text::bigint[], $3, $4::text::smallint[], $5::text::boolean[], $6::text::boolean[],
            $7::text::integer[], $8::text::integer[], $9::text::integer[], $10::text::bigint[], $11::text::integer[],
            $12::text::integer[], $13, $14)"""  # noqa: S608  # the same


def arguments_for_many(entries: Sequence[NewEntry]) -> tuple[Any, ...]:
    """The arguments of `statement_for_many`, but for the bucket. What entries have in common is said once."""
    streams: dict[tuple[int, int], int] = {}
    manners: dict[tuple[str, int, bool, bool, int, int], int] = {}
    stream_at: list[int] = []
    manner_at: list[int] = []
    packed: list[bytes] = []
    ends: list[int] = []
    end = 0
    for entry in entries:
        author, kind, key, body, data = entry.author, entry.kind, entry.key, entry.body, entry.data
        key_size, body_size = len(key), len(body)
        manner = (author, kind, entry.counts, entry.raises, key_size, body_size)
        stream_at.append(streams.setdefault((entry.stream_id, entry.fence), len(streams) + 1))
        manner_at.append(manners.setdefault(manner, len(manners) + 1))
        packed += (digest_of(entry.id, kind, author, data), key, body, data)
        end += DIGEST_BYTES + key_size + body_size + len(data)
        ends.append(end)
    authors, kinds, counts, raises, key_sizes, body_sizes = zip(*manners, strict=True)
    stream_ids, fences = zip(*streams, strict=True)
    return (
        number_array(stream_ids),
        number_array(fences),
        authors,
        number_array(kinds),
        number_array(counts),
        number_array(raises),
        number_array(key_sizes),
        number_array(body_sizes),
        number_array(stream_at),
        number_array([entry.id for entry in entries]),
        number_array(manner_at),
        number_array(ends),
        b"".join(packed),
    )


def placed_of(row: Record) -> list[Placed]:
    """What became of each, from the row of `statement_for_many`."""
    outcomes, seqs, ids, counted = row
    return list(map(Placed, map(_OUTCOMES.__getitem__, outcomes), seqs, ids, counted))
