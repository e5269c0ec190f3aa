"""WebSocket frames (RFC 6455), without I/O: bytes in, messages out.

Invariant: whatever arrives, in whatever pieces, a decoder yields exactly the messages and control
frames that RFC 6455 defines, in order, or one fault with the close code to send; it never holds more
than the largest message it takes. No extensions are offered, so every RSV bit is a fault.
"""

import codecs
import struct
from typing import Final

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # C where it is built

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FAULT: Final = -1
"""A decoder's last event: its payload is the pair of close code and reason."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013

_MAX_CONTROL_BYTES: Final = 125
_SHORT: Final = 126
_LONG: Final = 127
_FORBIDDEN_CODES: Final = frozenset({1004, NO_STATUS, ABNORMAL, 1015})
_LAST_DEFINED_CODE: Final = 1014
_PRIVATE_CODES: Final = range(3000, 5000)

_SHORT_HEADS: Final = [[bytes((0x80 | opcode, size)) for size in range(_SHORT)] for opcode in range(16)]
_U16 = struct.Struct("!H")
_U64 = struct.Struct("!Q")
_new_utf8 = codecs.getincrementaldecoder("utf-8")

Event = tuple[int, str | bytes | tuple[int, str]]


def encode(opcode: int, payload: bytes) -> bytes:
    """A whole, unmasked frame, as servers send them."""
    size = len(payload)
    if size < _SHORT:
        return _SHORT_HEADS[opcode][size] + payload
    if size < 1 << 16:
        return bytes((0x80 | opcode, _SHORT)) + _U16.pack(size) + payload
    return bytes((0x80 | opcode, _LONG)) + _U64.pack(size) + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what fits, between characters."""
    if code == NO_STATUS:
        return encode(CLOSE, b"")
    text = reason.encode()[: _MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore")
    return encode(CLOSE, _U16.pack(code) + text.encode())


def decode_close(payload: bytes) -> tuple[int, str] | None:
    """Code and reason of a close frame; None if it is not a valid one."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        return None
    code = int.from_bytes(payload[:2])
    defined = NORMAL <= code <= _LAST_DEFINED_CODE and code not in _FORBIDDEN_CODES
    if not defined and code not in _PRIVATE_CODES:
        return None
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        return None


class Decoder:
    """Takes a client's frames apart. One for each connection, small while idle.

    Args:
        max_message_bytes: larger messages, whole or in fragments, are a fault (1009).
    """

    __slots__ = ("_buffer", "_message", "_need", "_opcode", "_utf8", "max_message_bytes")

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self._buffer: bytearray | None = None
        self._need = 0
        self._message: bytearray | None = None
        self._opcode = CONTINUATION
        self._utf8: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes. After a `FAULT` the decoder must not be fed again."""
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            data = bytes(self._buffer)
            self._buffer = None
        events: list[Event] = []
        start, end = 0, len(data)
        try:
            while start < end:
                following = self._frame(data, start, end, events)
                if following < 0:
                    self._need = -following - start
                    self._buffer = bytearray(data[start:])
                    break
                start = following
        except _FrameError as fault:
            events.append((FAULT, (fault.code, fault.reason)))
        return events

    def _frame(self, data: bytes, start: int, end: int, events: list[Event]) -> int:
        """Read the frame at `start`; returns where the next begins, or minus where this one would end."""
        if end - start < 2:
            return -(start + 2)
        first, second = data[start], data[start + 1]
        opcode = first & 0x0F
        size = second & 0x7F
        self._check_head(first, opcode, second, size)
        at = start + 2
        if size == _SHORT:
            at += 2
            if at > end:
                return -at
            size = _U16.unpack_from(data, start + 2)[0]
            if size < _SHORT:
                raise _FrameError(PROTOCOL_ERROR, "a length is encoded in more bytes than it needs")
        elif size == _LONG:
            at += 8
            if at > end:
                return -at
            size = _U64.unpack_from(data, start + 2)[0]
            if size < 1 << 16 or size >> 63:
                raise _FrameError(PROTOCOL_ERROR, "a length is encoded in more bytes than it needs")
        if opcode < CLOSE and size + self._collected() > self.max_message_bytes:
            raise _FrameError(TOO_BIG, f"messages here have at most {self.max_message_bytes} bytes")
        payload_at = at + 4
        frame_end = payload_at + size
        if frame_end > end:
            return -frame_end
        payload = apply_mask(data[payload_at:frame_end], data[at:payload_at])
        self._take(opcode, bool(first & 0x80), payload, events)
        return frame_end

    def _check_head(self, first: int, opcode: int, second: int, size: int) -> None:
        if first & 0x70:
            raise _FrameError(PROTOCOL_ERROR, "a reserved bit is set, but no extension was agreed on")
        if not second & 0x80:
            raise _FrameError(PROTOCOL_ERROR, "a client's frames are masked")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise _FrameError(PROTOCOL_ERROR, f"there is no opcode {opcode}")
            if not first & 0x80 or size > _MAX_CONTROL_BYTES:
                raise _FrameError(PROTOCOL_ERROR, "a control frame is short and not fragmented")
        elif opcode > BINARY:
            raise _FrameError(PROTOCOL_ERROR, f"there is no opcode {opcode}")
        elif (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            raise _FrameError(PROTOCOL_ERROR, "fragments of two messages are mixed")

    def _take(self, opcode: int, fin: bool, payload: bytes, events: list[Event]) -> None:  # noqa: FBT001  # a bit
        if opcode >= CLOSE:
            events.append((opcode, payload))
        elif fin and opcode != CONTINUATION:
            events.append((opcode, _text(payload) if opcode == TEXT else payload))
        else:
            self._collect(opcode, fin, payload, events)

    def _collect(self, opcode: int, fin: bool, payload: bytes, events: list[Event]) -> None:  # noqa: FBT001  # a bit
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._message = bytearray()
            self._utf8 = _new_utf8() if opcode == TEXT else None
        assert self._message is not None
        self._message += payload
        if self._utf8 is not None:
            # Decoded as it comes, so that bad UTF-8 is refused at its first byte.
            try:
                self._utf8.decode(payload, final=fin)
            except UnicodeDecodeError:
                raise _FrameError(INVALID_DATA, "a text message is not UTF-8") from None
        if fin:
            whole = bytes(self._message)
            events.append((self._opcode, whole.decode() if self._opcode == TEXT else whole))
            self._message = self._utf8 = None
            self._opcode = CONTINUATION

    def _collected(self) -> int:
        return len(self._message) if self._message is not None else 0


class _FrameError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _FrameError(INVALID_DATA, "a text message is not UTF-8") from None


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Our own whole frames, as `encode` made them, taken apart again."""
    parts = []
    at = 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1]
        at += 2
        if size == _SHORT:
            size, at = _U16.unpack_from(data, at)[0], at + 2
        elif size == _LONG:
            size, at = _U64.unpack_from(data, at)[0], at + 8
        parts.append((opcode, data[at : at + size]))
        at += size
    return parts
