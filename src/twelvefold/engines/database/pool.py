"""A bounded set of connections, with refusal instead of queues without end.

Invariants: never more than `max_size` connections are open or being opened; a connection whose
state is in doubt (cancelled, timed out, broken) is never handed out again; whoever waits gets a
connection, a free slot, or a refusal within the bound. After the server's death nothing needs
repair: dead connections are dropped when met, one caller at a time looks whether it is back, and
all others are refused at once.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg

from twelvefold.engines.database.errors import ENGINE
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError

ACQUIRE_SECONDS = 2.0
"""Waiting longer than this for a connection helps no caller."""

WAITERS_PER_CONNECTION = 50
"""At a millisecond a statement this is a queue of 50 ms; beyond it we refuse at once."""

IDLE_SECONDS = 60.0
"""An unused connection beyond the minimum is closed after this: a backend costs megabytes."""

KNOCK_SECONDS = 0.05
"""Between attempts to reach a server that is away. Each costs it a process while it tries to recover, so
a crowd of callers must not all try; they are refused with the last reason instead."""

RETIRE_SECONDS = 0.25
"""How long a doubtful connection may take to cancel its statement before it is cut. PostgreSQL misses
a cancellation that comes before the statement; it notices the cut soon after, and rolls back."""


class Pool:
    """Connections made by `connect`, lent one at a time. For one event loop."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        min_size: int,
        max_size: int,
        acquire_seconds: float = ACQUIRE_SECONDS,
    ) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError("a pool needs 0 <= min_size <= max_size and at least one connection")
        self._connect = connect
        self._min_size = min_size
        self._max_size = max_size
        self._max_waiters = max_size * WAITERS_PER_CONNECTION
        self._acquire_seconds = acquire_seconds
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._size = 0
        self._waiters: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._retiring: set[asyncio.Task[None]] = set()
        self._lent: set[asyncpg.Connection] = set()
        self._closed = False
        self._away: str | None = None
        self._knocking = False
        self._knock_at = 0.0
        self._shrinker: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """Connections open or being opened."""
        return self._size

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection."""
        return len(self._waiters)

    async def open(self) -> None:
        """Open the minimum, so that a wrong address is found now."""
        first = [await self.acquire() for _ in range(max(1, self._min_size))]
        for connection in first:
            self.release(connection)
        self._shrinker = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._shrink)

    def take(self) -> asyncpg.Connection | None:
        """An idle connection, if there is one: the quick way past `acquire`."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                self._lent.add(connection)
                return connection
            self._size -= 1
        return None

    async def acquire(self) -> asyncpg.Connection:
        """A connection, to be given back by `release` or `retire`.

        Raises `OverloadedError` when all are busy for too long or too many wait already, and
        `EngineUnavailableError` when a new one cannot be opened.
        """
        while True:
            if self._closed:
                raise EngineUnavailableError(ENGINE, "it is closed in this process")
            if (connection := self.take()) is not None:
                return connection
            if self._size < self._max_size:
                return await self._open_one()
            handed = await self._wait_turn()
            if handed is not None and not handed.is_closed():
                return handed
            if handed is not None:
                self._lent.discard(handed)
                self._size -= 1

    def release(self, connection: asyncpg.Connection) -> None:
        """Give back a connection that is in order."""
        if self._closed or connection.is_closed():
            self.retire(connection)
        elif not self._hand_over(connection):
            self._lent.discard(connection)
            self._idle.append((connection, time.monotonic()))

    def retire(self, connection: asyncpg.Connection) -> None:
        """Give back a connection that must not be used again; what it runs is cancelled."""
        self._lent.discard(connection)
        if connection.is_closed():
            self._free_slot()
            return
        task = asyncio.get_running_loop().create_task(_close(connection), name="database: retire connection")
        self._retiring.add(task)
        task.add_done_callback(self._retired)

    async def close(self, *, deadline_seconds: float) -> None:
        """Refuse from now on, wait for what is lent, close everything."""
        self._closed = True
        if self._shrinker is not None:
            self._shrinker.cancel()
        while self._waiters:
            self._hand_over(None)
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            self.retire(connection)
        deadline = asyncio.get_running_loop().time() + deadline_seconds
        while (self._lent or self._retiring) and asyncio.get_running_loop().time() < deadline:
            if self._retiring:
                await asyncio.wait(self._retiring, timeout=0.05)
            else:
                await asyncio.sleep(0.01)
        for connection in list(self._lent):
            connection.terminate()
        self._lent.clear()

    async def _open_one(self) -> asyncpg.Connection:
        """Open a connection; while the server is known to be away, let only one caller knock at a time."""
        knocking = self._away is not None
        if self._away is not None:
            if self._knocking or time.monotonic() < self._knock_at:
                self._hand_over(None)  # whoever waits for a place shall hear it too
                raise EngineUnavailableError(ENGINE, self._away)
            self._knocking = True
        self._size += 1
        try:
            connection = await self._connect()
        except BaseException as error:
            if isinstance(error, EngineUnavailableError):
                self._away = error.message.partition(": ")[2]
                self._knock_at = time.monotonic() + KNOCK_SECONDS
            self._free_slot()
            raise
        finally:
            if knocking:
                self._knocking = False
        self._away = None
        self._lent.add(connection)
        return connection

    async def _wait_turn(self) -> asyncpg.Connection | None:
        if len(self._waiters) >= self._max_waiters:
            raise OverloadedError(
                f"{len(self._waiters)} requests wait for the database already", retry_after_seconds=1.0
            )
        turn: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            async with asyncio.timeout(self._acquire_seconds):
                return await turn
        except BaseException as error:
            self._pass_on(turn)
            if not isinstance(error, TimeoutError):
                raise
            raise OverloadedError(
                f"all {self._max_size} database connections were busy for {self._acquire_seconds:g} s",
                retry_after_seconds=1.0,
            ) from None

    def _pass_on(self, turn: "asyncio.Future[asyncpg.Connection | None]") -> None:
        """A caller gave up. What it was handed at that very moment goes to the next one."""
        if turn.cancelled() or not turn.done():
            with contextlib.suppress(ValueError):
                self._waiters.remove(turn)
        elif (connection := turn.result()) is not None:
            self.release(connection)
        else:
            self._hand_over(None)

    def _hand_over(self, connection: asyncpg.Connection | None) -> bool:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    def _free_slot(self) -> None:
        self._size -= 1
        self._hand_over(None)

    def _retired(self, task: "asyncio.Task[None]") -> None:
        self._retiring.discard(task)
        self._free_slot()

    def _shrink(self) -> None:
        old = time.monotonic() - IDLE_SECONDS
        spare = self._size - len(self._retiring) - self._min_size
        while spare > 0 and self._idle and self._idle[0][1] < old:
            self.retire(self._idle.pop(0)[0])
            spare -= 1
        self._shrinker = asyncio.get_running_loop().call_later(IDLE_SECONDS / 2, self._shrink)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=RETIRE_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.exceptions.InternalClientError):
        connection.terminate()
