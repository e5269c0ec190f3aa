"""One request on its way through the application: its answer so far, and how long it may take to begin.

Deadlines are watched by one sweep for all requests instead of a timer for each (asyncio.timeout costs
8 µs a request, a third of what the server itself does). A deadline counts from the last byte of the
request's body, whose pace the connection bounds, to the first of the response.
"""

import asyncio
from typing import Any, Final

_FIRST_ERROR: Final = 400
_GRAIN_SECONDS: Final = 1.0


class Exchange:
    """ASGI's `send` for one request, with its id and further headers added to the response.

    `status` is 0 until the response begins. `is_bare`: an answer that is no error carries no id, because
    the fast lane gives the same bytes and knows none. `is_gone`: nobody will read the rest.
    """

    __slots__ = ("_request_id", "_send", "due", "headers", "is_bare", "is_gone", "is_late", "status", "task")

    def __init__(self, send: Any, request_id: str, *, is_bare: bool) -> None:
        self._send = send
        self._request_id = request_id
        self.is_bare = is_bare
        self.is_gone = self.is_late = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.due = 0.0
        self.task: asyncio.Task[Any] | None = None

    async def __call__(self, message: dict[str, Any]) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *self.headers]
            if not self.is_bare or self.status >= _FIRST_ERROR:
                headers.append((b"x-request-id", self._request_id.encode()))
            message["headers"] = headers
        try:
            await self._send(message)
        except OSError:
            self.is_gone = True
            raise

    def hearing(self, receive: Any, seconds: float) -> Any:
        """ASGI's `receive`, which moves the deadline along with the body."""

        async def heard() -> Any:
            message = await receive()
            self.due = asyncio.get_running_loop().time() + seconds
            return message

        return heard


class Deadlines:
    """Cancels what has not begun to answer in time.

    Args:
        seconds: how long that may take; it is noticed within a second more, or a quarter more if less.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._grain = min(_GRAIN_SECONDS, seconds / 4)
        self._open: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, exchange: Exchange, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """The present task works for `exchange` from now on."""
        exchange.task = asyncio.current_task()
        exchange.due = now + self.seconds
        self._open.add(exchange)
        if self._timer is None:
            self._timer = loop.call_later(self._grain, self._sweep, loop)

    def end(self, exchange: Exchange) -> None:
        """It is done."""
        self._open.discard(exchange)
        exchange.task = None

    def is_ours(self, exchange: Exchange) -> bool:
        """Whether a cancellation that just came was for the deadline, and for nothing else."""
        task = exchange.task
        return exchange.is_late and task is not None and task.uncancel() == 0

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for exchange in self._open:
            if exchange.due < now and not exchange.status and not exchange.is_late:
                exchange.is_late = True
                assert exchange.task is not None
                exchange.task.cancel()
        self._timer = loop.call_later(self._grain, self._sweep, loop) if self._open else None
