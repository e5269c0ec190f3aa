"""Sockets that have come in and not said whose they are: each may stand there for a while, then it is closed.

One timer for all of them: a timer for each costs an idle connection a fifth of its memory.
"""

import asyncio

from twelvefold.web.socket_routes import Socket

CONNECT_SECONDS = 30.0
"""How long a socket may be nobody's."""


class Doorstep:
    """See the module.

    Args:
        code: what a socket that waited too long is closed with.
        reason: why, in words.
    """

    def __init__(self, code: int, reason: str) -> None:
        self._code = code
        self._reason = reason
        self._waiting: dict[Socket, float] = {}
        """Until when, in the loop's time; who came first is first."""
        self._timer: asyncio.TimerHandle | None = None

    def came(self, socket: Socket) -> None:
        """It is here, and nobody's."""
        self._waiting[socket] = asyncio.get_running_loop().time() + CONNECT_SECONDS
        if self._timer is None:
            self._wait(CONNECT_SECONDS)

    def went(self, socket: Socket) -> None:
        """It is somebody's now, or gone."""
        self._waiting.pop(socket, None)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        late = [socket for socket, until in self._waiting.items() if until <= now]
        for socket in late:
            self.went(socket)
            socket.close(self._code, self._reason)
        if self._waiting:
            self._wait(max(0.0, next(iter(self._waiting.values())) - now))
