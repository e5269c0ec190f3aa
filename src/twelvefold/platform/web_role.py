"""A web process: an instance behind the fast lane, on the port that all web processes share."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from twelvefold import __version__
from twelvefold.console import STATIC
from twelvefold.kernel.clock import SystemClock
from twelvefold.platform.blueprints import blueprint_routes
from twelvefold.platform.catalogue import CATALOGUE
from twelvefold.platform.instance import Instance
from twelvefold.platform.runtime import Runtime
from twelvefold.web.access.routes import access_routes
from twelvefold.web.application import Application
from twelvefold.web.limits import Limits
from twelvefold.web.metrics import page as metrics_page
from twelvefold.web.platform_routes import Overview, SystemCard, platform_routes, platform_sockets
from twelvefold.web.ports import bind
from twelvefold.web.scheduling import ask_for_short_slices
from twelvefold.web.server import Server, raise_file_limit, tune_collector
from twelvefold.web.settings import ServerConfig
from twelvefold.web.traffic import Traffic


async def serve(note: Runtime, data: Path, role: str, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    raise_file_limit()
    ask_for_short_slices()
    clock = SystemClock()
    instance = await Instance.open(
        note.config,
        note.engine_urls,
        data,
        clock,
        name=role,
        base_url=note.url,
        systems=note.systems,
    )
    traffic = Traffic(clock, process=role, valkey=instance.engines.valkey)
    overview = Overview(
        traffic,
        instance.hub,
        clock,
        version=__version__,
        started_at_ms=note.started_at_ms,
        data_dir=note.data_dir,
        systems=_cards(note.systems),
        engines=instance.engines.health,
    )
    counting = asyncio.create_task(traffic.run())
    try:
        server = web_server(instance, note, traffic, overview)
        await server.start()
        await instance.listen()
        tune_collector()
        ready()
        await stop.wait()
        await server.stop()
    finally:
        await overview.close()
        counting.cancel()
        await asyncio.wait((counting,))
        await traffic.close()
        await instance.close()


def web_server(instance: Instance, note: Runtime, traffic: Traffic, overview: Overview) -> Server:
    """The server of one process, not started yet."""
    settings = note.config.server
    mounts = instance.mounts
    timings = {
        mount.name: traffic.watch(mount.name, hot_requests=mount.hot_requests, queue_depth=mount.queue_depth)
        for mount in mounts
    }
    for mount in mounts:
        for name, read in mount.figures.items():
            traffic.gauge(name, read)
    lane = next((mount for mount in mounts if mount.lane is not None), None)
    body_lanes = {
        f"{method} {path} HTTP/1.1".encode(): hot
        for mount in mounts
        for (method, path), hot in mount.body_lanes.items()
    }
    app = Application(
        mounts,
        routers=[
            *access_routes(instance.access, instance.guard, secure_cookies=note.url.startswith("https:")),
            platform_routes(overview),
            blueprint_routes([system.blueprint for system in instance.systems.values()], note.url),
        ],
        sockets=platform_sockets(overview, instance.hub),
        readiness=instance.engines.readiness,
        guard=instance.guard,
        gate=instance.gate,
        hub=instance.hub,
        observer=traffic,
        metrics=lambda: metrics_page(traffic),
        console=STATIC,
        version=__version__,
        request_seconds=settings.request_seconds,
        trusted_proxies=settings.trusted_proxies,
    )
    body_limits = {prefix: limit for mount in mounts for prefix, limit in mount.body_limits.items()}
    return Server(
        app,
        sockets=[bind(settings.host, settings.port)],
        limits=limits_of(settings, body_limits),
        lane=lane.lane if lane is not None else None,
        body_lanes=body_lanes,
        lane_timings=timings[lane.name] if lane is not None else None,
        hub=instance.hub,
        on_drain=[
            instance.streams.drain,
            *(mount.on_drain for mount in mounts if mount.on_drain is not None),
        ],
    )


def _cards(running: Sequence[str]) -> list[SystemCard]:
    return [
        SystemCard(
            name=entry.name,
            title=entry.title,
            group=entry.group,
            promise=entry.promise,
            running=entry.name in running,
            start_command=f"twelvefold up {entry.name}" if entry.built else "",
        )
        for entry in CATALOGUE
    ]


def limits_of(settings: ServerConfig, body_limits: dict[str, int]) -> Limits:
    """The bounds that the configuration asks for."""
    return Limits(
        max_connections=settings.max_connections,
        max_concurrency=settings.max_concurrency,
        max_body_bytes=settings.max_body_bytes,
        keep_alive_seconds=settings.keep_alive_seconds,
        request_seconds=settings.request_seconds,
        drain_seconds=settings.drain_seconds,
        body_bytes_by_prefix=body_limits,
    )
