"""`/v1/platform`: what runs, how it does, and the same live, once a second, over a WebSocket."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Protocol

import msgspec
import structlog
from litestar import Request, Router, get
from litestar.params import QueryParameter

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.web.guard import principal_of, requires
from twelvefold.web.hub import Hub
from twelvefold.web.moments import rfc3339
from twelvefold.web.socket_routes import Handshake, Socket, SocketHandler, SocketRoute
from twelvefold.web.traffic import Figures, Live, Traffic

log = structlog.get_logger("web")

CHANNEL: Final = "platform:live"
SCOPE: Final = "platform:read"
_QUIET: Final = Figures(0.0, None, None, 0.0, 0)
_Minutes = Annotated[int, QueryParameter(ge=1, le=20)]


class SystemCard(msgspec.Struct, frozen=True, kw_only=True):
    """A system as the console lists it."""

    name: str
    title: str
    group: str
    promise: str
    running: bool
    start_command: str


class EngineState(Protocol):
    """How an engine is. `latency_ms` is None while it does not answer."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def kind(self) -> str:
        """`embedded` or `external`."""

    @property
    def healthy(self) -> bool:
        """Whether it answers."""

    @property
    def detail(self) -> str:
        """What is wrong, if it is not."""

    @property
    def latency_ms(self) -> float | None:
        """How long it took to answer."""


class SystemStatus(SystemCard, frozen=True, kw_only=True):
    """A system's card and its figures now."""

    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors_per_second: float
    queue_depth: int


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An engine."""

    name: str
    kind: str
    healthy: bool
    detail: str
    latency_ms: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The overview. `partial`: figures of other processes are missing, since Valkey does not answer."""

    version: str
    started_at: str
    data_dir: str
    partial: bool
    systems: list[SystemStatus]
    engines: list[EngineStatus]


class SeriesView(msgspec.Struct, frozen=True):
    """One system over time."""

    requests_per_second: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]
    errors_per_second: list[float]
    queue_depth: list[int]


class HistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """All systems over time, oldest first."""

    step_seconds: int
    from_: str = msgspec.field(name="from")
    partial: bool
    series: dict[str, SeriesView]


class EnginePart(msgspec.Struct, frozen=True):
    """What moves in an engine's state."""

    healthy: bool
    latency_ms: float | None
    detail: str


class MovingParts(msgspec.Struct, frozen=True):
    """What the live view sends."""

    at: str
    partial: bool
    systems: dict[str, Figures]
    engines: dict[str, EnginePart]


class Overview:
    """Gathers what the overview shows; for the live view once a second, and only while somebody looks.

    Args:
        traffic: the figures.
        hub: where the live view listens.
        clock: for the time of day.
        version: of Twelvefold.
        started_at_ms: when the platform started.
        data_dir: shown to the first tenant only.
        systems: all systems, running or not.
        engines: asks the engines; bounded in time, and never raises.
    """

    def __init__(
        self,
        traffic: Traffic,
        hub: Hub,
        clock: Clock,
        *,
        version: str,
        started_at_ms: int,
        data_dir: str,
        systems: Sequence[SystemCard],
        engines: Callable[[], Awaitable[Sequence[EngineState]]],
    ) -> None:
        self.traffic = traffic
        self._hub = hub
        self._clock = clock
        self._version = version
        self._started_at_ms = started_at_ms
        self._data_dir = data_dir
        self._systems = tuple(systems)
        self._engines = engines
        self._task: asyncio.Task[None] | None = None
        self.latest = b""
        """The last message of the live view; empty while nobody looks."""

    async def status(self, *, with_data_dir: bool) -> Status:
        """Everything, now."""
        live, engines = await asyncio.gather(self.traffic.live(), self._engines())
        return Status(
            version=self._version,
            started_at=rfc3339(self._started_at_ms),
            data_dir=self._data_dir if with_data_dir else "",
            partial=live.partial,
            systems=[_status_of(card, live) for card in self._systems],
            engines=[
                EngineStatus(
                    name=engine.name,
                    kind=engine.kind,
                    healthy=engine.healthy,
                    detail=engine.detail,
                    latency_ms=engine.latency_ms,
                )
                for engine in engines
            ],
        )

    async def moving_parts(self) -> MovingParts:
        """What changes from second to second."""
        live, engines = await asyncio.gather(self.traffic.live(), self._engines())
        running = {card.name for card in self._systems if card.running}
        return MovingParts(
            rfc3339(self._clock.now_ms()),
            live.partial,
            {**dict.fromkeys(sorted(running), _QUIET), **live.systems},
            {engine.name: EnginePart(engine.healthy, engine.latency_ms, engine.detail) for engine in engines},
        )

    def watch(self) -> None:
        """Somebody looks."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell(), name="platform: live view")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tell(self) -> None:
        while self._hub.listeners(CHANNEL):
            try:
                self.latest = msgspec.json.encode(await self.moving_parts())
                self._hub.publish(CHANNEL, self.latest, event="overview")
            except Exception:
                log.exception(
                    "web.overview.failed"
                )  # and try again: the view must not end for one bad second
            await asyncio.sleep(1)
        self.latest = b""


class _LiveView(SocketHandler):
    __slots__ = ("_hub", "_overview")

    def __init__(self, overview: Overview, hub: Hub) -> None:
        self._overview = overview
        self._hub = hub

    def opened(self, socket: Socket) -> None:
        self._hub.join(socket, CHANNEL)
        if self._overview.latest:
            socket.send_text(self._overview.latest)
        self._overview.watch()


def platform_routes(overview: Overview) -> Router:
    """The router."""
    guards = [requires(SCOPE)]

    @get("/status", guards=guards, summary="What runs, and how it does")
    async def status(request: Request[Any, Any, Any]) -> Status:
        return await overview.status(with_data_dir=principal_of(request).tenant_id == DEFAULT_TENANT)

    @get("/history", guards=guards, summary="The last minutes in steps of five seconds")
    async def history(minutes: _Minutes = 15) -> HistoryView:
        found = await overview.traffic.history(minutes)
        return HistoryView(
            step_seconds=found.step_seconds,
            from_=rfc3339(found.from_ms),
            partial=found.partial,
            series={
                name: SeriesView(
                    series.requests_per_second,
                    series.p50_ms,
                    series.p99_ms,
                    series.errors_per_second,
                    series.queue_depth,
                )
                for name, series in found.series.items()
            },
        )

    return Router("/v1/platform", route_handlers=[status, history], tags=["Platform"])


def platform_sockets(overview: Overview, hub: Hub) -> tuple[SocketRoute, ...]:
    """The live view."""

    async def connect(_: Handshake) -> SocketHandler:
        return _LiveView(overview, hub)

    return (SocketRoute("/v1/platform/live", connect, scope=SCOPE),)


def _status_of(card: SystemCard, live: Live) -> SystemStatus:
    figures = live.systems.get(card.name, _QUIET)
    return SystemStatus(
        **msgspec.structs.asdict(card),
        requests_per_second=figures.requests_per_second,
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        errors_per_second=figures.errors_per_second,
        queue_depth=figures.queue_depth,
    )
