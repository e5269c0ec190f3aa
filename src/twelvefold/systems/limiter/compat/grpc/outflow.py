"""What leaves an HTTP/2 connection: all frames of a turn in one write, messages within the peer's windows.

A message that the windows do not take at once waits in line, and goes on when they are widened; its trailers
follow its last byte (RFC 9113 §5.2).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from twelvefold.systems.limiter.compat.grpc.frames import (
    DATA,
    FLOW_CONTROL_ERROR,
    MAX_FRAME,
    PROTOCOL_ERROR,
    ConnectionFaultError,
    Stream,
    frame,
)

_MAX_WINDOW: Final = (1 << 31) - 1
_DEFAULT_WINDOW: Final = 65_535


class Outflow:
    """One connection's.

    Attributes:
        transport: where it goes; None before the connection is made and after its end.
        stream_window: how much a new stream may send.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        is_open: Callable[[Stream], bool],
        sent: Callable[[Stream], None],
    ) -> None:
        self._loop = loop
        self._is_open = is_open
        self._sent = sent
        self.transport: Any = None
        self.stream_window = _DEFAULT_WINDOW
        self._window = _DEFAULT_WINDOW
        self._blocked: deque[Stream] = deque()
        self._out: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Frames that no window bounds."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Write now what was sent in this turn."""
        out, self._out = self._out, []
        if out and self.transport is not None:
            self.transport.write(b"".join(out))

    def message(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer, as far as the windows take it; `sent` is called behind its trailers."""
        size = len(data)
        if size <= stream.window and size <= self._window and size <= MAX_FRAME and not self._blocked:
            self._window -= size
            self.send(b"".join((head, frame(DATA, 0, stream.id, data), trailers)))
            self._sent(stream)
            return
        self.send(head)
        stream.waiting = (data, trailers)
        self._blocked.append(stream)
        self._unblock()

    def widen(self, stream: Stream | None, payload: bytes) -> None:
        """A peer's WINDOW_UPDATE, for a stream or (None) for the connection. Raises `ConnectionFaultError`."""
        more = int.from_bytes(payload, "big") & _MAX_WINDOW
        if not more:
            raise ConnectionFaultError(PROTOCOL_ERROR, "a window update of nothing")
        if stream is None:
            self._window += more
        else:
            stream.window += more
        if (self._window if stream is None else stream.window) > _MAX_WINDOW:
            raise ConnectionFaultError(FLOW_CONTROL_ERROR, "a window overflows")
        self._unblock()

    def resize(self, streams: Iterable[Stream], value: int) -> None:
        """The peer's setting for all streams, those that are open included (RFC 9113 §6.9.2)."""
        if value > _MAX_WINDOW:
            raise ConnectionFaultError(FLOW_CONTROL_ERROR, "a window is at most 2^31-1")
        delta, self.stream_window = value - self.stream_window, value
        for stream in streams:
            stream.window += delta
        self._unblock()

    def _unblock(self) -> None:
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            if not self._is_open(stream) or stream.waiting is None:
                continue
            data, trailers = stream.waiting
            while data:
                size = min(len(data), stream.window, self._window, MAX_FRAME)
                if size <= 0:
                    break
                self.send(frame(DATA, 0, stream.id, data[:size]))
                data = data[size:]
                stream.window -= size
                self._window -= size
            if data:
                stream.waiting = (data, trailers)
                self._blocked.append(stream)
            else:
                stream.waiting = None
                self.send(trailers)
                self._sent(stream)
