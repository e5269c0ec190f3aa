"""What a timeline promises, whoever keeps it.

A space holds streams; a stream is a sequence of entries numbered 1, 2, 3 … without gaps, in one order for
every reader. An append is atomic and idempotent by key, and is refused when the stream's fence has been
raised since the writer looked: that is the check that a writer who slept through a change cannot pass.
Entries lie in time buckets, and retention removes whole buckets. A chain of hashes runs over the sequence.

The shape fits a wide-column store: a partition is (stream, bucket) clustered by sequence; the head, the keys
and the entries of one append are one conditional batch of one partition. What only a database with
transactions can do is a capability.
"""

import enum
import hashlib
import struct
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from twelvefold.kernel.errors import RefusedError

Outcome = Literal["stored", "existed", "conflict", "stale", "missing"]
"""`existed`: the key was used for the same body; `conflict`: for another body; `stale`: the fence was raised;
`missing`: there is no such stream."""

CHAIN_START = hashlib.sha256(b"twelvefold.timeline").digest()


class Capability(enum.Enum):
    """Something that not every timeline can do; the value completes "this timeline does not …"."""

    TRANSACTIONAL = "append within a transaction of the database"
    NEWS = "hand each append to readers behind the scenes exactly once"


class NewEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry to append.

    `fence` is the stream's fence as the writer knows it, or -1 for one that must not be refused. `body` tells
    whether a second entry with the same `key` means the same. `counts` makes `Entry.counted` go up.
    `raises` raises the fence after it; such an entry is the last for its stream in its append.
    """

    stream_id: int
    id: int
    kind: int
    author: str
    key: bytes
    body: bytes
    data: bytes
    fence: int
    counts: bool = True
    raises: bool = False


class Placed(msgspec.Struct, frozen=True, gc=False):
    """What became of an entry: where it stands, or where the one that its key named before stands.

    `counted`, for a stored one: how many entries up to it count.
    """

    outcome: Outcome
    seq: int
    id: int
    counted: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored entry. `amended`: its data is no longer what was first written, and what `digest` is of."""

    stream_id: int
    seq: int
    id: int
    kind: int
    author: str
    counted: int
    amended: bool
    digest: bytes
    data: bytes


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stream stands. Its entries go from `first_seq` to `last_seq`; none if that is less."""

    stream_id: int
    epoch: str
    first_seq: int
    last_seq: int
    counted: int
    fence: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an auditor found. `faults` are sentences; none means that the chain holds from end to end."""

    stream_id: int
    entries: int
    amended: int
    faults: tuple[str, ...]


class Timeline(Protocol):
    """One space. All methods raise `EngineUnavailableError` and `OverloadedError`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this timeline can do beyond the contract."""

    async def create(self, stream_ids: Sequence[int], *, epoch: str, within: Any = None) -> None:
        """Begin streams; those that exist stay as they are."""

    async def append(self, entries: Sequence[NewEntry], *, at_ms: int, within: Any = None) -> list[Placed]:
        """Append entries to their streams, in their order; one result each. All that can be stored are, or none.

        No two entries of one call may have the same stream and key. When it returns, what was stored is
        durable (with `within`: once that transaction commits). `OutcomeUnknownError` means to say it again:
        the keys make that safe.
        """

    async def heads(self, stream_ids: Sequence[int]) -> dict[int, Head]:
        """Where streams stand; those that do not exist are left out."""

    async def read(self, stream_id: int, *, after_seq: int, limit: int) -> list[Entry]:
        """Up to `limit` entries with a greater sequence, ascending."""

    async def read_back(self, stream_id: int, *, before_seq: int, limit: int) -> list[Entry]:
        """Up to `limit` entries with a smaller sequence, descending."""

    async def pick(self, stream_id: int, seqs: Sequence[int]) -> list[Entry]:
        """The entries with these sequences, ascending; those that are not there are left out."""

    async def amend(self, stream_id: int, seq: int, data: bytes, *, within: Any = None) -> bool:
        """Replace an entry's data for good, and forget what its key stood for; False if it is not there."""

    async def retain(self, *, since_ms: int) -> int:
        """Drop every bucket that ended before a moment; returns how many. Sequences go on where they were."""

    async def audit(self, stream_id: int) -> Audit:
        """Walk the whole stream and check that it is dense and that its chain holds."""


def digest_of(entry_id: int, kind: int, author: str, data: bytes) -> bytes:
    """What the chain is made of: SHA-256 over an entry's id, kind, author and data."""
    return hashlib.sha256(struct.pack("<qh", entry_id, kind) + author.encode() + b"\0" + data).digest()


def require(timeline: Timeline, *needed: Capability) -> None:
    """Refuse to start on a timeline that lacks something. Raises `RefusedError` with a sentence for each."""
    missing = [capability for capability in needed if capability not in timeline.capabilities]
    if missing:
        raise RefusedError("; ".join(f"this timeline does not {one.value}" for one in missing))
