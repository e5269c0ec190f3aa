"""What can go wrong with a statement, as classes that a store can act on.

Invariant: no asyncpg, OSError or TimeoutError leaves this engine. A caller learns whether to give
up (`StatementError`), to answer a conflict (`ConstraintError`), to run the transaction again
(`ContendedError`), or to say "later" (`EngineUnavailableError`), and in the last case whether the
work may have been done after all (`OutcomeUnknownError`).
"""

import re
from typing import ClassVar

import asyncpg

from twelvefold.kernel.errors import (
    EngineUnavailableError,
    InvalidInputError,
    TwelvefoldError,
)

ENGINE = "database"

CONSTRAINT_KINDS = {
    "23502": "not_null",
    "23503": "foreign_key",
    "23505": "unique",
    "23514": "check",
    "23P01": "exclusion",
}

CONTENDED = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock not available in time
}

UNAVAILABLE_CLASSES = {
    "08",  # connection
    "28",  # wrong password or role
    "3D",  # no such database
    "53",  # out of disk, memory or connections
    "57",  # shutting down, starting up, cancelled by an operator
    "58",  # I/O
    "XX",  # damaged data
}

READ_ONLY = "25006"
"""A replica, or a primary that became one."""

QUERY_CANCELLED = "57014"

_ARGUMENT = re.compile(r"^invalid input for query argument \$(\d+)")
_BOUND = re.compile(r"\(value out of (\w+) range\)$")


class StatementError(TwelvefoldError):
    """The database refused a statement; this is a fault in the program."""

    code = "internal"


class ConstraintError(TwelvefoldError):
    """That is taken, or refers to something that is not there."""

    code = "conflict"
    status: ClassVar[int] = 409

    def __init__(self, *, kind: str, constraint: str, table: str, column: str) -> None:
        self.kind = kind
        """`unique`, `foreign_key`, `check`, `not_null` or `exclusion`."""
        self.constraint = constraint
        """The constraint's name, as in the migration; for `not_null` the column's."""
        self.table = table
        self.column = column
        super().__init__()

    def __str__(self) -> str:
        return f"{self.kind} {self.constraint} on {self.table}"


class ContendedError(TwelvefoldError):
    """Others changed the same rows at the same moment; nothing was done, try again."""

    code = "contended"
    status = 503

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, retry_after_seconds=0.1)


class StatementTimeoutError(EngineUnavailableError):
    """A statement ran past its deadline and was cancelled; nothing was done."""

    code = "statement_timeout"


class OutcomeUnknownError(EngineUnavailableError):
    """The connection broke before the answer; the change may or may not have been made."""

    code = "outcome_unknown"


def translated(error: BaseException, *, sent: bool = False) -> BaseException:
    """The error to raise for one that asyncpg or the socket raised.

    Args:
        error: what was caught.
        sent: a statement that changes data outside an open transaction was on its way.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, sent=sent)
    if isinstance(error, asyncpg.InterfaceError) and "connection is closed" not in str(error):
        return StatementError(first_line(error))
    if isinstance(error, TimeoutError):
        return _unavailable("no answer within the deadline", sent=sent)
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.exceptions.InternalClientError):
        return _unavailable(first_line(error), sent=sent)
    return error


def _from_server(error: asyncpg.PostgresError, *, sent: bool) -> TwelvefoldError:
    state = error.sqlstate or ""
    if state in CONSTRAINT_KINDS:
        return ConstraintError(
            kind=CONSTRAINT_KINDS[state],
            constraint=error.constraint_name or error.column_name or "",
            table=error.table_name or "",
            column=error.column_name or "",
        )
    if state in CONTENDED or isinstance(error, asyncpg.exceptions.InvalidCachedStatementError):
        return ContendedError(first_line(error))
    if state == QUERY_CANCELLED:
        return StatementTimeoutError(ENGINE, first_line(error))
    if state[:2] == "22":
        return InvalidInputError(f"a value cannot be stored: {_reason(error)}")
    if state[:2] in UNAVAILABLE_CLASSES or state == READ_ONLY:
        return _unavailable(first_line(error), sent=sent and state[:2] in {"08", "57"})
    return StatementError(f"{state}: {first_line(error)}")


def _unavailable(reason: str, *, sent: bool) -> EngineUnavailableError:
    return OutcomeUnknownError(ENGINE, reason) if sent else EngineUnavailableError(ENGINE, reason)


def _reason(error: BaseException) -> str:
    """What is wrong with a value; asyncpg's own complaints show the value, which may be a secret."""
    argument = _ARGUMENT.search(str(error))
    if argument is None:
        return first_line(error)
    bound = _BOUND.search(str(error))
    wrong = f"is out of the range of {bound[1]}" if bound else "has the wrong form"
    return f"argument {argument[1]} {wrong}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind if it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
