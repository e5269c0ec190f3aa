"""The `database` engine as its callers see it.

Invariant: a call returns, or raises an error of `database.errors`, within its deadline, whatever
the server does; and what `execute` or a transaction acknowledged has been committed.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import asyncpg

from twelvefold.engines.database.errors import ContendedError, translated
from twelvefold.engines.database.listener import Listener
from twelvefold.engines.database.pool import Pool
from twelvefold.engines.database.session import GRACE_SECONDS, Verbs, connect
from twelvefold.engines.database.transaction import Isolation, Transaction
from twelvefold.kernel.retry import Backoff

T = TypeVar("T")

CONTENTION_BACKOFF = Backoff(first_seconds=0.005, cap_seconds=0.2)
"""Rows are fought over for milliseconds."""


class Database(Verbs):
    """A pool of connections to one PostgreSQL database; for one event loop."""

    def __init__(self, url: str, pool: Pool, *, name: str, deadline_seconds: float) -> None:
        self._url = url
        self._pool = pool
        self._name = name
        self._deadline_seconds = deadline_seconds
        self._limit = deadline_seconds + GRACE_SECONDS
        self._listeners: set[Listener] = set()

    @classmethod
    async def open(
        cls, url: str, *, name: str, min_size: int = 1, max_size: int = 10, deadline_seconds: float = 5.0
    ) -> Self:
        """Connect. Raises `EngineUnavailableError` with one line within five seconds.

        Args:
            url: `postgresql://…`; see `session.connect`.
            name: of this process, shown by the server (`twelvefold web 2`).
            min_size: connections kept open.
            max_size: bound of connections; beyond it callers wait briefly, then are refused.
            deadline_seconds: for each statement.
        """

        async def open_one() -> asyncpg.Connection:
            return await connect(url, name=name, deadline_seconds=deadline_seconds)

        pool = Pool(open_one, min_size=min_size, max_size=max_size)
        await pool.open()
        return cls(url, pool, name=name, deadline_seconds=deadline_seconds)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._pool.size

    @property
    def waiting(self) -> int:
        """Callers waiting for a connection now."""
        return self._pool.waiting

    def transaction(
        self,
        *,
        isolation: Isolation = "read committed",
        read_only: bool = False,
        deadline_seconds: float | None = None,
    ) -> Transaction:
        """`async with database.transaction() as tx:` commits at the end, rolls back on an error.

        Args:
            isolation: for the other two levels prefer `run`, which tries again.
            read_only: the server refuses changes.
            deadline_seconds: for each statement in it, instead of the database's.
        """
        return Transaction(
            self._pool,
            isolation=isolation,
            read_only=read_only,
            deadline_seconds=self._deadline_seconds if deadline_seconds is None else deadline_seconds,
            set_deadline=deadline_seconds is not None,
        )

    async def run(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Isolation = "serializable",
        attempts: int = 8,
        draw: Callable[[], float] = random.random,
    ) -> T:
        """Run `work` in a transaction, again if it lost against others; raises the last `ContendedError`."""
        delays = CONTENTION_BACKOFF.delays(draw)
        for left in range(attempts - 1, -1, -1):
            try:
                async with self.transaction(isolation=isolation) as transaction:
                    return await work(transaction)
            except ContendedError:
                if not left:
                    raise
            await asyncio.sleep(next(delays))
        raise ValueError("attempts must be at least 1")

    async def listen(
        self, channel: str, on_message: Callable[[str], None], *, on_gap: Callable[[], None]
    ) -> Listener:
        """Call `on_message` with the payload of each NOTIFY on `channel`; see `Listener`."""
        listener = Listener(
            lambda: connect(self._url, name=f"{self._name} listen", deadline_seconds=self._deadline_seconds),
            channel,
            on_message,
            on_gap,
            on_close=self._listeners.discard,
        )
        await listener.start()
        self._listeners.add(listener)
        return listener

    async def ping(self) -> float:
        """Seconds that a round trip takes."""
        started = time.perf_counter()
        await self.fetch_value("SELECT 1")
        return time.perf_counter() - started

    async def close(self, *, deadline_seconds: float = 5.0) -> None:
        """Wait for what runs, then close all connections and listeners."""
        for listener in list(self._listeners):
            await listener.close()
        await self._pool.close(deadline_seconds=deadline_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, speak: Callable[[asyncpg.Connection, float], Any]) -> Any:
        connection = self._pool.take() or await self._pool.acquire()
        try:
            result = await speak(connection, self._limit)
        except BaseException as error:
            if isinstance(error, asyncpg.PostgresError):
                # The server refused (or asyncpg in its name): the connection is in step, or is closed.
                self._pool.release(connection)
            else:
                self._pool.retire(connection)
            raise translated(error, sent=True) from error
        self._pool.release(connection)
        return result
