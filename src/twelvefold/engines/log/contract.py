"""What a log promises, whoever keeps it: ordered topics, read by groups, each record at least once.

A topic holds records until every group that reads it has committed them. Within one publish, records
keep their order; between publishes that overlap in time there is none. A group delivers each record to
one of its consumers; a consumer that dies leaves its records to be claimed by another, so a record can
be delivered more than once, and `Entry.deliveries` says so. Implementations differ in what they can do
beyond that: each names its capabilities, and whoever needs one asks with `require` at the start.
"""

import enum
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from twelvefold.kernel.errors import OverloadedError, RefusedError


class Capability(enum.Enum):
    """Something that not every log can do; the value completes the sentence "this log does not …"."""

    DURABLE = "keep an acknowledged record through a crash (it has no append-only file)"
    RETAINS = "keep every record until it is committed (its server evicts keys under memory pressure)"
    ERASES = "erase a record once all groups have committed it"
    DEDUPLICATES = "recognise a batch that was published before"
    COUNTS_DELIVERIES = "count how often a record was delivered, and set poisonous ones aside"


class Entry(msgspec.Struct, frozen=True):
    """A record as delivered.

    `position` is the log's own, ascending within a topic; `deliveries` counts this one, from 1.
    """

    position: str
    data: bytes
    deliveries: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that was delivered too often without a commit, set aside with where it came from."""

    position: str
    data: bytes
    group: str
    origin: str
    deliveries: int


class BatchId(msgspec.Struct, frozen=True):
    """Names a batch for good: `publisher` never has two processes, `sequence` ascends from 1."""

    publisher: str
    sequence: int


class TopicFullError(OverloadedError):
    """The topic holds as many unread records as it may; its readers are behind."""

    code = "log_topic_full"


class Consumer(Protocol):
    """One member of a group that reads one topic. For one task at a time."""

    async def fetch(self, max_records: int, wait_seconds: float) -> list[Entry]:
        """The next records that no member of the group has had; none if none came within `wait_seconds`.

        The first fetch gives back what an earlier consumer of the same name left uncommitted. A cancelled
        fetch loses nothing: what arrives for it is given by the next. Raises `EngineUnavailableError`.
        """

    async def commit(self, entries: Iterable[Entry]) -> None:
        """These are done: they will not be delivered to this group again. Committing twice does no harm."""

    async def claim(self, idle_seconds: float, max_records: int = 100) -> list[Entry]:
        """Take over what other members fetched at least `idle_seconds` ago and have not committed."""

    async def lag(self) -> int:
        """How many records of the topic this group has not committed."""

    async def close(self) -> None:
        """Leave; what is uncommitted waits to be claimed."""


class Log(Protocol):
    """Topics."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this log can do beyond the contract."""

    @property
    def max_record_bytes(self) -> int:
        """A larger record is refused with `TooLargeError`."""

    async def publish(
        self, topic: str, records: Sequence[bytes], *, durable: bool = True, batch: BatchId | None = None
    ) -> list[str]:
        """Append records, all or none. Returns their positions.

        Args:
            topic: created by its first record.
            records: in this order.
            durable: return only after they have been fsynced; else they can be lost in a crash.
            batch: makes the publish repeatable: one with a sequence not above the publisher's last changes
                nothing and returns no positions.

        Raises:
            TopicFullError: nothing was appended.
            EngineUnavailableError: they may have been appended or not; repeat it with the same `batch`.
        """

    def consumer(self, topic: str, group: str, name: str) -> Consumer:
        """A member of `group`, which begins at the oldest record. `name` is one live process's only."""

    async def dead_letters(self, topic: str, max_records: int = 100) -> list[DeadLetter]:
        """The oldest records that were set aside."""

    async def discard_dead_letters(self, topic: str, letters: Iterable[DeadLetter]) -> None:
        """Erase records that were set aside."""


def require(log: Log, *needed: Capability) -> None:
    """Refuse to start on a log that lacks something. Raises `RefusedError` with a sentence for each."""
    missing = [capability for capability in needed if capability not in log.capabilities]
    if missing:
        raise RefusedError("; ".join(f"this log does not {capability.value}" for capability in missing))
