"""The protocol as Protocol Buffers: messages with their length in front, several a WebSocket message.

A small reader and writer over tables of fields, so that no generated code is needed. Unknown fields are
skipped, as the format asks; what is not the format is refused.
"""

from typing import Any

import msgspec

from twelvefold.kernel.errors import MalformedRequestError
from twelvefold.systems.chat.compat.centrifugo.words import Command
from twelvefold.web.frames import BINARY, encode

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 8

# A field: its number, and what it is. "raw" is JSON as bytes; a dict is a message; a list of one is repeated;
# ("map", value) is a map from text.
Fields = dict[str, tuple[int, Any]]

POSITION: Fields = {"offset": (1, "int"), "epoch": (2, "text")}
SUBSCRIBE: Fields = {
    "channel": (1, "text"), "token": (2, "text"), "recover": (3, "bool"), "epoch": (6, "text"), "offset": (7, "int"),
    "data": (8, "raw"), "positioned": (9, "bool"), "recoverable": (10, "bool"), "join_leave": (11, "bool"),
}  # fmt: skip
COMMAND: Fields = {
    "id": (1, "int"),
    "connect": (
        4,
        {"token": (1, "text"), "data": (2, "raw"), "subs": (3, ("map", SUBSCRIBE)), "name": (4, "text")},
    ),
    "subscribe": (5, SUBSCRIBE),
    "unsubscribe": (6, {"channel": (1, "text")}),
    "publish": (7, {"channel": (1, "text"), "data": (2, "raw")}),
    "presence": (8, {"channel": (1, "text")}),
    "presence_stats": (9, {"channel": (1, "text")}),
    "history": (
        10,
        {"channel": (1, "text"), "limit": (7, "int"), "since": (8, POSITION), "reverse": (9, "bool")},
    ),
    "ping": (11, {}),
    "send": (12, {"data": (1, "raw")}),
    "rpc": (13, {"data": (1, "raw"), "method": (2, "text")}),
    "refresh": (14, {"token": (1, "text")}),
    "sub_refresh": (15, {"channel": (1, "text"), "token": (2, "text")}),
}
INFO: Fields = {"user": (1, "text"), "client": (2, "text"), "conn_info": (3, "raw"), "chan_info": (4, "raw")}
PUBLICATION: Fields = {"data": (4, "raw"), "info": (5, INFO), "offset": (6, "int")}
SUBSCRIBED: Fields = {
    "expires": (1, "bool"), "ttl": (2, "int"), "recoverable": (3, "bool"), "epoch": (6, "text"),
    "publications": (7, [PUBLICATION]), "recovered": (8, "bool"), "offset": (9, "int"), "positioned": (10, "bool"),
    "data": (11, "raw"), "was_recovering": (12, "bool"),
}  # fmt: skip
REFRESHED: Fields = {"client": (1, "text"), "version": (2, "text"), "expires": (3, "bool"), "ttl": (4, "int")}
PUSH: Fields = {
    "channel": (2, "text"),
    "pub": (4, PUBLICATION),
    "join": (5, {"info": (1, INFO)}),
    "leave": (6, {"info": (1, INFO)}),
    "unsubscribe": (7, {"code": (2, "int"), "reason": (3, "text")}),
    "disconnect": (11, {"code": (1, "int"), "reason": (2, "text"), "reconnect": (3, "bool")}),
}
REPLY: Fields = {
    "id": (1, "int"),
    "error": (2, {"code": (1, "int"), "message": (2, "text"), "temporary": (3, "bool")}),
    "push": (4, PUSH),
    "connect": (
        5,
        {
            **REFRESHED, "data": (5, "raw"), "subs": (6, ("map", SUBSCRIBED)), "ping": (7, "int"), "pong": (8, "bool"),
            "session": (9, "text"), "node": (10, "text"),
        },
    ),
    "subscribe": (6, SUBSCRIBED),
    "unsubscribe": (7, {}),
    "publish": (8, {}),
    "presence": (9, {"presence": (1, ("map", INFO))}),
    "presence_stats": (10, {"num_clients": (1, "int"), "num_users": (2, "int")}),
    "history": (11, {"publications": (1, [PUBLICATION]), "epoch": (2, "text"), "offset": (3, "int")}),
    "ping": (12, {}),
    "rpc": (13, {"data": (1, "raw")}),
    "refresh": (14, REFRESHED),
    "sub_refresh": (15, {"expires": (1, "bool"), "ttl": (2, "int")}),
}  # fmt: skip


class ProtobufCodec:
    """Bytes to commands, replies to frames."""

    name = "protobuf"
    ping = encode(BINARY, b"\x00")

    def decode(self, message: str | bytes) -> list[Command | None]:
        """The commands of a message; None is a pong. Raises `MalformedRequestError`."""
        if isinstance(message, str):
            raise MalformedRequestError("this connection speaks Protobuf, in binary messages")
        try:
            return [_command(part) for part in _split(message)]
        except (IndexError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise MalformedRequestError("bad request: not a command") from error

    def encode(self, replies: list[dict[str, Any]]) -> bytes:
        """One frame with all replies, each with its length in front."""
        return encode(BINARY, b"".join(_sized(write(REPLY, reply)) for reply in replies))


def _command(part: bytes) -> Command | None:
    return msgspec.convert(read(COMMAND, part, 0), Command) if part else None


def _split(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(data):
        size, at = _varint(data, at)
        if at + size > len(data):
            raise IndexError
        parts.append(data[at : at + size])
        at += size
    return parts


def read(fields: Fields, data: bytes, depth: int) -> dict[str, Any]:
    """A message as builtins. Raises `IndexError` for a torn one, `UnicodeDecodeError`."""
    if depth > MAX_DEPTH:
        raise IndexError
    by_number = {number: (name, kind) for name, (number, kind) in fields.items()}
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == VARINT:
            value, at = _varint(data, at)
        elif tag & 7 == BYTES:
            size, at = _varint(data, at)
            value = data[at : at + size]
            if len(value) < size:
                raise IndexError
            at += size
        elif tag & 7 in (FIXED64, FIXED32):
            at += 8 if tag & 7 == FIXED64 else 4
            continue
        else:
            raise IndexError
        if tag >> 3 in by_number:
            name, kind = by_number[tag >> 3]
            _put(found, name, kind, value, depth)
    return found


def _put(found: dict[str, Any], name: str, kind: Any, value: int | bytes, depth: int) -> None:
    if isinstance(value, int):
        if kind not in ("int", "bool"):
            raise IndexError
        found[name] = bool(value) if kind == "bool" else value
    elif kind == "text":
        found[name] = value.decode()
    elif kind == "raw":
        found[name] = msgspec.Raw(value)
    elif isinstance(kind, dict):
        found[name] = read(kind, value, depth + 1)
    elif isinstance(kind, tuple):
        pair = read({"key": (1, "text"), "value": (2, kind[1])}, value, depth + 1)
        found.setdefault(name, {})[pair.get("key", "")] = pair.get("value", {})
    else:
        raise IndexError


def write(fields: Fields, value: dict[str, Any]) -> bytes:
    """Builtins as a message; what has its default value is left out, except for messages."""
    parts: list[bytes] = []
    for name, given in value.items():
        number, kind = fields[name]
        if isinstance(kind, list):
            parts += [_field(number, kind[0], one) for one in given]
        else:
            parts.append(_field(number, kind, given))
    return b"".join(parts)


def _field(number: int, kind: Any, value: Any) -> bytes:
    if kind in ("int", "bool"):
        return _number(number << 3) + _number(int(value)) if value else b""
    head = _number(number << 3 | BYTES)
    if kind == "text":
        return head + _sized(value.encode()) if value else b""
    if kind == "raw":
        return head + _sized(bytes(value)) if value is not None else b""
    if isinstance(kind, tuple):
        pair: Fields = {"key": (1, "text"), "value": (2, kind[1])}
        return b"".join(head + _sized(write(pair, {"key": key, "value": one})) for key, one in value.items())
    return head + _sized(write(kind, value))


def _sized(data: bytes) -> bytes:
    return _number(len(data)) + data


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IndexError
