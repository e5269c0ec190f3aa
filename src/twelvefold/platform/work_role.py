"""The worker process: every system's workers. One that fails ends the process, and `up` starts it again."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.kernel.clock import Clock, SystemClock
from twelvefold.platform import chat, limiter, links
from twelvefold.platform.config import Config
from twelvefold.platform.engines import Engines
from twelvefold.platform.places import CHAT_SECRET, LINKS_SECRET
from twelvefold.platform.runtime import Runtime
from twelvefold.web.traffic import Traffic


async def work(
    note: Runtime, data: Path, ready: Callable[[], None], stop: asyncio.Event, *, name: str = "work"
) -> None:
    """Work until `stop` is set."""
    clock = SystemClock()
    engines = await Engines.open(note.config, note.engine_urls, data, clock, name=name)
    traffic = Traffic(clock, process=name, valkey=engines.valkey)
    try:
        secrets = Secrets(data / "secrets")
        working = asyncio.create_task(
            run_workers(note.systems, note.config, engines, secrets, clock, name=name, traffic=traffic)
        )
        ready()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()  # workers never end by themselves: this raises what ended them
        working.cancel()
        await asyncio.wait((working,))
    finally:
        await traffic.close()
        await engines.close()


async def run_workers(
    systems: Collection[str],
    config: Config,
    engines: Engines,
    secrets: Secrets,
    clock: Clock,
    *,
    name: str,
    traffic: Traffic,
) -> None:
    """Run the workers of some systems until cancelled."""
    workers: list[Coroutine[Any, Any, None]] = [traffic.run()]
    if "links" in systems:
        workers.append(
            links.work(
                engines,
                settings=config.links,
                clock=clock,
                secret=secrets.get(LINKS_SECRET),
                name=name,
                traffic=traffic,
            )
        )
    if "limiter" in systems:
        workers.append(limiter.work(engines, settings=config.limiter, clock=clock))
    if "chat" in systems:
        workers.append(
            chat.work(
                database=engines.database,
                valkey=engines.valkey,
                blobs=engines.blobs,
                settings=config.chat,
                clock=clock,
                secret=secrets.get(CHAT_SECRET),
            )
        )
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker)
