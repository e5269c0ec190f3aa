"""What the connections of one web process share, and how one of them pauses its reading."""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from twelvefold.web.hub import Hub
from twelvefold.web.limits import Limits
from twelvefold.web.sockets import Doorkeeper


class Hall:
    """What all connections of one process share."""

    __slots__ = (
        "app_state", "config", "connections", "doorkeeper", "draining", "hub", "limits", "loop", "now",
        "refused_connections", "server_state",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        doorkeeper: Doorkeeper | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.config = config
        self.limits = limits
        self.loop = loop
        self.server_state = ServerState()
        self.app_state: dict[str, Any] = {}
        self.connections: set[Any] = self.server_state.connections
        self.draining = False
        self.doorkeeper = doorkeeper
        """Who lets WebSockets in; None: nobody does."""
        self.hub = hub
        self.now = loop.time()
        """Seconds, as of the last sweep; good enough for limits that are many seconds long."""
        self.refused_connections = 0


class Reading(FlowControl):
    """Pauses reading while anyone has a reason to: uvicorn's flow control, or ours."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = False
        self._theirs = False

    def pause_reading(self) -> None:
        """uvicorn: the application lags behind."""
        self._theirs = True
        self._apply()

    def resume_reading(self) -> None:
        """uvicorn: the application has caught up."""
        self._theirs = False
        self._apply()

    def hold(self) -> None:
        """Ours: bytes wait for an answer that is still being made, or the client does not read."""
        self._held = True
        self._apply()

    def release(self) -> None:
        """Ours: go on."""
        self._held = False
        self._apply()

    def _apply(self) -> None:
        wanted = self._held or self._theirs
        if wanted != self.read_paused:
            self.read_paused = wanted
            if wanted:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
