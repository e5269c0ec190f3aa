"""From the log to the sockets of this process: each conversation in the order of its sequence, each event once.

What was stored here is delivered at once and sent over the bus; what others stored comes from the bus. An
event that does not continue the sequence waits a moment for the missing one; then the timeline is read. A
server that died between commit and publish, or a bus that lost something, is found by comparing heads.
Invariant: `position` only grows, by exactly the events that were handed to the watchers.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.retry import Backoff
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Event
from twelvefold.systems.chat.store.bus import Bus, Parcel
from twelvefold.systems.chat.store.messages import MessageStore, Stored, shown

log = structlog.get_logger("chat")

GAP_SECONDS = 0.02
"""How long an event that came too early waits before the log is read; two commits that overlap take less."""
SWEEP_SECONDS = 1.0
"""How often heads are compared: the most that a message of a server that died can be late."""
PAGE = 500
MAX_EARLY = 5_000
MAX_SEATED_TOLD = 1_000
"""Members of a new conversation that are told at once; a larger one would flood the bus for a courtesy."""
GONE = frozenset({"left", "removed", "banned"})


_decode_notice = msgspec.json.Decoder(tuple[str, dict[str, Any]]).decode
_encode_notice = msgspec.json.Encoder().encode


class Watcher(Protocol):
    """Who is told: the sockets of one protocol."""

    def deliver(self, conversation_id: int, events: Sequence[Event]) -> None:
        """Events in their order."""

    def notice(self, conversation_id: int, notice: dict[str, Any]) -> None:
        """Something that is not stored: typing, receipts."""

    def expel(self, conversation_id: int, user: str) -> None:
        """Nothing after what was delivered may reach this user."""


class LiveRoom:
    """A conversation that somebody here follows. `position`: everything up to it was handed on."""

    __slots__ = (
        "conversation_id",
        "early",
        "followers",
        "open",
        "position",
        "reading",
        "ready",
        "timer",
        "waiters",
    )

    def __init__(self, conversation_id: int) -> None:
        self.conversation_id = conversation_id
        self.position = 0
        self.open = False
        self.followers = 0
        self.early: dict[int, Event] = {}
        self.ready: asyncio.Task[None] | None = None
        self.reading: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: list[asyncio.Future[None]] = []


class Delivery:
    """See the module.

    Args:
        messages: the log.
        make_bus: makes the bus with its three callbacks.
        members_of: how many members a conversation has, as far as this process knows.
        large_from: from so many members on, the bus carries only the news that there is something.
        on_change: told of conversations whose members or rules have changed.
    """

    def __init__(
        self,
        messages: MessageStore,
        make_bus: Callable[..., Bus],
        *,
        members_of: Callable[[int], int],
        large_from: int,
        on_change: Callable[[int], None],
    ) -> None:
        self._messages = messages
        self._bus = make_bus(on_parcel=self._parcel, on_notice=self._user_notice, on_gap=self._gap)
        self._members_of = members_of
        self._large_from = large_from
        self._on_change = on_change
        self._rooms: dict[int, LiveRoom] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        # Names this process on the bus, so that it does not tell its own notices twice.
        self._origin = secrets.token_hex(4)
        # Tuples: nearly all have one listener, and a set of one is two hundred bytes of an idle connection.
        self._user_listeners: dict[str, tuple[Callable[[bytes], None], ...]] = {}
        self.watchers: list[Watcher] = []
        self.delivered = 0
        self.read_from_log = 0
        self.released = False
        messages.on_stored = self.stored

    async def start(self) -> None:
        """Connect to the bus."""
        await self._bus.start()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="chat: compare heads")

    async def close(self) -> None:
        """Stop."""
        for task in [*self._tasks, *([self._sweeper] if self._sweeper else [])]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._bus.close()

    # -- following ------------------------------------------------------------------------------

    async def follow(self, conversation_id: int) -> LiveRoom:
        """Be told of a conversation from the returned room's `position` on. `unfollow` ends it."""
        room = self._rooms.get(conversation_id)
        if room is None:
            room = self._rooms[conversation_id] = LiveRoom(conversation_id)
            room.ready = asyncio.get_running_loop().create_task(self._open(room))
        room.followers += 1
        assert room.ready is not None
        try:
            await asyncio.shield(room.ready)
        except BaseException:
            self.unfollow(room)
            raise
        return room

    def unfollow(self, room: LiveRoom) -> None:
        """Be told no longer."""
        room.followers -= 1
        if room.followers <= 0 and self._rooms.get(room.conversation_id) is room:
            del self._rooms[room.conversation_id]
            self._bus.unlisten(room.conversation_id)
            for waiting in (room.ready, room.reading):
                if waiting is not None:
                    waiting.cancel()
            if room.timer is not None:
                room.timer.cancel()

    async def _open(self, room: LiveRoom) -> None:
        # First the bus, then the head: what is stored after the head is read comes over the bus.
        await self._bus.listen(room.conversation_id)
        room.position = max(room.position, (await self._messages.head(room.conversation_id)).last_seq)
        for seq in [seq for seq in room.early if seq <= room.position]:
            del room.early[seq]
        room.open = True
        self._advance(room)

    @property
    def following(self) -> int:
        """Conversations that somebody here follows."""
        return len(self._rooms)

    async def moved(self, room: LiveRoom, seq: int, deadline: float) -> bool:
        """Wait until a conversation has come further than `seq`; False at the deadline (of the loop's clock).

        Also False once those who wait were released.
        """
        loop = asyncio.get_running_loop()
        while room.position <= seq:
            if self.released:
                return False
            waiter: asyncio.Future[None] = loop.create_future()
            room.waiters.append(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return False
        return True

    def release(self) -> None:
        """The server drains: nobody waits for news any more."""
        self.released = True
        for room in self._rooms.values():
            _wake(room)

    async def listen_to_user(self, key: str, listener: Callable[[bytes], None]) -> None:
        """Hear what is told to a user (`tenant:user`), wherever it is said."""
        others = self._user_listeners.get(key, ())
        self._user_listeners[key] = (*others, listener)
        if not others:
            await self._bus.listen_to_user(key)

    def unlisten_to_user(self, key: str, listener: Callable[[bytes], None]) -> None:
        """Hear it no longer."""
        listeners = self._user_listeners.get(key, ())
        left = tuple(other for other in listeners if other != listener)
        if left:
            self._user_listeners[key] = left
        elif listeners:
            del self._user_listeners[key]
            self._bus.unlisten_to_user(key)

    # -- in -------------------------------------------------------------------------------------

    def stored(self, stored: Mapping[int, Sequence[Stored]]) -> None:
        """This process has just stored these, by conversation."""
        for conversation_id, some in stored.items():
            room = self._rooms.get(conversation_id)
            try:
                if room is not None:
                    self._arrived(room, some)
            finally:
                # After those who listen here: the bus is not to stand between a commit and its delivery.
                large = self._members_of(conversation_id) >= self._large_from
                self._bus.publish(conversation_id, Parcel(upto=some[-1].seq, entries=() if large else some))

    def tell(self, conversation_id: int, notice: dict[str, Any]) -> None:
        """Tell all who follow a conversation, here and elsewhere, something that is not stored."""
        self._bus.publish(conversation_id, Parcel(notice=_encode_notice((self._origin, notice))))
        if conversation_id in self._rooms:
            for watcher in self.watchers:
                watcher.notice(conversation_id, notice)

    def tell_user(self, key: str, notice: bytes) -> None:
        """Tell all sockets of a user, wherever they are."""
        self._bus.publish_to_user(key, notice)

    def tell_seated(self, tenant: TenantId, conversation_id: int, users: Sequence[str]) -> None:
        """Tell people that they are in a conversation now; whoever does not hear it finds it in their list."""
        notice = msgspec.json.encode({"type": "joined", "conversation": str(conversation_id)})
        for user in users[:MAX_SEATED_TOLD]:
            self.tell_user(f"{tenant}:{user}", notice)

    def _parcel(self, conversation_id: int, parcel: Parcel) -> None:
        room = self._rooms.get(conversation_id)
        if room is None:
            return
        if parcel.notice:
            self._hear_notice(conversation_id, parcel.notice)
        elif parcel.entries:
            self._arrived(room, parcel.entries)
        elif parcel.upto > room.position:
            self._read(room)

    def _hear_notice(self, conversation_id: int, encoded: bytes) -> None:
        origin, notice = _decode_notice(encoded)
        if origin != self._origin:
            for watcher in self.watchers:
                watcher.notice(conversation_id, notice)

    def _user_notice(self, key: str, notice: bytes) -> None:
        for listener in self._user_listeners.get(key, ()):
            listener(notice)

    def _arrived(self, room: LiveRoom, some: Sequence[Stored]) -> None:
        for one in some:
            # An edit brings its target's text, which only the log has.
            if one.seq > room.position and one.seq not in room.early:
                room.early[one.seq] = shown(one)
        if room.open:
            self._advance(room)

    def _advance(self, room: LiveRoom) -> None:
        """Hand on what continues the sequence."""
        events = []
        position = room.position
        while (event := room.early.get(position + 1)) is not None:
            if event.type == "edited":
                break
            del room.early[position + 1]
            position += 1
            events.append(event)
        if events:
            self._hand_on(room, events)
        if room.early and room.reading is None:
            if room.position + 1 in room.early or len(room.early) > MAX_EARLY:
                self._read(room)
            elif room.timer is None:
                room.timer = asyncio.get_running_loop().call_later(GAP_SECONDS, self._waited, room)

    def _waited(self, room: LiveRoom) -> None:
        room.timer = None
        if room.early and self._rooms.get(room.conversation_id) is room:
            self._read(room)

    def _hand_on(self, room: LiveRoom, events: list[Event]) -> None:
        room.position = events[-1].seq
        self.delivered += len(events)
        start = 0
        for place, event in enumerate(events):
            if event.type in ("member", "conversation"):
                self._on_change(room.conversation_id)
                if event.change in GONE:
                    self._to_watchers(room, events[start : place + 1])
                    start = place + 1
                    for watcher in self.watchers:
                        watcher.expel(room.conversation_id, event.user)
        self._to_watchers(room, events[start:])
        _wake(room)

    def _to_watchers(self, room: LiveRoom, events: Sequence[Event]) -> None:
        if events:
            for watcher in self.watchers:
                watcher.deliver(room.conversation_id, events)

    # -- reading the log ------------------------------------------------------------------------

    def _read(self, room: LiveRoom) -> None:
        if room.reading is None:
            room.reading = asyncio.get_running_loop().create_task(self._read_on(room), name="chat: read on")

    async def _read_on(self, room: LiveRoom) -> None:
        delays = Backoff().delays()
        try:
            while self._rooms.get(room.conversation_id) is room:
                try:
                    events = await self._messages.after(room.conversation_id, room.position, PAGE)
                except TwelvefoldError as error:
                    log.warning(
                        "chat.read_on.delayed", conversation=room.conversation_id, reason=error.message
                    )
                    await asyncio.sleep(next(delays))
                    continue
                events = [event for event in events if event.seq > room.position]
                if events:
                    self.read_from_log += len(events)
                    self._hand_on(room, events)
                    for seq in [seq for seq in room.early if seq <= room.position]:
                        del room.early[seq]
                if len(events) < PAGE:
                    break
        finally:
            room.reading = None
        if self._rooms.get(room.conversation_id) is room:
            self._advance(room)

    def _gap(self) -> None:
        task = asyncio.get_running_loop().create_task(self._compare(), name="chat: after a gap")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self._compare()

    async def _compare(self) -> None:
        """Find conversations whose log is ahead of what was handed on."""
        ids = list(self._rooms)
        for start in range(0, len(ids), 1000):
            some = ids[start : start + 1000]
            try:
                heads = await self._messages.last_seqs(some)
            except TwelvefoldError as error:
                log.warning("chat.heads.unknown", reason=error.message)
                return
            for conversation_id, last_seq in heads.items():
                room = self._rooms.get(conversation_id)
                if room is not None and last_seq > room.position and room.open:
                    self._read(room)


def _wake(room: LiveRoom) -> None:
    waiters, room.waiters = room.waiters, []
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
