"""A role by itself: a web or worker process that nobody supervises, for hosts where something else does.

Its engines are URLs of the configuration; where they are embedded, it joins the `up` that runs them.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import structlog
import uvloop

from twelvefold.engines.embedded import EngineUrls
from twelvefold.kernel.errors import ConfigurationError
from twelvefold.kernel.telemetry import configure_logging
from twelvefold.platform import runtime
from twelvefold.platform.catalogue import SYSTEMS
from twelvefold.platform.config import SERVER_ENGINES, embedded_engines, load
from twelvefold.platform.places import data_folder
from twelvefold.platform.up import shown_host

log = structlog.get_logger("platform")


def run_alone(
    role: Literal["web", "work"], data: Path | None, config: Path | None, overrides: Sequence[str]
) -> None:
    """Run until SIGTERM or SIGINT. Raises `ConfigurationError`, `RefusedError`, `EngineUnavailableError`."""
    folder = data_folder(data)
    settings = load(config, overrides).value
    configure_logging(settings.logging.level)
    if embedded_engines(settings):
        joined = runtime.read(folder)
        settings = msgspec.structs.replace(joined.config, server=settings.server)
        urls = joined.engine_urls
    else:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        urls = EngineUrls(**{name: getattr(settings, name).url for name in SERVER_ENGINES})
    server = settings.server
    if role == "web" and not server.port:
        raise ConfigurationError(
            "server.port: a web process that shares its port needs to know which", field="server.port"
        )
    note = runtime.Runtime(
        pid=os.getpid(),
        url=server.public_url or f"http://{shown_host(server.host)}:{server.port}",
        data_dir=str(folder),
        started_at_ms=time.time_ns() // 1_000_000,
        systems=SYSTEMS,
        engine_urls=urls,
        config=settings,
    )
    uvloop.run(_run(role, note, folder))


async def _run(role: str, note: runtime.Runtime, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    name = f"{role}-{os.uname().nodename}-{os.getpid()}"

    def ready() -> None:
        log.info("platform.role.ready", role=role, url=note.url)

    if role == "work":
        from twelvefold.platform.work_role import work  # noqa: PLC0415 - a role pays only for what it runs

        await work(note, folder, ready, stop, name=name)
    else:
        from twelvefold.platform.web_role import serve  # noqa: PLC0415

        await serve(note, folder, name, ready, stop)
