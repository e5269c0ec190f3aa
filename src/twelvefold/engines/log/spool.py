"""A publisher whose `append` costs as much as appending to a list, and which survives the log's absence.

What was appended in one flush window is packed into few entries and published durably as one batch; the
next window gathers meanwhile. A log that is away, late or full turns batches to a spool on disk (fsynced,
bounded), which drains in order before anything newer goes out. Each batch carries its sequence, so one
that arrived although we saw it fail is not counted twice. What a crash of this process can lose: what
was appended in the last window, and the batch in flight, that is, at most `flush_ms` plus
`publish_seconds` of records. A spool left by a crash is adopted by the next publisher that starts here.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from twelvefold.engines.log.contract import BatchId, Capability, Log, require
from twelvefold.engines.log.spool_file import Frame, Spool
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.retry import Backoff

T = TypeVar("T")
R = TypeVar("R")

_RETRY = Backoff(first_seconds=0.05, cap_seconds=1.0)
_DRAIN_BYTES = 1 << 20
_log = structlog.get_logger("log")


class SpoolLimits(msgspec.Struct, frozen=True):
    """How long a window is, and how much may wait where; beyond a bound the oldest goes, counted.

    `max_gathered` records wait in memory for a flush, `max_held_bytes` for a disk that takes nothing,
    `max_spool_bytes` on disk for the log.
    """

    flush_ms: float = 25.0
    publish_seconds: float = 0.5
    max_gathered: int = 1_000_000
    max_held_bytes: int = 64 << 20
    max_spool_bytes: int = 1 << 30


class SpoolStats(msgspec.Struct):
    """Records since the start: `acknowledged` are fsynced in the log or the spool, `dropped` are lost."""

    acknowledged: int = 0
    published: int = 0
    spooled: int = 0
    dropped: int = 0


class SpooledPublisher(Generic[T]):
    """Publishes what is appended to it. `open` makes it; for one event loop.

    Attributes:
        append: adds a record to the current window; a list's own `append`.
        stats: see `SpoolStats`.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        spool: Spool,
        adopted: Sequence[Spool],
        *,
        encode: Callable[[list[T]], list[bytes]],
        limits: SpoolLimits,
    ) -> None:
        self._log = log
        self._topic = topic
        self._spool = spool
        self._adopted = deque(adopted)
        self._encode = encode
        self._limits = limits
        self._gathered: list[T] = []
        self.append: Callable[[T], None] = self._gathered.append
        self.stats = SpoolStats()
        self._loop = asyncio.get_running_loop()
        self._held: deque[Frame] = deque()
        self._sequence = 0
        self._delays = _RETRY.delays()
        self._retry_at = 0.0
        self._settled = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._is_away = False
        self._is_closing = False
        self._due = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix=f"spool {topic}")
        self._timer = self._loop.call_later(limits.flush_ms / 1000, self._tick)
        self._flusher = asyncio.create_task(self._run(), name=f"spooled publisher: {topic}")

    @classmethod
    async def open(
        cls,
        log: Log,
        topic: str,
        directory: Path,
        *,
        encode: Callable[[list[T]], list[bytes]],
        limits: SpoolLimits | None = None,
    ) -> "SpooledPublisher[T]":
        """Start publishing to `topic`, and adopt what dead publishers left in `directory`.

        Args:
            log: must be durable and recognise batches; `RefusedError` otherwise.
            topic: also the name of a folder in `directory`.
            directory: where spools of all topics and processes of this machine live.
            encode: turns the records of a window, in order, into log entries; `packing.pack` for records that are
                bytes. Called in the event loop.
            limits: see `SpoolLimits`.
        """
        require(log, Capability.DURABLE, Capability.DEDUPLICATES)
        chosen = limits or SpoolLimits()
        if chosen.max_spool_bytes < 2 * chosen.max_held_bytes:
            raise ValueError("the spool must hold at least twice what memory may hold for it")
        parent = directory / topic
        if parent.parent != directory or topic.startswith("."):
            raise ValueError(f"a topic that is spooled names a folder, which '{topic}' does not")
        adopted, spool = await asyncio.to_thread(_open_spools, parent, chosen.max_spool_bytes)
        return cls(log, topic, spool, adopted, encode=encode, limits=chosen)

    @property
    def is_spooling(self) -> bool:
        """Whether the log is away or behind, and records go to the disk first."""
        return self._is_away or not self._spool.is_empty

    @property
    def spooled_bytes(self) -> int:
        """On disk, waiting for the log; adopted spools included."""
        return self._spool.size_bytes + sum(spool.size_bytes for spool in self._adopted)

    async def flush(self) -> None:
        """Return once everything appended before is acknowledged, or dropped and counted."""
        target = self._settled + len(self._gathered) + sum(frame.records for frame in self._held)
        while self._settled < target:
            self._due.set()
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def close(self) -> None:
        """Publish or spool what was appended, and stop. What is spooled waits for the next start."""
        self._timer.cancel()
        self._is_closing = True
        self._due.set()
        await self._flusher
        for spool in (self._spool, *self._adopted):
            await self._in_thread(spool.close)
        self._disk.shutdown()
        self.append = self._refuse

    def _refuse(self, _record: T) -> None:
        raise RuntimeError(f"the publisher of {self._topic} is closed")

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._limits.flush_ms / 1000, self._tick)
        excess = len(self._gathered) - self._limits.max_gathered
        if excess > 0:
            del self._gathered[:excess]
            self._settle(excess)
            self._drop(excess, "too many records are waiting to be flushed")
        if self._gathered or self._held or not self._spool.is_empty or self._adopted:
            self._due.set()

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._flush()
            except Exception:  # noqa: BLE001 whatever it is, later records must still be flushed
                _log.exception("log.flush.failed", topic=self._topic)
                self._retry_at = self._loop.time() + next(self._delays)
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if self._is_closing:
                return

    async def _flush(self) -> None:
        """One window: to the log, or to the spool if that is not empty or the log does not take it."""
        self._gather()
        if self._spool.is_empty:
            while self._held and await self._publish(self._spool.publisher, self._held[0]):
                self._acknowledge(self._held.popleft())
        if self._held:
            await self._spool_held()
        for spool in (self._spool, *self._adopted):
            await self._drain(spool)
        while self._adopted and self._adopted[0].is_empty:
            await self._in_thread(self._adopted.popleft().close)

    def _gather(self) -> None:
        """Turn what was appended into a batch."""
        records = self._gathered[:]
        del self._gathered[: len(records)]
        entries = self._encoded(records)
        if entries:
            self._sequence += 1
            self._held.append(Frame(self._sequence, len(records), entries))
        else:
            self._settle(len(records))

    def _encoded(self, records: list[T]) -> list[bytes]:
        if not records:
            return []
        try:
            entries = self._encode(records)
            largest = max(map(len, entries), default=0)
            if largest <= self._log.max_record_bytes:
                return entries
            if len(records) == 1:
                self._drop(1, f"it has {largest} bytes, the log takes {self._log.max_record_bytes}")
                return []
        except Exception:  # noqa: BLE001 a record that cannot be encoded must not hold up the others
            if len(records) == 1:
                _log.exception("log.record.unencodable", topic=self._topic)
                self._drop(1, "it could not be encoded")
                return []
        half = len(records) // 2
        return self._encoded(records[:half]) + self._encoded(records[half:])

    async def _publish(self, publisher: str, frame: Frame) -> bool:
        """Whether the batch is in the log now, or can never be."""
        if self._loop.time() < self._retry_at:
            return False
        try:
            async with asyncio.timeout(self._limits.publish_seconds):
                await self._log.publish(self._topic, frame.entries, batch=BatchId(publisher, frame.sequence))
        except (TwelvefoldError, TimeoutError) as error:
            if not self._is_away:
                _log.warning("log.publish.failed", topic=self._topic, reason=str(error) or "too slow")
            self._is_away = True
            self._retry_at = self._loop.time() + next(self._delays)
            return False
        else:
            self.stats.published += frame.records
        if self._is_away:
            _log.info("log.publish.recovered", topic=self._topic, spooled=self._spool.records)
        self._is_away = False
        self._delays = _RETRY.delays()
        return True

    async def _spool_held(self) -> None:
        frames = list(self._held)
        try:
            dropped = await self._in_thread(self._spool.append, frames)
        except OSError as error:
            _log.warning("log.spool.failed", topic=self._topic, reason=str(error))
            self._bound_held()
            return
        for frame in frames:
            self.stats.spooled += frame.records
            self._acknowledge(self._held.popleft())
        if dropped:
            self._drop(dropped, f"the spool is bounded to {self._limits.max_spool_bytes} bytes")

    def _bound_held(self) -> None:
        """Neither the log nor the disk takes anything: keep the newest that memory may hold."""
        sizes = [sum(map(len, frame.entries)) for frame in self._held]
        total = sum(sizes)
        for size in sizes:
            if total <= self._limits.max_held_bytes:
                return
            total -= size
            frame = self._held.popleft()
            self._settle(frame.records)
            self._drop(
                frame.records, f"memory holds {self._limits.max_held_bytes} bytes when the disk is full"
            )

    async def _drain(self, spool: Spool) -> None:
        """Publish what is spooled, oldest first, for about one window; newer records wait behind it."""
        until = self._loop.time() + self._limits.flush_ms / 1000
        while not spool.is_empty and self._loop.time() >= self._retry_at:
            for frame in await self._in_thread(spool.oldest, _DRAIN_BYTES):
                if not await self._publish(spool.publisher, frame):
                    return
                await self._in_thread(spool.drained)
                if self._loop.time() >= until:
                    return

    def _acknowledge(self, frame: Frame) -> None:
        self.stats.acknowledged += frame.records
        self._settle(frame.records)

    def _settle(self, records: int) -> None:
        self._settled += records

    def _drop(self, records: int, reason: str) -> None:
        self.stats.dropped += records
        _log.error("log.records.dropped", topic=self._topic, records=records, reason=reason)

    async def _in_thread(self, work: Callable[..., R], *args: Any) -> R:
        return await self._loop.run_in_executor(self._disk, work, *args)


def _open_spools(parent: Path, max_bytes: int) -> tuple[list[Spool], Spool]:
    adopted = Spool.adopt(parent, max_bytes=max_bytes)
    for spool in adopted:
        _log.info(
            "log.spool.adopted", publisher=spool.publisher, records=spool.records, cut_bytes=spool.cut_bytes
        )
    return adopted, Spool.create(parent, secrets.token_hex(8), max_bytes=max_bytes)
