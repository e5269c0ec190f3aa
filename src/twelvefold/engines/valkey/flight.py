"""What is in flight: an entry for each command, a batch for each write.

An entry is a future or a callback. Whoever answers one goes through here, so that what a caller does in
answer (it raises, it was cancelled) ends here and never reaches the connection or another caller.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from twelvefold.kernel.errors import EngineUnavailableError

Callback = Callable[[Any], None]
Entry = Callback | asyncio.Future[Any]

NEVER = float("inf")
_REPORT_EVERY_SECONDS = 1.0

_log = structlog.get_logger("valkey")


class Timed:
    """A command with a deadline of its own: the pipeline's common deadline leaves it alone."""

    __slots__ = ("_future", "_timer")

    def __init__(
        self, future: asyncio.Future[Any], deadline_seconds: float, on_late: Callable[["Timed", float], None]
    ) -> None:
        self._future = future
        self._timer = future.get_loop().call_later(deadline_seconds, on_late, self, deadline_seconds)

    def __call__(self, reply: Any) -> None:
        """Take the reply, or the error in its place."""
        self._timer.cancel()
        resolve(self._future, reply)


class Batch:
    """The commands of one write, oldest first. `deadline` is in the loop's time."""

    __slots__ = ("count", "deadline", "entries", "size_bytes")

    def __init__(self, entries: deque[Entry], size_bytes: int, deadline: float) -> None:
        self.entries = entries
        self.count = len(entries)
        self.size_bytes = size_bytes
        self.deadline = deadline

    def expire(self) -> list[Entry]:
        """Take out what is late; its places stay taken, so that late replies are dropped in step."""
        late_ones = [entry for entry in self.entries if type(entry) is not Timed]
        self.deadline = NEVER
        kept = [entry if type(entry) is Timed else drop for entry in self.entries]
        self.entries.clear()
        self.entries.extend(kept)
        return late_ones


def resolve(future: asyncio.Future[Any], reply: Any) -> None:
    """Give a future its reply or error, unless its caller has gone."""
    if not future.done():
        if isinstance(reply, BaseException):
            future.set_exception(reply)
        else:
            future.set_result(reply)


class FailureReport:
    """Logs what callbacks raise, at most once a second.

    A bug that comes with every reply must not cost all callers their deadlines by the time logging takes.
    """

    __slots__ = ("_engine", "_event", "_last", "_loop", "_unlogged")

    def __init__(
        self, engine: str, loop: asyncio.AbstractEventLoop, event: str = "valkey.callback.failed"
    ) -> None:
        self._engine = engine
        self._event = event
        self._loop = loop
        self._last = -_REPORT_EVERY_SECONDS
        self._unlogged = 0

    def __call__(self) -> None:
        """Report the exception being handled."""
        now = self._loop.time()
        if now - self._last < _REPORT_EVERY_SECONDS:
            self._unlogged += 1
            return
        _log.exception(self._event, engine=self._engine, unlogged_before=self._unlogged)
        self._last = now
        self._unlogged = 0


def answer(entry: Entry, reply: Any, report: FailureReport) -> None:
    """Give an entry its reply, or an error in its place."""
    if isinstance(entry, asyncio.Future):
        resolve(entry, reply)
        return
    try:
        entry(reply)
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 a caller's bug must not reach the others
        report()


def late(engine: str, deadline_seconds: float) -> EngineUnavailableError:
    """The error for a command that was sent and not answered in time."""
    return EngineUnavailableError(engine, f"no reply in {deadline_seconds:g} s; the command may have run")


def drop(_reply: Any) -> None:
    """Stand in for an entry that has been answered already."""
