"""Server-sent events, for where WebSockets are blocked: the same channels over plain HTTP.

A stream is a `hub.Subscriber` whose bytes wait here until the client takes them. Invariant: what waits
is bounded; a client that lags behind is cut and resumes with `Last-Event-ID`; silence is broken by a
comment, so that proxies keep the connection and a client that has gone is noticed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from litestar.response import Stream

from twelvefold.web.hub import Channel, Hub, Write

HEARTBEAT_SECONDS: Final = 15.0
MAX_BACKLOG_BYTES: Final = 256 * 1024
RETRY_MS: Final = 1_000
Replay = Callable[[], Awaitable[Sequence[bytes]]]
_HEARTBEAT: Final = b": still here\n\n"


class EventStreams:
    """Makes streams, and ends them all when the server drains."""

    def __init__(
        self,
        hub: Hub,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
    ) -> None:
        self.hub = hub
        self.heartbeat_seconds = heartbeat_seconds
        self.max_backlog_bytes = max_backlog_bytes
        self._open: set[EventStream] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def open(self, *channels: str, replay: Replay | None = None) -> "EventStream":
        """A stream of these channels. It begins to listen when its response begins.

        `replay` is awaited after it has begun to listen; its blocks come first, so that what was
        missed and what happens meanwhile leave no gap (an overlap is the client's to skip, by id).
        """
        return EventStream(self, channels, replay)

    def add(self, stream: "EventStream") -> None:
        """Its response begins."""
        self._open.add(stream)
        if self._draining:
            stream.end()

    def drain(self) -> None:
        """End all; clients connect again, to another process."""
        self._draining = True
        for stream in self._open:
            stream.end()

    def discard(self, stream: "EventStream") -> None:
        """It has ended."""
        self._open.discard(stream)
        self.hub.drop(stream)


class EventStream:
    """One client's events."""

    __slots__ = (
        "_backlog_bytes", "_ended", "_names", "_parts", "_ready", "_replay", "_streams", "channels", "writer",
    )  # fmt: skip

    fd = -1
    transport: Any = None

    def __init__(self, streams: EventStreams, names: tuple[str, ...], replay: Replay | None) -> None:
        self._streams = streams
        self._names = names
        self._replay = replay
        self._parts: list[bytes] = []
        self._backlog_bytes = 0
        self._ready = asyncio.Event()
        self._ended = False
        self.channels: tuple[Channel, ...] = ()
        self.writer: Write = self.push

    def push(self, block: bytes) -> None:
        """Send ready bytes (`hub.event_block`)."""
        if self._ended:
            return
        if self._backlog_bytes + len(block) > self._streams.max_backlog_bytes:
            self._parts.clear()
            self.end()
            return
        self._backlog_bytes += len(block)
        self._parts.append(block)
        self._ready.set()

    def end(self) -> None:
        """No more events; what waits is still sent."""
        self._ended = True
        self._ready.set()

    def response(self) -> Stream:
        """The response that carries this stream; return it from a handler."""
        return Stream(
            self.blocks(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def blocks(self) -> AsyncIterator[bytes]:
        """The stream's bytes, until it ends or the client has gone."""
        self._streams.add(self)
        try:
            for name in self._names:
                self._streams.hub.join(self, name, stream=True)
            missed = await self._replay() if self._replay is not None else ()
            yield b"".join((b"retry: %d\n\n" % RETRY_MS, *missed))
            while True:
                try:
                    async with asyncio.timeout(self._streams.heartbeat_seconds):
                        await self._ready.wait()
                except TimeoutError:
                    yield _HEARTBEAT
                    continue
                self._ready.clear()
                parts, self._parts, self._backlog_bytes = self._parts, [], 0
                if parts:
                    yield b"".join(parts)
                if self._ended and not self._parts:
                    return
        finally:
            self._streams.discard(self)
