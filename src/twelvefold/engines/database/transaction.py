"""A transaction on one lent connection.

Invariants: leaving the block commits (and says so if it could not) or rolls back; a cancelled or
broken one never returns its connection to the pool, which rolls it back on the server; a statement's
failure that was swallowed cannot turn into a silent rollback at the end.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

import asyncpg

from twelvefold.engines.database.errors import StatementError, translated
from twelvefold.engines.database.pool import Pool
from twelvefold.engines.database.session import GRACE_SECONDS, Verbs

Isolation = Literal["read committed", "repeatable read", "serializable"]


class Transaction(Verbs):
    """All statements or none. Use it in one task only, as `async with database.transaction() as tx`."""

    def __init__(
        self,
        pool: Pool,
        *,
        isolation: Isolation,
        read_only: bool,
        deadline_seconds: float,
        set_deadline: bool,
    ) -> None:
        self._pool = pool
        self._limit = deadline_seconds + GRACE_SECONDS
        self._begin = f"BEGIN ISOLATION LEVEL {isolation.upper()}{' READ ONLY' if read_only else ''}"
        if set_deadline:
            self._begin += f"; SET LOCAL statement_timeout = {int(deadline_seconds * 1000)}"
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        connection = await self._pool.acquire()
        try:
            await connection.execute(self._begin, timeout=self._limit)
        except BaseException as error:
            self._pool.retire(connection)
            raise translated(error) from error
        self._connection = connection
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if error is None:
            await self._commit(connection)
        elif isinstance(error, Exception) and not connection.is_closed():
            await self._roll_back(connection)
        else:
            self._pool.retire(connection)

    def savepoint(self) -> "Savepoint":
        """`async with tx.savepoint():` undoes only its own statements when an error leaves the block."""
        return Savepoint(self)

    async def _run(self, speak: Callable[[asyncpg.Connection, float], Any]) -> Any:
        if self._connection is None:
            raise StatementError("this transaction has ended")
        try:
            return await speak(self._connection, self._limit)
        except Exception as error:
            raise translated(error) from error

    async def _commit(self, connection: asyncpg.Connection) -> None:
        try:
            tag = await connection.execute("COMMIT", timeout=self._limit)
        except BaseException as error:
            self._pool.retire(connection)
            raise translated(error, sent=True) from error
        self._pool.release(connection)
        if tag != "COMMIT":
            raise StatementError("a statement of this transaction had failed, so the whole was rolled back")

    async def _roll_back(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.execute("ROLLBACK", timeout=GRACE_SECONDS)
        except Exception:  # noqa: BLE001  (the error that led here is the one to tell)
            self._pool.retire(connection)
        except BaseException:
            self._pool.retire(connection)
            raise
        else:
            self._pool.release(connection)


class Savepoint:
    """See `Transaction.savepoint`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> None:
        await self._transaction.execute("SAVEPOINT twelvefold")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._transaction.execute("RELEASE SAVEPOINT twelvefold")
        elif isinstance(error, Exception):
            await self._transaction.execute("ROLLBACK TO SAVEPOINT twelvefold; RELEASE SAVEPOINT twelvefold")
