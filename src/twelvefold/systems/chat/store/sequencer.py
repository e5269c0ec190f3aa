"""Group commit: what all callers of a process want to say now, in one append, in the order they said it.

Each lane has one append under way; what arrives meanwhile is the next one. A conversation always has the
same lane, so messages that were sent one after the other are stored in that order. Invariant: a caller
hears "stored" only after the commit. An append whose outcome is unknown is said again until it is known:
the keys make that harmless.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from twelvefold.engines.database import ContendedError
from twelvefold.engines.timeline import NewEntry, Placed, Timeline
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TwelvefoldError
from twelvefold.kernel.retry import Backoff

log = structlog.get_logger("chat")

LANES = 2
MAX_BATCH = 2_000
MAX_BATCH_BYTES = 4 << 20
MAX_WAITING = 50_000
MAX_WAITING_BYTES = 128 << 20
INSIST_SECONDS = 5.0
"""How long an append is repeated while the database is away; then the callers are told."""

BACKOFF = Backoff(first_seconds=0.02, cap_seconds=0.5)


class Done(Protocol):
    """Told what became of an entry: a `Placed`, or the error that stopped it."""

    def __call__(self, outcome: Placed | TwelvefoldError, /) -> None:
        """Return at once."""


OnStored = Callable[[list[tuple[NewEntry, Placed]]], None]
OnStale = Callable[[NewEntry], Awaitable[NewEntry]]


class Sequencer:
    """See the module.

    `on_stored` hears of each append's new entries, in order, before the callers do. `on_stale` is asked
    about an entry whose fence was raised: it returns it with the fence of now, or raises why it may not be.
    """

    def __init__(self, timeline: Timeline, clock: Clock, *, lanes: int = LANES) -> None:
        self._timeline = timeline
        self._clock = clock
        self._lanes = [_Lane(self) for _ in range(lanes)]
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self.on_stored: OnStored = lambda _: None
        self.on_stale: OnStale = _refuse_stale
        self.appends = 0
        self.stored = 0

    @property
    def waiting(self) -> int:
        """Entries that are not acknowledged yet."""
        return self._waiting

    def submit(self, entry: NewEntry, done: Done) -> None:
        """Append `entry` with the next commit. Raises `OverloadedError` at once when too many wait."""
        if self._closed:
            raise OverloadedError("this server is going down", retry_after_seconds=1)
        if self._waiting >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            raise OverloadedError(
                f"{self._waiting} messages wait to be stored already", retry_after_seconds=1
            )
        self._waiting += 1
        self._waiting_bytes += len(entry.data)
        self._lanes[hash(entry.stream_id) % len(self._lanes)].add(entry, done)

    async def close(self) -> None:
        """Take nothing more; what was taken is stored, or its callers are told."""
        self._closed = True
        await asyncio.gather(*(lane.drain() for lane in self._lanes))

    async def store(self, batch: list[tuple[NewEntry, Done]]) -> list[tuple[NewEntry, Done]]:
        """One append, repeated until it is known what became of it; returns what must be said again."""
        entries = [entry for entry, _ in batch]
        delays = BACKOFF.delays()
        give_up = self._clock.monotonic() + INSIST_SECONDS
        while True:
            try:
                placed = await self._timeline.append(entries, at_ms=self._clock.now_ms())
            except (EngineUnavailableError, ContendedError, OverloadedError) as error:
                if self._clock.monotonic() >= give_up:
                    self._answer(batch, error)
                    return []
                await asyncio.sleep(next(delays))
            except TwelvefoldError as error:
                if len(batch) == 1:
                    self._answer(batch, error)
                    return []
                # One of them cannot be stored: it must not stop the others.
                return [again for one in batch for again in await self.store([one])]
            else:
                break
        self.appends += 1
        self._tell(batch, placed)
        stale = [said for said, one in zip(batch, placed, strict=True) if one.outcome == "stale"]
        return await self._refreshed(stale) if stale else []

    def _tell(self, batch: list[tuple[NewEntry, Done]], placed: list[Placed]) -> None:
        # An append that was said again, because its outcome was not known, finds its own entries: also new.
        stored = [(entry, one) for (entry, _), one in zip(batch, placed, strict=True) if entry.id == one.id]
        self.stored += len(stored)
        if stored:
            self.on_stored(stored)
        for (entry, done), one in zip(batch, placed, strict=True):
            if one.outcome != "stale":
                self._waiting -= 1
                self._waiting_bytes -= len(entry.data)
                _call(done, one)

    async def _refreshed(self, stale: list[tuple[NewEntry, Done]]) -> list[tuple[NewEntry, Done]]:
        again = []
        for entry, done in stale:
            try:
                again.append((await self.on_stale(entry), done))
            except TwelvefoldError as error:
                self._answer([(entry, done)], error)
        return again

    def _answer(self, batch: list[tuple[NewEntry, Done]], error: TwelvefoldError) -> None:
        for entry, done in batch:
            self._waiting -= 1
            self._waiting_bytes -= len(entry.data)
            _call(done, error)


class _Lane:
    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._next: list[tuple[NewEntry, Done]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: NewEntry, done: Done) -> None:
        self._next.append((entry, done))
        if self._task is None:
            # The task begins with the next turn of the loop, so all that this turn says is in it.
            self._task = asyncio.get_running_loop().create_task(self._run(), name="chat: append")

    async def drain(self) -> None:
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._next:
                again = await self._sequencer.store(self._take())
                if again:  # ahead of all that came meanwhile, so that the order stays
                    self._next = again + self._next
        finally:
            self._task = None

    def _take(self) -> list[tuple[NewEntry, Done]]:
        """The next batch: the oldest, each key of a conversation once, bounded in number and bytes."""
        waiting = self._next
        if (
            len(waiting) <= MAX_BATCH
            and sum(len(entry.data) for entry, _ in waiting) <= MAX_BATCH_BYTES
            and len({(entry.stream_id, entry.key) for entry, _ in waiting}) == len(waiting)
        ):
            self._next = []
            return waiting
        return self._choose()

    def _choose(self) -> list[tuple[NewEntry, Done]]:
        """`_take`, where some have to stay."""
        taken: list[tuple[NewEntry, Done]] = []
        kept: list[tuple[NewEntry, Done]] = []
        seen: set[tuple[int, bytes]] = set()
        held: set[int] = set()
        size = 0
        for place, (entry, done) in enumerate(self._next):
            if len(taken) >= MAX_BATCH or size >= MAX_BATCH_BYTES:
                kept += self._next[place:]
                break
            key = (entry.stream_id, entry.key)
            if key in seen or entry.stream_id in held:
                # The second of two with one key waits for the first, and all that follow it there with it.
                held.add(entry.stream_id)
                kept.append((entry, done))
                continue
            seen.add(key)
            size += len(entry.data)
            taken.append((entry, done))
        self._next = kept
        return taken


async def _refuse_stale(entry: NewEntry) -> NewEntry:
    del entry
    raise ContendedError


def _call(done: Done, outcome: Placed | TwelvefoldError) -> None:
    try:
        done(outcome)
    except Exception:
        log.exception("chat.acknowledge.failed")


__all__ = ["Done", "Sequencer"]
