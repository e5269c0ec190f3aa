"""Group commit: what all callers of a process want to say now, in one append, in the order they said it.

Each lane has one append under way; what arrives meanwhile is the next one. A conversation always has the
same lane, so messages that were sent one after the other are stored in that order. Invariant: a caller
hears "stored" only after the commit. An append whose outcome is unknown is said again until it is known:
the keys make that harmless.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from twelvefold.engines.database import ContendedError
from twelvefold.engines.timeline import NewEntry, Placed, Timeline
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TwelvefoldError
from twelvefold.kernel.retry import Backoff
from twelvefold.systems.chat.contracts import ClientMessageIdReusedError, ConversationNotFoundError, Sent

log = structlog.get_logger("chat")

LANES = 2
MAX_BATCH = 2_000
MAX_BATCH_BYTES = 4 << 20
MAX_WAITING = 50_000
MAX_WAITING_BYTES = 128 << 20
INSIST_SECONDS = 5.0
"""How long an append is repeated while the database is away; then the callers are told."""

BACKOFF = Backoff(first_seconds=0.02, cap_seconds=0.5)


Acknowledge = Callable[[Sent | TwelvefoldError], None]
"""Told what became of a message: where it stands, or the error that stopped it. Returns at once."""

OnStored = Callable[[Sequence[NewEntry], Sequence[Placed]], None]
OnStale = Callable[[NewEntry], Awaitable[NewEntry]]
Said = tuple[NewEntry, Acknowledge]


class Sequencer:
    """See the module.

    `on_stored` hears of each append, its entries in order, before the callers do. `on_stale` is asked
    about an entry whose fence was raised: it returns it with the fence of now, or raises why it may not be.
    """

    def __init__(self, timeline: Timeline, clock: Clock, *, lanes: int = LANES) -> None:
        self._timeline = timeline
        self._clock = clock
        self._lanes = [_Lane(self) for _ in range(lanes)]
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self.on_stored: OnStored = lambda _entries, _placed: None
        self.on_stale: OnStale = _refuse_stale

    @property
    def waiting(self) -> int:
        """Entries that are not acknowledged yet."""
        return self._waiting

    @property
    def waiting_bytes(self) -> int:
        """What they hold."""
        return self._waiting_bytes

    def submit(self, entry: NewEntry, done: Acknowledge) -> None:
        """Append `entry` with the next commit. Raises `OverloadedError` at once when too many wait."""
        if self._closed:
            raise OverloadedError("this server is going down", retry_after_seconds=1)
        if self._waiting >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            raise OverloadedError(
                f"{self._waiting} messages wait to be stored already", retry_after_seconds=1
            )
        self._waiting += 1
        self._waiting_bytes += len(entry.data)
        self._lanes[lane_of(entry.stream_id, len(self._lanes))].add(entry, done)

    async def close(self) -> None:
        """Take nothing more; what was taken is stored, or its callers are told."""
        self._closed = True
        await asyncio.gather(*(lane.drain() for lane in self._lanes))

    async def store(self, batch: list[Said]) -> list[Said]:
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
        self._tell(batch, entries, placed)
        stale = [said for said, one in zip(batch, placed, strict=True) if one.outcome == "stale"]
        return await self._refreshed(stale) if stale else []

    def _tell(self, batch: list[Said], entries: list[NewEntry], placed: list[Placed]) -> None:
        try:
            self.on_stored(entries, placed)
        except Exception:
            # It is on disk: whoever said it hears so, and readers find it in the log.
            log.exception("chat.delivery.failed")
        for (entry, done), one in zip(batch, placed, strict=True):
            if one.outcome != "stale":
                self._waiting -= 1
                self._waiting_bytes -= len(entry.data)
                _call(done, answer_to(entry, one))

    async def _refreshed(self, stale: list[Said]) -> list[Said]:
        again = []
        for entry, done in stale:
            try:
                again.append((await self.on_stale(entry), done))
            except TwelvefoldError as error:
                self._answer([(entry, done)], error)
        return again

    def _answer(self, batch: list[Said], error: TwelvefoldError) -> None:
        for entry, done in batch:
            self._waiting -= 1
            self._waiting_bytes -= len(entry.data)
            _call(done, error)


class _Lane:
    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._next: list[Said] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: NewEntry, done: Acknowledge) -> None:
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

    def _take(self) -> list[Said]:
        """The next batch: the oldest, each key of a conversation once, bounded in number and bytes."""
        first = self._next[:MAX_BATCH]
        if self._sequencer.waiting_bytes > MAX_BATCH_BYTES or len(
            {(entry.stream_id, entry.key) for entry, _ in first}
        ) < len(first):
            return self._choose()
        self._next = self._next[MAX_BATCH:]
        return first

    def _choose(self) -> list[Said]:
        """`_take`, where some have to stay."""
        taken: list[Said] = []
        kept: list[Said] = []
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


def lane_of(stream_id: int, lanes: int) -> int:
    """Where a stream's entries go. The low bits of ids are alike; what differs is the millisecond above them."""
    return (stream_id ^ stream_id >> 22) % lanes


def answer_to(entry: NewEntry, placed: Placed) -> Sent | TwelvefoldError:
    """What the sender of an entry is told."""
    if placed.outcome == "stored":
        return Sent(placed.id, placed.seq)
    if placed.outcome == "existed":
        return Sent(placed.id, placed.seq, placed.id != entry.id)
    if placed.outcome == "conflict":
        return ClientMessageIdReusedError(field="client_msg_id", message_id=str(placed.id))
    return ConversationNotFoundError(conversation=str(entry.stream_id))


def _call(done: Acknowledge, outcome: Sent | TwelvefoldError) -> None:
    try:
        done(outcome)
    except Exception:
        log.exception("chat.acknowledge.failed")


__all__ = ["Acknowledge", "Sequencer"]
