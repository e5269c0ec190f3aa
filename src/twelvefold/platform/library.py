"""`Platform`: everything in the caller's own process, for those who import instead of calling a service.

    async with Platform.open("data") as platform:
        link = await platform.links.create(DEFAULT_TENANT, NewLink(url="https://example.com/"))

The engines run as children of this process and end with it. Workers run beside the caller's code.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from twelvefold.engines.embedded import DataFolder, Supervisor
from twelvefold.kernel.clock import Clock, SystemClock
from twelvefold.platform.catalogue import SYSTEMS
from twelvefold.platform.config import embedded_engines, load
from twelvefold.platform.instance import Instance
from twelvefold.platform.places import data_folder
from twelvefold.platform.up import engine_urls
from twelvefold.platform.work_role import run_workers
from twelvefold.web.traffic import Traffic


class Platform:
    """An open platform. `open` makes it.

    Attributes:
        links: short links; `links.asgi` is an ASGI app to mount.
        chat: conversations.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.links = instance.links
        self.chat = instance.chat
        self.access = instance.access

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        data: str | os.PathLike[str] | None = None,
        *,
        base_url: str = "http://127.0.0.1:8012",
        config: Path | None = None,
        overrides: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> AsyncIterator["Platform"]:
        """Start the engines, migrate, run the workers; end all of it afterwards.

        Args:
            data: the data folder; `./twelvefold-data` if left out.
            base_url: what short URLs begin with.
            config: a `twelvefold.toml`.
            overrides: `section.key=value`, as `-X` on the command line.
            clock: for tests.

        Raises:
            RefusedError: another process has the data folder.
            ConfigurationError: a setting cannot be used.
            EngineUnavailableError: an engine does not answer.
        """
        settings = load(config, overrides).value
        clock = clock or SystemClock()
        with DataFolder.open(data_folder(Path(data) if data is not None else None)) as folder:
            supervisor = Supervisor(folder, embedded_engines(settings))
            try:
                embedded = await asyncio.to_thread(supervisor.start)
                urls = engine_urls(settings, embedded)
                name = f"library-{os.getpid()}"
                instance = await Instance.open(
                    settings, urls, folder.path, clock, name=name, base_url=base_url
                )
                traffic = Traffic(clock, process=name, valkey=None)
                work = asyncio.create_task(
                    run_workers(
                        SYSTEMS, settings, instance.engines, folder.secrets, clock, name=name, traffic=traffic
                    )
                )
                try:
                    yield cls(instance)
                finally:
                    work.cancel()
                    await asyncio.wait((work,))
                    await instance.close()
            finally:
                await asyncio.to_thread(supervisor.stop)
