"""From the delivery of a process to its sockets, by way of the hub.

An outlet is one form in which one conversation's events leave (a protocol, and the name under which the
client knows the conversation): an event is encoded once for each outlet, however many listen. Invariant:
a follower joins an outlet exactly when everything up to the conversation's position was sent to it, and
leaves before anything is published that it may not see.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twelvefold.kernel.errors import InvalidInputError, OverloadedError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Event, NotAMemberError
from twelvefold.systems.chat.rules.standing import may_follow
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery, LiveRoom
from twelvefold.web.hub import Hub, Subscriber

PAGE = 500
CALM_BYTES = 256 * 1024
CALM_SECONDS = 0.02
BEHIND_SECONDS = 10.0
"""How long a follower waits here for what another server has told it already."""
STUCK_SECONDS = 30.0
"""How long a page of what was missed may wait for a reader, before the reader is left to its own bound."""


class Form(Protocol):
    """How events look in one protocol."""

    name: str

    def frames(self, label: str, events: Sequence[Event]) -> bytes:
        """Ready WebSocket frames for events of the conversation that the client calls `label`."""

    def notice(self, label: str, notice: dict[str, Any]) -> bytes:
        """The same for what is not stored; empty where the protocol has no word for it."""


class Follower(Protocol):
    """One connection, as this module sees it."""

    user: str
    tenant: TenantId

    @property
    def subscriber(self) -> Subscriber:
        """The socket, as the hub knows it."""

    def write(self, frames: bytes) -> None:
        """Send now."""

    def expelled(self, conversation_id: int) -> None:
        """It has been taken out of a conversation."""


class Followed:
    """A conversation that somebody here follows."""

    __slots__ = ("followers", "outlets", "room")

    def __init__(self, room: LiveRoom) -> None:
        self.room = room
        self.outlets: dict[str, tuple[Form, str]] = {}
        self.followers: dict[str, list[Seat]] = {}


class Seat:
    """One follower of one conversation. `joined`: it is in the hub; before, it is still catching up."""

    __slots__ = ("follower", "joined", "left", "outlet")

    def __init__(self, follower: Follower, outlet: str) -> None:
        self.follower = follower
        self.outlet = outlet
        self.joined = False
        self.left = False

    def has_left(self) -> bool:
        """Whether it ended, perhaps while its follower waited."""
        return self.left


class Page:
    """Some events, encoded once for each outlet."""

    __slots__ = ("_encoded", "events")

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self._encoded: dict[str, bytes] = {}

    def frames(self, form: Form, label: str, outlet: str) -> bytes:
        """All of them as frames."""
        made = self._encoded.get(outlet)
        if made is None:
            made = self._encoded[outlet] = form.frames(label, self.events)
        return made


class LiveSockets:
    """See the module. It is a `delivery.Watcher`."""

    def __init__(self, hub: Hub, delivery: Delivery, chat: Chat) -> None:
        self._hub = hub
        self._delivery = delivery
        self._chat = chat
        self._followed: dict[int, Followed] = {}
        self._pages: dict[tuple[int, int], asyncio.Task[Page]] = {}
        delivery.watchers.append(self)

    # -- delivery.Watcher -----------------------------------------------------------------------

    def deliver(self, conversation_id: int, events: Sequence[Event]) -> None:
        """See `Watcher.deliver`."""
        followed = self._followed.get(conversation_id)
        if followed is not None:
            for outlet, (form, label) in followed.outlets.items():
                if self._hub.listeners(outlet):
                    self._hub.publish_frame(outlet, form.frames(label, events))

    def notice(self, conversation_id: int, notice: dict[str, Any]) -> None:
        """See `Watcher.notice`."""
        followed = self._followed.get(conversation_id)
        if followed is not None:
            for outlet, (form, label) in followed.outlets.items():
                frames = form.notice(label, notice) if self._hub.listeners(outlet) else b""
                if frames:
                    self._hub.publish_frame(outlet, frames)

    def expel(self, conversation_id: int, user: str) -> None:
        """See `Watcher.expel`."""
        followed = self._followed.get(conversation_id)
        if followed is not None:
            for seat in list(followed.followers.get(user, ())):
                self.leave(conversation_id, seat)
                seat.follower.expelled(conversation_id)

    # -- for connections ------------------------------------------------------------------------

    async def follow(
        self, follower: Follower, conversation_id: int, form: Form, label: str, *,
        missed: Callable[[list[Event]], bytes] | None = None, after: int | None = None,
        ready: Callable[[int], None] = lambda _: None,
    ) -> "Seat":  # fmt: skip
        """Follow a conversation from `after` (or from now) on, without a gap or a double.

        Args:
            follower: who.
            conversation_id: what.
            form: how events look.
            label: what the client calls the conversation.
            missed: how events that were missed look; by default as live ones.
            after: the sequence up to which the client has everything.
            ready: called once, before the first live event, with the position up to which all was sent.

        Raises what `may_follow` and the engines raise, also for one who is put out while they catch up.
        """
        _, standing = await self._chat.fresh_place(follower.tenant, conversation_id, follower.user)
        may_follow(standing)
        # One text for all who follow, not one for each.
        outlet = sys.intern(f"{follower.tenant}:chat:{conversation_id}:{form.name}:{label}")
        seat = Seat(follower, outlet)
        room = await self._delivery.follow(conversation_id)
        followed = self._followed.get(conversation_id)
        if followed is None or followed.room is not room:
            followed = self._followed[conversation_id] = Followed(room)
        followed.followers.setdefault(follower.user, []).append(seat)
        followed.outlets.setdefault(outlet, (form, label))
        try:
            # Somebody may have been put out between the look and the seat: look again, from the seat.
            _, standing = await self._chat.fresh_place(follower.tenant, conversation_id, follower.user)
            may_follow(standing)
            if after is not None and after > room.position:
                await self._come_to(room, follower.tenant, after)
            position = room.position if after is None else after
            while position < room.position and not seat.has_left():
                page = await self._page(conversation_id, position)
                events = [event for event in page.events if event.seq <= room.position]
                if seat.has_left():
                    break
                if not events:
                    position = room.position  # retention has taken what there was
                    continue
                position = events[-1].seq
                events = [event for event in events if standing.sees(event.seq)]
                if missed is not None and events:
                    follower.write(missed(events))
                elif len(events) == len(page.events):
                    follower.write(page.frames(form, label, outlet))
                elif events:
                    follower.write(form.frames(label, events))
                await calm(follower.subscriber)
            if not seat.has_left():
                ready(position)
                self._hub.join(follower.subscriber, outlet)
                seat.joined = True
        except BaseException:
            self.leave(conversation_id, seat)
            raise
        if seat.left:  # put out while it caught up
            raise NotAMemberError
        return seat

    async def _come_to(self, room: LiveRoom, tenant: TenantId, seq: int) -> None:
        """Wait for what another server has told this client already; else it would be told it twice."""
        head = await self._chat.head(tenant, room.conversation_id)
        if seq > head.last_seq:
            raise InvalidInputError(
                "this conversation has not come so far",
                field="after",
                hint=f"its last sequence is {head.last_seq}",
            )
        if not await self._delivery.moved(room, seq - 1, asyncio.get_running_loop().time() + BEHIND_SECONDS):
            raise OverloadedError("this server is behind; follow again", retry_after_seconds=1)

    async def _page(self, conversation_id: int, position: int) -> "Page":
        """What comes after a position; all who ask while it is read share it, and its encoding."""
        key = (conversation_id, position)
        task = self._pages.get(key)
        if task is None:
            task = self._pages[key] = asyncio.get_running_loop().create_task(
                self._read(conversation_id, position)
            )
            task.add_done_callback(lambda _: self._pages.pop(key, None))
        return await asyncio.shield(task)

    async def _read(self, conversation_id: int, position: int) -> "Page":
        return Page(await self._chat.events_after(conversation_id, position, PAGE))

    def leave(self, conversation_id: int, seat: Seat) -> None:
        """Follow it no longer."""
        if seat.left:
            return
        seat.left = True
        if seat.joined:
            self._hub.leave(seat.follower.subscriber, seat.outlet)
        followed = self._followed.get(conversation_id)
        if followed is None:
            return
        seats = followed.followers.get(seat.follower.user, [])
        if seat in seats:
            seats.remove(seat)
            if not seats:
                del followed.followers[seat.follower.user]
        if not any(other.outlet == seat.outlet for others in followed.followers.values() for other in others):
            followed.outlets.pop(seat.outlet, None)
        if not followed.followers:
            self._followed.pop(conversation_id, None)
        self._delivery.unfollow(followed.room)


async def calm(subscriber: Subscriber) -> None:
    """Wait until what was sent has mostly been taken: what was missed is no reason to cut a reader."""
    transport = subscriber.transport
    if transport is None:
        return
    deadline = asyncio.get_running_loop().time() + STUCK_SECONDS
    while transport.get_write_buffer_size() > CALM_BYTES and not transport.is_closing():
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(CALM_SECONDS)
