"""One web process: listening sockets, connections, the sweep, and an orderly end.

Several processes share one port by SO_REUSEPORT; the kernel spreads connections over them. Invariant:
what was accepted is finished. A drain stops accepting, lets requests under way end, tells WebSockets
to come back later (1012), and is over by its deadline.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from uvicorn.config import Config

from twelvefold.web.fast_lane import FastLaneProtocol
from twelvefold.web.histogram import LaneTimings
from twelvefold.web.hub import Hub
from twelvefold.web.lanes import BodyLane, FastHall, Lane
from twelvefold.web.limits import Limits

log = structlog.get_logger("web")

SPARE_FILES = 256
"""File descriptors kept for engines, logs and files when connections are bounded by the process's limit."""

SAMPLES_A_SECOND = 8
"""Hot answers that are timed; the rest pay nothing for it."""

_SWEEP_SECONDS = 1.0


class Server:
    """Serves one ASGI application in this process.

    Args:
        app: what answers everything that no lane does.
        sockets: bound sockets from `bind`; the server listens on them and closes them.
        limits: bounds of sizes, times and counts.
        lane: the fast lane's `GET`s.
        lane_timings: gets how long the lane's answers take.
        body_lanes: the fast lane's other requests, see `FastHall`.
        hub: where this process's WebSockets listen; `app.connect` lets them in, if it has that.
        on_drain: called when the drain begins, to end streams that would never end by themselves.
    """

    def __init__(
        self,
        app: Any,
        *,
        sockets: Sequence[socket.socket],
        limits: Limits | None = None,
        lane: Lane | None = None,
        lane_timings: LaneTimings | None = None,
        body_lanes: Mapping[bytes, BodyLane] | None = None,
        hub: Hub | None = None,
        on_drain: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._app = app
        self._sockets = list(sockets)
        self._port = int(self._sockets[0].getsockname()[1])
        self._limits = limits or Limits()
        self._lane = lane
        self._lane_timings = lane_timings
        self._body_lanes = body_lanes
        self._hub = hub
        self._on_drain = tuple(on_drain)
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.hall: FastHall | None = None

    @property
    def port(self) -> int:
        """The port of the first socket."""
        return self._port

    @property
    def connections(self) -> int:
        """Open connections, WebSockets included."""
        return len(self.hall.connections) if self.hall else 0

    async def start(self) -> None:
        """Listen. Returns when connections are accepted."""
        loop = asyncio.get_running_loop()
        limits = msgspec.structs.replace(
            self._limits, max_connections=min(self._limits.max_connections, _files_for_connections())
        )
        hall = FastHall(
            _uvicorn_config(self._app),
            limits,
            loop,
            doorkeeper=self._app if hasattr(self._app, "connect") else None,
            hub=self._hub,
            lane=self._lane,
            timings=self._lane_timings,
            body_lanes=self._body_lanes,
        )
        self.hall = hall
        for sock in self._sockets:
            self._servers.append(
                await loop.create_server(lambda: FastLaneProtocol(hall), sock=sock, backlog=2048)
            )
        self._sweeper = loop.create_task(self._sweep(hall))

    async def serve(self, stop: asyncio.Event | None = None) -> None:
        """Start, run until `stop` is set (or SIGTERM or SIGINT comes, if it is None), drain."""
        if stop is None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self.start()
        try:
            await stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Drain, at most `limits.drain_seconds` long."""
        hall = self.hall
        if hall is None:
            return
        # Connections that the kernel has already completed are ours: take them before we close the door.
        for _ in range(3):
            await asyncio.sleep(0)
        hall.draining = True
        for server in self._servers:
            server.close()
        for call in self._on_drain:
            call()
        try:
            async with asyncio.timeout(self._limits.drain_seconds):
                await self._drain(hall)
        except TimeoutError:
            log.warning("web.drain.cut", connections=len(hall.connections))
        await self._cut(hall)
        self.hall = None

    async def _drain(self, hall: FastHall) -> None:
        while hall.connections or hall.server_state.tasks:
            for connection in list(hall.connections):  # each time: one may have been accepted last of all
                connection.shutdown()
            await asyncio.sleep(0.01)

    async def _cut(self, hall: FastHall) -> None:
        if self._sweeper:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for connection in list(hall.connections):
            connection.transport.abort()
        tasks = list(hall.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for _ in range(2):  # aborted transports close in the next turn
            await asyncio.sleep(0)

    async def _sweep(self, hall: FastHall) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            hall.now = now = hall.loop.time()
            samples = SAMPLES_A_SECOND
            for connection in list(hall.connections):
                connection.sweep(now)
                if samples and isinstance(connection, FastLaneProtocol):
                    samples -= connection.time_next()


def tune_collector() -> None:
    """For a process that only serves: leave what start-up made out of collections, and make them rarer.

    Measured on the redirect path: the default thresholds cost about 3 % of a request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def raise_file_limit() -> None:
    """Allow this process as many open files as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _files_for_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft - SPARE_FILES)


def _uvicorn_config(app: Any) -> Config:
    config = Config(
        app,
        loop="none",
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    return config
