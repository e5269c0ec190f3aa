"""HTTP/2's frames and bounds, and a call as its header block describes it."""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, CALM_DOWN = 0x5, 0x6, 0x7, 0x9, 0xB

MAX_FRAME: Final = 16_384
MAX_STREAMS: Final = 1_000
MAX_MESSAGE: Final = 65_536
MAX_BLOCK: Final = 32_768
MAX_CONTINUATIONS: Final = 16

_frame_head = struct.Struct(">BHBBI").pack


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    size = len(payload)
    return _frame_head(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


class Request:
    """What a header block says that a unary call needs."""

    __slots__ = ("authorization", "content_type", "method", "path")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.path = self.method = self.content_type = b""
        self.authorization = b""
        for name, value in headers:
            if name == b":path":
                self.path = value
            elif name == b":method":
                self.method = value
            elif name == b"content-type":
                self.content_type = value
            elif name == b"authorization":
                self.authorization = value


class Stream:
    """A call under way. `window` is how much of the answer the peer takes now."""

    __slots__ = ("answered", "id", "message", "request", "waiting", "window")

    def __init__(self, stream_id: int, request: Request, window: int) -> None:
        self.id = stream_id
        self.request = request
        self.message = bytearray()
        self.window = window
        self.answered = False
        self.waiting: tuple[bytes, bytes] | None = None


class ConnectionFaultError(Exception):
    """The peer broke the protocol, or a bound."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def unpadded(payload: bytes, flags: int) -> bytes:
    """A payload without its padding. Raises `ConnectionFaultError` when there is more of it than frame."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFaultError(PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]
