"""The facts of clicks: their table in the events engine, and how a batch of them waits in the outbox."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.engines.events import EventTable

TABLE = "links_clicks"


class ClickFact(msgspec.Struct, frozen=True):
    """One click. `visitor` is a keyed hash that changes daily; no address is kept."""

    ts_ms: int
    link_id: int
    country: str
    referrer: str
    device: str
    browser: str
    os: str
    language: str
    bot: bool
    visitor: int


FACTS = EventTable(TABLE, ClickFact, order_by=("link_id", "ts_ms"), nearly_unique=("visitor",))


class CodedText(msgspec.Struct, frozen=True):
    """A text column as numbers into a list: row `i` is `values[codes[i]]`."""

    codes: NDArray[Any]
    values: Sequence[str]


FactColumns = Mapping[str, NDArray[Any] | CodedText]

_Packed = dict[str, tuple[str, bytes, list[str] | None]]
_decoder = msgspec.msgpack.Decoder(_Packed)


def pack(columns: FactColumns) -> bytes:
    """Columns as bytes."""
    packed: _Packed = {}
    for name, column in columns.items():
        numbers = column.codes if isinstance(column, CodedText) else column
        values = list(column.values) if isinstance(column, CodedText) else None
        packed[name] = (numbers.dtype.str, numbers.tobytes(), values)
    return msgspec.msgpack.encode(packed)


def unpack(packed: bytes) -> FactColumns:
    """The columns of `pack`."""
    columns: dict[str, NDArray[Any] | CodedText] = {}
    for name, (dtype, raw, values) in _decoder.decode(packed).items():
        numbers = np.frombuffer(raw, dtype=dtype)
        columns[name] = numbers if values is None else CodedText(numbers, values)
    return columns
