"""Facts for analytics: append batches, ask with SQL, forget by age.

Invariant: an acknowledged batch is durable and is counted exactly once by every later query, however
often it is appended again, compacted, or raced by another process. A query sees whole batches of an hour
or none; batches that arrive while it runs may be left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from twelvefold.kernel.errors import EngineUnavailableError, InvalidInputError, OverloadedError, TooLargeError

MAX_BATCH_ID_BYTES = 120
MAX_RESULT_ROWS = 100_000

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_BATCH_ID = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.=+@,~-]{{0,{MAX_BATCH_ID_BYTES - 1}}}")


class EventColumnsError(InvalidInputError):
    """The columns of a batch do not fit its table."""

    code = "events.columns"


class EventBatchIdError(InvalidInputError):
    """A batch id is 1 to 120 letters, digits and _.=+@,~-, and begins with none of the signs but _."""

    code = "events.batch_id"


class EventResultTooLargeError(TooLargeError):
    """The query gives more rows than one answer takes: aggregate, or add a LIMIT."""

    code = "events.result_too_large"


class EventQueryDeadlineError(EngineUnavailableError):
    """The query took longer than it was given, and was stopped."""

    code = "events.deadline"

    def __init__(self, deadline_seconds: float) -> None:
        super().__init__("events", f"the query was stopped after {deadline_seconds:g} s")


class EventQueryMemoryError(OverloadedError):
    """The query needs more memory than queries may use; ask for a shorter time."""

    code = "events.memory"


class CodedColumn(Protocol):
    """Text as numbers into a list: row `i` is `values[codes[i]]`. Ten times cheaper than a string a row."""

    @property
    def codes(self) -> Any:
        """An integer ndarray, one entry a row."""

    @property
    def values(self) -> Sequence[str]:
        """What the codes mean."""


class Column(msgspec.Struct, frozen=True):
    """A column's Python type."""

    type: type
    nullable: bool

    @classmethod
    def of(cls, name: str, annotation: Any) -> "Column":
        """Read a Struct field's annotation. Raises `ValueError` for a type that cannot be stored."""
        info = msgspec.inspect.type_info(annotation)
        types = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
        nullable = any(isinstance(option, msgspec.inspect.NoneType) for option in types)
        rest = [option for option in types if not isinstance(option, msgspec.inspect.NoneType)]
        if not _NAME.fullmatch(name) or len(rest) != 1 or type(rest[0]) not in _STORED:
            raise ValueError(f"a column cannot be stored: {name}: {annotation}")
        return cls(_STORED[type(rest[0])], nullable)


_STORED: dict[type, type] = {
    msgspec.inspect.IntType: int,
    msgspec.inspect.FloatType: float,
    msgspec.inspect.BoolType: bool,
    msgspec.inspect.StrType: str,
    msgspec.inspect.BytesType: bytes,
}


class EventTable:
    """A table, declared by a frozen Struct with fields of int, float, bool, str, bytes, or one | None.

    Integers are signed 64 bits. `ts_ms: int` is required: the event's time, by which rows are stored by the
    hour. A field that is added later is NULL in older rows.

    Args:
        name: lower-case letters, digits and _; also the folder.
        row: the Struct.
        order_by: how merged segments are sorted: first what queries filter by.
        nearly_unique: columns that hardly repeat (hashes), for which a dictionary only costs.
    """

    def __init__(
        self,
        name: str,
        row: type[msgspec.Struct],
        *,
        order_by: Sequence[str] = ("ts_ms",),
        nearly_unique: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.columns: dict[str, Column] = {
            field.name: Column.of(field.name, field.type) for field in msgspec.structs.fields(row)
        }
        self.order_by = tuple(order_by)
        self.nearly_unique = frozenset(nearly_unique)
        if not _NAME.fullmatch(name):
            raise ValueError(f"a table's name is lower-case letters, digits and _, not {name!r}")
        if self.columns.get("ts_ms") != Column(int, nullable=False):
            raise ValueError(f"{row.__name__} needs `ts_ms: int`, the event's time")
        if unknown := ({*order_by, *nearly_unique} - self.columns.keys()):
            raise ValueError(f"{row.__name__} has no {', '.join(sorted(unknown))}")


class Events(Protocol):
    """All methods raise `EngineUnavailableError` and `OverloadedError`; unknown tables raise `ValueError`."""

    async def append(self, table: str, columns: Mapping[str, Any], *, batch_id: str) -> None:
        """Store rows, durably; each column is an ndarray, a sequence, or a `CodedColumn`.

        The same `batch_id` means the same rows: appending it again changes nothing, at any later time.
        An empty batch is nothing. Raises `EventColumnsError`, `EventBatchIdError`.
        """

    async def query(
        self,
        sql: str,
        table: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        deadline_seconds: float,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a SELECT in which `{events}` stands for the table's rows with `from_ms` <= ts_ms < `to_ms`.

        Values are bound (`?` or `$name`), never written into the text. Give the bounds: they decide what is
        read.
        Raises `EventQueryDeadlineError`, `EventQueryMemoryError`, `EventResultTooLargeError`.
        """

    async def compact(self, table: str) -> int:
        """Merge small segments and remove what merges left behind; returns how many merges there were.

        Call it now and then, from any process; two at once do no harm.
        """

    async def forget(self, table: str, before_ms: int) -> int:
        """Remove all rows of the hours that ended by `before_ms`; returns how many objects went.

        Rows of those hours that are appended later are never seen.
        """

    async def ping(self) -> float:
        """Seconds that the store of the segments took to answer."""

    async def close(self) -> None:
        """Stop queries and let go."""


def check_batch_id(batch_id: str) -> str:
    """Return it if it is one. Raises `EventBatchIdError`."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise EventBatchIdError(field="batch_id")
    return batch_id
