"""HTTP/2 as a unary gRPC server needs it: frames, streams, flow control; no I/O of its own kind.

Everything a peer can make us keep or do is bounded, and a peer that goes beyond is told so with GOAWAY.
Sources: RFC 9113, RFC 7541, and the floods of CVE-2023-44487 (reset) and CVE-2024-27316 (continuation).
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog

from twelvefold.systems.limiter.compat.grpc.frames import (
    ACK,
    CALM_DOWN,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    MAX_MESSAGE,
    MAX_STREAMS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFaultError,
    Stream,
    frame,
    unpadded,
)
from twelvefold.systems.limiter.compat.grpc.header_blocks import MAX_HEADER_LIST, HeaderBlocks
from twelvefold.systems.limiter.compat.grpc.outflow import Outflow

log = structlog.get_logger("limiter")

_RECEIVE_WINDOW: Final = 1 << 20
_GRACE_RESETS: Final = 200
_MAX_CONTROL: Final = 1_000
"""Settings and pings in a second."""


class Handler(Protocol):
    """What answers calls."""

    def call(self, connection: "Http2Connection", stream: Stream) -> None:
        """A request has arrived in whole: answer with `connection.answer` or `fail`, now or later."""

    def opened(self, connection: "Http2Connection") -> bool:
        """Count a connection; False turns it away."""

    def closed(self, connection: "Http2Connection") -> None:
        """It has gone."""


_ANSWER_HEAD: Final = b"\x88\x0f\x10\x10application/grpc"
"""`:status: 200` by its static index, `content-type` as a literal that is not indexed."""
_TRAILERS_OK: Final = b"\x00\x0bgrpc-status\x010"


class Http2Connection(asyncio.Protocol):
    """One peer."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self.peer = ""
        self._buffer = b""
        self._greeted = False
        self._closed = False
        self._blocks = HeaderBlocks()
        self._streams: dict[int, Stream] = {}
        self._last_stream = 0
        self._outflow = Outflow(self._loop, self._is_open, self._finish)
        self._send = self._outflow.send
        self._received = 0
        self._answers = 0
        self._resets = 0
        self._control = 0
        self._control_since = 0.0
        self._draining = False

    # -- the connection -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self._transport = self._outflow.transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if isinstance(address, tuple) else ""
        if not self._handler.opened(self):
            self._transport.abort()
            return
        settings = ((0x3, MAX_STREAMS), (0x4, _RECEIVE_WINDOW), (0x6, MAX_HEADER_LIST))
        payload = b"".join(struct.pack(">HI", name, value) for name, value in settings)
        window = struct.pack(">I", _RECEIVE_WINDOW)
        self._transport.write(frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, exc: Exception | None) -> None:
        """Calls under way are for nobody now."""
        del exc
        self._closed = True
        self._outflow.transport = None
        self._streams.clear()
        self._handler.closed(self)

    def pause_writing(self) -> None:
        """The peer does not read; neither do we."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()

    def drain(self) -> None:
        """Take no new calls; close when those under way are answered."""
        if not self._closed and not self._draining:
            self._draining = True
            self._send(frame(GOAWAY, 0, 0, struct.pack(">II", self._last_stream, NO_ERROR)))
            self._outflow.flush()
            if not self._streams:
                self._transport.close()

    def abort(self) -> None:
        """End it now."""
        self._closed = True
        self._outflow.transport = None
        self._transport.abort()

    # -- reading --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self._closed:
            return
        if self._buffer:
            data = self._buffer + data
        try:
            if not self._greeted:
                data = self._greet(data)
            self._buffer = data[self._take_frames(data) :] if self._greeted else data
        except ConnectionFaultError as fault:
            self._go_away(fault)

    def _greet(self, data: bytes) -> bytes:
        if data.startswith(PREFACE):
            self._greeted = True
            return data[len(PREFACE) :]
        if not PREFACE.startswith(data):
            raise ConnectionFaultError(PROTOCOL_ERROR, "this is not HTTP/2")
        return data

    def _take_frames(self, data: bytes) -> int:
        at, end = 0, len(data)
        while end - at >= 9:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > MAX_FRAME:
                raise ConnectionFaultError(FRAME_SIZE_ERROR, "a frame is larger than announced")
            if end - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            open_stream = self._blocks.open_stream
            if open_stream and (kind != CONTINUATION or stream != open_stream):
                raise ConnectionFaultError(PROTOCOL_ERROR, "a header block was interrupted")
            take = _TAKERS.get(kind)
            if take is not None:  # unknown frames are ignored
                take(self, flags, stream, payload)
            if self._closed:
                return end
        return at

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream & 1:
            raise ConnectionFaultError(PROTOCOL_ERROR, "a client's streams are odd")
        if flags & (PADDED | WITH_PRIORITY):
            payload = unpadded(payload, flags)
            if flags & WITH_PRIORITY:
                if len(payload) < 5:
                    raise ConnectionFaultError(FRAME_SIZE_ERROR, "a priority is five bytes")
                payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(stream, flags, payload)
        else:
            self._blocks.begin(stream, flags, payload)

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        del stream
        self._blocks.go_on(payload)
        if flags & END_HEADERS:
            whose = self._blocks.open_stream
            self._take_block(whose, self._blocks.open_flags, self._blocks.end())

    def _take_block(self, stream_id: int, flags: int, block: bytes) -> None:
        request = self._blocks.request(block)
        stream = self._streams.get(stream_id)
        if stream is not None:  # trailers
            if not flags & END_STREAM:
                raise ConnectionFaultError(PROTOCOL_ERROR, "trailers end their stream")
            self._complete(stream)
            return
        if stream_id <= self._last_stream:
            raise ConnectionFaultError(STREAM_CLOSED, "headers for a stream that has ended")
        self._last_stream = stream_id
        if len(self._streams) >= MAX_STREAMS or self._draining:
            self._send(frame(RST_STREAM, 0, stream_id, struct.pack(">I", REFUSED_STREAM)))
            return
        stream = self._streams[stream_id] = Stream(stream_id, request, self._outflow.stream_window)
        if flags & END_STREAM:
            self._complete(stream)

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= _RECEIVE_WINDOW // 2:
            self._send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.answered:
            if stream_id > self._last_stream or not stream_id:
                raise ConnectionFaultError(PROTOCOL_ERROR, "data for a stream that was never opened")
            return
        stream.message += unpadded(payload, flags) if flags & PADDED else payload
        if len(stream.message) > MAX_MESSAGE + 5:
            self.fail(stream, 8, "a message is larger than this server takes")
        elif flags & END_STREAM:
            self._complete(stream)

    def _complete(self, stream: Stream) -> None:
        if not stream.answered:
            self._handler.call(self, stream)

    def _take_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        if len(payload) != 4:
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a reset is four bytes")
        if stream_id > self._last_stream or not stream_id:
            raise ConnectionFaultError(PROTOCOL_ERROR, "a reset of nothing")
        if self._streams.pop(stream_id, None) is not None:
            self._resets += 1
            if self._resets > _GRACE_RESETS + self._answers:
                raise ConnectionFaultError(CALM_DOWN, "more calls are cancelled than answered")

    def _take_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFaultError(PROTOCOL_ERROR, "settings belong to the connection")
        if flags & ACK:
            if payload:
                raise ConnectionFaultError(FRAME_SIZE_ERROR, "an acknowledgement is empty")
            return
        if len(payload) % 6:
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a setting is six bytes")
        self._count_control()
        for at in range(0, len(payload), 6):
            name, value = struct.unpack_from(">HI", payload, at)
            if name == 0x4:
                self._outflow.resize(self._streams.values(), value)
        self._send(frame(SETTINGS, ACK, 0))

    def _take_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFaultError(PROTOCOL_ERROR, "a ping belongs to the connection")
        if len(payload) != 8:
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a ping is eight bytes")
        if not flags & ACK:
            self._count_control()
            self._send(frame(PING, ACK, 0, payload))

    def _take_window(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        if len(payload) != 4:
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a window update is four bytes")
        stream = self._streams.get(stream_id)
        if stream is not None or not stream_id:
            self._outflow.widen(stream, payload)

    def _take_priority(self, flags: int, stream: int, payload: bytes) -> None:
        del flags, stream
        if len(payload) != 5:
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a priority is five bytes")

    def _take_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        del flags, stream, payload
        self._draining = True
        if not self._streams:
            self._transport.close()

    def _take_push(self, flags: int, stream: int, payload: bytes) -> None:
        del flags, stream, payload
        raise ConnectionFaultError(PROTOCOL_ERROR, "a client does not push")

    def _count_control(self) -> None:
        now = self._loop.time()
        if now - self._control_since > 1:
            self._control, self._control_since = 0, now
        self._control += 1
        if self._control > _MAX_CONTROL:
            raise ConnectionFaultError(CALM_DOWN, "too many settings and pings")

    # -- answering ------------------------------------------------------------------------------

    def answer(self, stream: Stream, message: bytes) -> None:
        """Send a message and the status 0; what the peer's windows do not take now follows later."""
        if self._streams.get(stream.id) is not stream or stream.answered:
            return
        stream.answered = True
        data = b"\x00" + len(message).to_bytes(4, "big") + message
        head = frame(HEADERS, END_HEADERS, stream.id, _ANSWER_HEAD)
        trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream.id, _TRAILERS_OK)
        self._outflow.message(stream, head, data, trailers)

    def fail(self, stream: Stream, status: int, reason: str) -> None:
        """Send a gRPC status other than 0, without a message."""
        if self._streams.get(stream.id) is not stream or stream.answered:
            return
        stream.answered = True
        text = "".join(c if " " <= c <= "~" and c != "%" else "?" for c in reason[:100]).encode()
        code = str(status).encode()
        block = (
            _ANSWER_HEAD
            + b"\x00\x0bgrpc-status"
            + bytes([len(code)])
            + code
            + b"\x00\x0cgrpc-message"
            + bytes([len(text)])
            + text
        )
        self._send(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, block))
        self._finish(stream)

    def _is_open(self, stream: Stream) -> bool:
        return self._streams.get(stream.id) is stream

    def _finish(self, stream: Stream) -> None:
        self._answers += 1
        self._streams.pop(stream.id, None)
        if self._draining and not self._streams:
            self._outflow.flush()
            self._transport.close()

    def _go_away(self, fault: ConnectionFaultError) -> None:
        log.info("limiter.grpc.closed", reason=str(fault))
        reason = str(fault).encode()
        self._send(frame(GOAWAY, 0, 0, struct.pack(">II", self._last_stream, fault.code) + reason))
        self._outflow.flush()
        self._outflow.transport = None
        self._closed = True
        self._transport.close()


_Taker = Callable[[Http2Connection, int, int, bytes], None]
_TAKERS: Final[dict[int, _Taker]] = {
    DATA: Http2Connection._take_data,  # noqa: SLF001 - its own table
    HEADERS: Http2Connection._take_headers,  # noqa: SLF001
    PRIORITY: Http2Connection._take_priority,  # noqa: SLF001
    RST_STREAM: Http2Connection._take_reset,  # noqa: SLF001
    SETTINGS: Http2Connection._take_settings,  # noqa: SLF001
    PUSH_PROMISE: Http2Connection._take_push,  # noqa: SLF001
    PING: Http2Connection._take_ping,  # noqa: SLF001
    GOAWAY: Http2Connection._take_goaway,  # noqa: SLF001
    WINDOW_UPDATE: Http2Connection._take_window,  # noqa: SLF001
    CONTINUATION: Http2Connection._take_continuation,  # noqa: SLF001
}
