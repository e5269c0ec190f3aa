"""The facts of clicks: their table in the events engine, and how a batch of them waits in the outbox."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.engines.events import EventTable
from twelvefold.systems.links.click_enrichment import ClickFact, Coded

TABLE = "links_clicks"


FACTS = EventTable(TABLE, ClickFact, order_by=("link_id", "ts_ms"), nearly_unique=("visitor",))


FactColumns = Mapping[str, NDArray[Any] | Coded]

_Packed = dict[str, tuple[str, bytes, list[str] | None]]
_decoder = msgspec.msgpack.Decoder(_Packed)


def pack(columns: FactColumns) -> bytes:
    """Columns as bytes."""
    packed: _Packed = {}
    for name, column in columns.items():
        numbers = column.codes if isinstance(column, Coded) else column
        values = list(column.values) if isinstance(column, Coded) else None
        packed[name] = (numbers.dtype.str, numbers.tobytes(), values)
    return msgspec.msgpack.encode(packed)


def unpack(packed: bytes) -> FactColumns:
    """The columns of `pack`."""
    columns: dict[str, NDArray[Any] | Coded] = {}
    for name, (dtype, raw, values) in _decoder.decode(packed).items():
        numbers = np.frombuffer(raw, dtype=dtype)
        columns[name] = numbers if values is None else Coded(numbers, values)
    return columns
