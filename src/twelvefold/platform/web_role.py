"""A web process: an instance behind the fast lane, on the port that all web processes share."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from twelvefold import __version__
from twelvefold.console import STATIC
from twelvefold.kernel.clock import SystemClock
from twelvefold.platform.instance import Instance
from twelvefold.platform.runtime import Runtime
from twelvefold.web.access.routes import access_routes
from twelvefold.web.application import Application
from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind
from twelvefold.web.server import Server, raise_file_limit, tune_collector
from twelvefold.web.settings import ServerConfig


async def serve(note: Runtime, data: Path, role: str, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    raise_file_limit()
    clock = SystemClock()
    instance = await Instance.open(note.config, note.engine_urls, data, clock, name=role, base_url=note.url)
    try:
        server = web_server(instance, note)
        await server.start()
        tune_collector()
        ready()
        await stop.wait()
        await server.stop()
    finally:
        await instance.close()


def web_server(instance: Instance, note: Runtime) -> Server:
    """The server of one process, not started yet."""
    settings = note.config.server
    mount = instance.links.mount
    app = Application(
        [mount],
        routers=[
            *access_routes(instance.access, instance.guard, secure_cookies=note.url.startswith("https:"))
        ],
        readiness=instance.engines.readiness,
        guard=instance.guard,
        hub=instance.hub,
        console=STATIC,
        version=__version__,
        request_seconds=settings.request_seconds,
    )
    return Server(
        app,
        sockets=[bind(settings.host, settings.port)],
        limits=limits_of(settings, dict(mount.body_limits)),
        lane=mount.lane,
        hub=instance.hub,
        on_drain=[instance.streams.drain],
    )


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
