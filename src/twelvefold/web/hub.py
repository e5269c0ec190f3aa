"""The realtime hub of one process: channels, and who listens.

All that is published to a channel within one turn of the event loop leaves as one write for each
socket, and the writes to many sockets as one system call, where the kernel has rings. A socket with
nothing waiting is written to past its transport, which would queue the bytes and take as long again.
Invariant: the bytes of a payload exist once however many listen; a listener that does not read is cut at
a bound and nobody else notices. Other processes are reached by whoever watches `on_first` and `on_last`.
"""

import asyncio
import os
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from twelvefold.kernel.errors import OverloadedError
from twelvefold.web.frames import TEXT, encode
from twelvefold.web.ring import SendRing

MAX_CHANNELS_OF_ONE = 1_000
RING_FROM = 100
"""Writes of a turn from which laying them out for the ring pays."""

Write = Callable[[bytes], None]


class Subscriber(Protocol):
    """One who listens: a WebSocket or an event stream.

    `writer` takes bytes that are ready to be sent, at once and without raising. `channels` belongs to the hub.
    `fd` is the socket under `transport`, for one whose bytes on the wire are the bytes given; else -1.
    """

    fd: int
    transport: Any
    writer: Write
    channels: "tuple[Channel, ...]"


class Channel:
    """Those who listen to one name. Made by the first, gone with the last."""

    __slots__ = ("blocks", "frames", "name", "roster", "sockets", "streams")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[Subscriber, None] = {}
        self.streams: dict[Subscriber, None] = {}
        self.frames: list[bytes] = []
        self.blocks: list[bytes] = []
        self.roster: Roster | None = None
        """Of `sockets` as they are; None: not made since one came or went."""

    def __len__(self) -> int:
        return len(self.sockets) + len(self.streams)


class Roster:
    """Many who listen by WebSocket, laid out so that the ring takes them as they are.

    To look at each of a thousand sockets in Python takes a tenth as long as to write to it. Here it is one call
    for all of them, as long as nobody came or went.
    """

    __slots__ = ("_fds", "_kind", "_others", "_subscribers", "_transports")

    def __init__(self, subscribers: Iterable[Subscriber]) -> None:
        self._kind: Any = None
        self._subscribers: list[Subscriber] = []
        self._others: list[Subscriber] = []
        for subscriber in subscribers:
            kind = type(subscriber.transport)
            if subscriber.fd >= 0 and (self._kind is None or self._kind is kind):
                self._kind = kind
                self._subscribers.append(subscriber)
            else:
                self._others.append(subscriber)
        self._transports = [subscriber.transport for subscriber in self._subscribers]
        self._fds = array("i", [subscriber.fd for subscriber in self._subscribers])

    def write(self, ring: SendRing, data: bytes) -> None:
        """Write the same to each of them."""
        subscribers, fds, rest = self._subscribers, self._fds, self._others
        if self._transports:
            kind, transports = self._kind, self._transports
            if any(map(kind.get_write_buffer_size, transports)) or any(map(kind.is_closing, transports)):
                rest = [*rest, *(one for one in subscribers if not _is_ready(one))]
                subscribers = [one for one in subscribers if _is_ready(one)]
                fds = array("i", [one.fd for one in subscribers])
        for place, sent in ring.send_all(fds, data):
            subscribers[place].writer(data[sent:])
        for subscriber in rest:
            subscriber.writer(data)


class HubCounts(msgspec.Struct, frozen=True):
    """What the hub has done since the process began, and holds now."""

    channels: int
    published: int
    deliveries: int
    writes: int


class Hub:
    """See the module.

    Args:
        loop: whose turns are gathered.
        on_first: called with a channel's name when its first listener comes.
        on_last: called when its last one has gone.
        open_ring: gives the way to write to many sockets at once, or None; called when it is first needed.
            None: write to one after the other.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_first: Callable[[str], None] | None = None,
        on_last: Callable[[str], None] | None = None,
        open_ring: Callable[[], SendRing | None] | None = SendRing.open,
    ) -> None:
        self._loop = loop
        self._on_first = on_first
        self._on_last = on_last
        self._channels: dict[str, Channel] = {}
        self._dirty: list[Channel] = []
        self._published = 0
        self._deliveries = 0
        self._writes = 0
        self._open_ring = open_ring
        self._ring: SendRing | None = None

    @property
    def counts(self) -> HubCounts:
        """For metrics."""
        return HubCounts(len(self._channels), self._published, self._deliveries, self._writes)

    def listeners(self, name: str) -> int:
        """How many listen to `name` in this process."""
        channel = self._channels.get(name)
        return len(channel) if channel else 0

    # -- listening ------------------------------------------------------------------------------

    def join(self, subscriber: Subscriber, name: str, *, stream: bool = False) -> None:
        """Listen to `name`; twice is once. Raises `OverloadedError` beyond 1,000 channels.

        Args:
            subscriber: who.
            name: the channel; by convention `<tenant>:<system>:…`, so that tenants never share one.
            stream: it takes server-sent events instead of WebSocket frames.
        """
        channel = self._channels.get(name)
        if channel is not None and (subscriber in channel.sockets or subscriber in channel.streams):
            return
        if len(subscriber.channels) >= MAX_CHANNELS_OF_ONE:
            raise OverloadedError(f"one connection can listen to at most {MAX_CHANNELS_OF_ONE} channels")
        if channel is None:
            channel = self._channels[name] = Channel(name)
            if self._on_first:
                self._on_first(name)
        elif channel.frames or channel.blocks:
            # What was published before it came is not for it.
            self._flush()
        channel.roster = None
        (channel.streams if stream else channel.sockets)[subscriber] = None
        subscriber.channels = (*subscriber.channels, channel)

    def leave(self, subscriber: Subscriber, name: str) -> None:
        """Listen to `name` no longer; nothing that was published before is lost, nothing later comes."""
        channel = self._channels.get(name)
        if channel is not None and channel in subscriber.channels:
            if channel.frames or channel.blocks:
                self._flush()
            subscriber.channels = tuple(other for other in subscriber.channels if other is not channel)
            self._remove(subscriber, channel)

    def drop(self, subscriber: Subscriber) -> None:
        """Its connection has ended."""
        channels, subscriber.channels = subscriber.channels, ()
        for channel in channels:
            self._remove(subscriber, channel)

    def _remove(self, subscriber: Subscriber, channel: Channel) -> None:
        channel.roster = None
        channel.sockets.pop(subscriber, None)
        channel.streams.pop(subscriber, None)
        if not channel and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            if self._on_last:
                self._on_last(channel.name)

    # -- publishing -----------------------------------------------------------------------------

    def publish(self, name: str, payload: bytes, *, event: str = "message", event_id: str = "") -> int:
        """Send JSON text to all who listen in this process, at the end of this turn; returns their number.

        Args:
            name: the channel.
            payload: UTF-8 without line breaks, as msgspec encodes JSON.
            event: its kind, for event streams.
            event_id: what an event stream may resume after; empty: none.
        """
        channel = self._channels.get(name)
        if channel is None:
            return 0
        if not channel.frames and not channel.blocks:
            self._mark(channel)
        if channel.sockets:
            channel.frames.append(encode(TEXT, payload))
        if channel.streams:
            channel.blocks.append(event_block(payload, event=event, event_id=event_id))
        self._published += 1
        return len(channel)

    def publish_frame(self, name: str, frame: bytes) -> int:
        """Send a ready WebSocket frame to those who listen by WebSocket; returns their number."""
        channel = self._channels.get(name)
        if channel is None or not channel.sockets:
            return 0
        if not channel.frames and not channel.blocks:
            self._mark(channel)
        channel.frames.append(frame)
        self._published += 1
        return len(channel.sockets)

    def _mark(self, channel: Channel) -> None:
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(channel)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        if len(dirty) == 1:
            self._write_channel(dirty[0])
            return
        gathered: dict[Subscriber, list[bytes]] = {}
        for channel in dirty:
            for members, parts in ((channel.sockets, channel.frames), (channel.streams, channel.blocks)):
                if parts:
                    data = _joined(parts)
                    for subscriber in members:
                        gathered.setdefault(subscriber, []).append(data)
                    self._deliveries += len(members) * len(parts)
            channel.frames, channel.blocks = [], []
        self._writes += len(gathered)
        self._write_each([(subscriber, _joined(parts)) for subscriber, parts in gathered.items()])

    def _write_channel(self, channel: Channel) -> None:
        """Write what waits in this channel alone: the same to all."""
        frames, channel.frames = channel.frames, []
        blocks, channel.blocks = channel.blocks, []
        self._deliveries += len(channel.sockets) * len(frames) + len(channel.streams) * len(blocks)
        if frames:
            self._writes += len(channel.sockets)
            data = _joined(frames)
            ring = self._ring_for(len(channel.sockets))
            if ring is None:
                for subscriber in list(channel.sockets):  # a copy: a write can cut a slow reader, who leaves
                    _write_one(subscriber, data)
            else:
                channel.roster = channel.roster or Roster(channel.sockets)
                channel.roster.write(ring, data)
        if blocks:
            self._writes += len(channel.streams)
            data = _joined(blocks)
            for subscriber in list(channel.streams):
                subscriber.writer(data)

    def _write_each(self, deliveries: list[tuple[Subscriber, bytes]]) -> None:
        """Write to each of them what is its own."""
        ring = self._ring_for(len(deliveries))
        if ring is None:
            for subscriber, data in deliveries:
                _write_one(subscriber, data)
            return
        ready: list[tuple[Subscriber, bytes]] = []
        rest: list[tuple[Subscriber, bytes]] = []
        for delivery in deliveries:
            (ready if _is_ready(delivery[0]) else rest).append(delivery)
        fds = [subscriber.fd for subscriber, _ in ready]
        for place, sent in ring.send_each(fds, [data for _, data in ready]):
            subscriber, data = ready[place]
            subscriber.writer(data[sent:])
        for subscriber, data in rest:
            subscriber.writer(data)

    def _ring_for(self, count: int) -> SendRing | None:
        if count < RING_FROM:
            return None
        if self._open_ring is not None:
            self._ring, self._open_ring = self._open_ring(), None
        return self._ring


def _write_one(subscriber: Subscriber, data: bytes) -> None:
    if _is_ready(subscriber):
        try:
            sent = os.write(subscriber.fd, data)
        except OSError:  # full, or broken: the transport meets the same, and knows what to do
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    subscriber.writer(data)


def _is_ready(subscriber: Subscriber) -> bool:
    """Whether its socket can be written to past its transport.

    One that is closing may have lent its number to another connection already; one that has bytes
    waiting must send those first.
    """
    transport = subscriber.transport
    return subscriber.fd >= 0 and not (transport.is_closing() or transport.get_write_buffer_size())


def _joined(parts: list[bytes]) -> bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def event_block(payload: bytes, *, event: str = "message", event_id: str = "") -> bytes:
    """One server-sent event."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: ".encode() + payload + b"\n\n"
