"""The worker process: every system's workers, each brought back on its own."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.kernel.clock import SystemClock
from twelvefold.platform import links
from twelvefold.platform.engines import Engines
from twelvefold.platform.places import LINKS_SECRET
from twelvefold.platform.runtime import Runtime
from twelvefold.web.traffic import Traffic


async def work(
    note: Runtime, data: Path, ready: Callable[[], None], stop: asyncio.Event, *, name: str = "work"
) -> None:
    """Work until `stop` is set."""
    clock = SystemClock()
    engines = await Engines.open(note.config, note.engine_urls, data, clock, name=name)
    try:
        secret = Secrets(data / "secrets").get(LINKS_SECRET)
        traffic = Traffic(clock, process=name, valkey=engines.valkey)
        working = asyncio.create_task(
            _work(
                traffic,
                links.work(
                    engines,
                    settings=note.config.links,
                    clock=clock,
                    secret=secret,
                    name=name,
                    traffic=traffic,
                ),
            )
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
        await engines.close()


async def _work(traffic: Traffic, *workers: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run())
        for worker in workers:
            group.create_task(worker)
