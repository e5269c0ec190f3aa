"""NOTIFY from PostgreSQL, over a connection of its own.

Notifications are hints that something changed, never the change itself: they are lost while the
connection is down. Invariant: after each (re)connection `on_gap` is called, with LISTEN already in
force, so that a reader who looks up the truth then has missed nothing. A server that has gone quiet
is noticed by a probe.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from twelvefold.kernel.retry import Backoff

RECONNECT = Backoff(first_seconds=0.05, cap_seconds=0.05)
"""The caller's copy is stale meanwhile, so look often; it is one connection."""

PROBE_SECONDS = 5.0
PROBE_DEADLINE_SECONDS = 2.0

_CHANNEL = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_log = structlog.get_logger("database")


class Listener:
    """A subscription to one channel. `close` ends it.

    `on_message(payload)` and `on_gap()` are called on the event loop and must be quick; an exception
    of theirs is logged and does not end the subscription.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        channel: str,
        on_message: Callable[[str], None],
        on_gap: Callable[[], None],
        *,
        on_close: Callable[["Listener"], None],
    ) -> None:
        if not _CHANNEL.fullmatch(channel):
            raise ValueError(f"a channel's name is lower-case letters, digits and _, not {channel!r}")
        self._connect = connect
        self._channel = channel
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_close = on_close
        self._connection: asyncpg.Connection | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether notifications arrive at this moment."""
        return self._connection is not None and not self._connection.is_closed()

    async def start(self) -> None:
        """Connect for the first time; raises `EngineUnavailableError` if that fails."""
        await self._attach()
        self._task = asyncio.create_task(self._stay(), name=f"database: listen {self._channel}")

    async def close(self) -> None:
        """End the subscription."""
        self._on_close(self)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._detach()

    async def _attach(self) -> None:
        connection = await self._connect()
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        try:
            async with asyncio.timeout(PROBE_DEADLINE_SECONDS):
                await connection.add_listener(self._channel, self._received)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        self._call(self._on_gap)

    def _detach(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _stay(self) -> None:
        while True:
            await self._until_lost()
            self._detach()
            for delay in RECONNECT.delays():
                try:
                    await self._attach()
                    break
                except Exception as error:  # noqa: BLE001  (a listener that ended would leave caches stale for good)
                    _log.debug("database.listen.retried", channel=self._channel, reason=str(error))
                await asyncio.sleep(delay)

    async def _until_lost(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._lost.wait()
                    return
            connection = self._connection
            if connection is None:
                return
            try:
                await connection.execute("SELECT 1", timeout=PROBE_DEADLINE_SECONDS)
            except Exception:  # noqa: BLE001  (whatever it was, connect anew)
                return

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._call(lambda: self._on_message(str(payload)))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001  (whatever it is, the subscription goes on)
            _log.exception("database.listen.callback_failed", channel=self._channel)
