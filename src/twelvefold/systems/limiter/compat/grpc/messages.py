"""The four messages of Envoy's rate-limit service, read and written by hand: protobuf's wire format.

`envoy.service.ratelimit.v3.RateLimitRequest` and `RateLimitResponse`. Unknown fields are skipped, as the
format asks for; what is cut short or malformed raises `MalformedMessageError`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

OK, OVER_LIMIT = 1, 2
UNITS: Final = {"second": 1, "minute": 2, "hour": 3, "day": 4, "month": 5, "year": 6, "week": 7}
UNIT_NAMES: Final = {number: name for name, number in UNITS.items()}
MAX_DESCRIPTORS: Final = 16
MAX_ENTRIES: Final = 16


class MalformedMessageError(ValueError):
    """The bytes are not this message."""


class Descriptor:
    """What a request is about: entries in order, and what it costs if it says so itself."""

    __slots__ = ("cost", "entries", "override")

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.cost: int | None = None
        self.override: tuple[int, str] | None = None


class RateLimitRequest:
    """A question."""

    __slots__ = ("descriptors", "domain", "hits_addend")

    def __init__(self, data: bytes) -> None:
        self.domain = ""
        self.descriptors: list[Descriptor] = []
        self.hits_addend = 0
        for number, value in _fields(data):
            if number == 1:
                self.domain = _text(value)
            elif number == 2:
                self.descriptors.append(_descriptor(value))
                if len(self.descriptors) > MAX_DESCRIPTORS:
                    raise MalformedMessageError(f"a request has at most {MAX_DESCRIPTORS} descriptors")
            elif number == 3:
                self.hits_addend = _number(value)


def _descriptor(data: "bytes | int") -> Descriptor:
    found = Descriptor()
    for number, value in _fields(_bytes(data)):
        if number == 1:
            entry = dict(_fields(_bytes(value)))
            found.entries.append((_text(entry.get(1, b"")), _text(entry.get(2, b""))))
            if len(found.entries) > MAX_ENTRIES:
                raise MalformedMessageError(f"a descriptor has at most {MAX_ENTRIES} entries")
        elif number == 2:
            limit = dict(_fields(_bytes(value)))
            unit = UNIT_NAMES.get(_number(limit.get(2, 0)))
            if unit is not None:
                found.override = (_number(limit.get(1, 0)), unit)
        elif number == 3:
            found.cost = _number(dict(_fields(_bytes(value))).get(1, 0))
    return found


def _fields(data: bytes) -> Iterable[tuple[int, "bytes | int"]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise MalformedMessageError("a field is cut short")
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
            if at > end:
                raise MalformedMessageError("a field is cut short")
        else:
            raise MalformedMessageError(f"wire type {kind} is not used")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise MalformedMessageError("a number is cut short")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def _bytes(value: "bytes | int") -> bytes:
    if isinstance(value, int):
        raise MalformedMessageError("a number stands where a message belongs")
    return value


def _text(value: "bytes | int") -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError("a text is not UTF-8") from error


def _number(value: "bytes | int") -> int:
    if not isinstance(value, int):
        raise MalformedMessageError("a message stands where a number belongs")
    return value


# -- writing --------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number, seven bits a byte."""
    if value < 0x80:
        return bytes((value,))
    pieces = bytearray()
    while value >= 0x80:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


def limit_field(requests_per_unit: int, unit: str, name: str) -> bytes:
    """The field `current_limit` of a status; the same for every answer of a rule."""
    inner = b"\x08" + varint(min(requests_per_unit, 0xFFFFFFFF)) if requests_per_unit else b""
    if unit in UNITS:
        inner += b"\x10" + bytes((UNITS[unit],))
    if name:
        data = name.encode()
        inner += b"\x1a" + varint(len(data)) + data
    return b"\x12" + varint(len(inner)) + inner


def status(code: int, limit: bytes = b"", remaining: int = 0, reset_us: int = 0) -> bytes:
    """One descriptor's status as a field of the response."""
    inner = b"\x08" + bytes((code,)) + limit
    if remaining:
        inner += b"\x18" + varint(min(remaining, 0xFFFFFFFF))
    if reset_us:
        seconds, rest = divmod(reset_us, 1_000_000)
        duration = b""
        if seconds:
            duration += b"\x08" + varint(seconds)
        if rest:
            duration += b"\x10" + varint(rest * 1000)
        inner += b"\x22" + varint(len(duration)) + duration
    return b"\x12" + varint(len(inner)) + inner


def response(code: int, statuses: Sequence[bytes], headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A whole response; `headers` are added to what Envoy sends to its client."""
    pieces = [b"\x08", bytes((code,)), *statuses]
    for name, value in headers:
        key, text = name.encode(), value.encode()
        inner = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(text)) + text
        pieces.append(b"\x1a" + varint(len(inner)) + inner)
    return b"".join(pieces)
