"""One process's engines: opened together, closed together, asked together how they are."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from twelvefold.engines.blobs import Blobs, open_blobs
from twelvefold.engines.database import Database
from twelvefold.engines.embedded import EngineUrls
from twelvefold.engines.events import Events, ParquetEvents
from twelvefold.engines.identity import WorkerLease
from twelvefold.engines.log import Capability, ValkeyStreams, require
from twelvefold.engines.realtime import Realtime, ValkeyPubSub
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import ConfigurationError, TwelvefoldError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.platform.config import EMBEDDED, Config
from twelvefold.systems.links.store.facts import FACTS

PING_SECONDS = 1.0
T = TypeVar("T")


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is. `detail` says what is wrong, or is empty."""

    name: str
    kind: str
    healthy: bool
    detail: str
    latency_ms: float | None


class Engines:
    """Open engines of this process. Made by `open`; `close` releases the worker lease and disconnects."""

    def __init__(
        self,
        *,
        config: Config,
        database: Database,
        valkey: Valkey,
        cache: Valkey,
        log: ValkeyStreams,
        blobs: Blobs,
        events: Events,
        realtime: Realtime,
        lease: WorkerLease,
        stack: AsyncExitStack,
    ) -> None:
        self._config = config
        self.database = database
        self.valkey = valkey
        self.cache = cache
        self.log = log
        self.blobs = blobs
        self.events = events
        self.realtime = realtime
        self._lease = lease
        self._stack = stack

    @classmethod
    async def open(cls, config: Config, urls: EngineUrls, data: Path, clock: Clock, *, name: str) -> Self:
        """Connect to all. Raises one clear error for the first that does not answer."""
        async with AsyncExitStack() as stack:
            database = await _named(
                "database", Database.open(urls.database, name=name, max_size=config.database.pool_size)
            )
            stack.push_async_callback(database.close)
            valkey = await _named("valkey", Valkey.open(urls.valkey, name="valkey"))
            stack.push_async_callback(valkey.close)
            cache = await _named("cache", Valkey.open(urls.cache, name="cache"))
            stack.push_async_callback(cache.close)
            log = await _named("log", ValkeyStreams.open(urls.log))
            stack.push_async_callback(log.close)
            require(log, Capability.DURABLE, Capability.RETAINS)
            realtime = await ValkeyPubSub.open(valkey)
            stack.push_async_callback(realtime.close)
            blobs = open_blobs(blobs_url(config, data))
            scratch = data / "scratch" / name
            events = ParquetEvents(blobs, [FACTS], clock, scratch=scratch)
            stack.push_async_callback(events.close)
            lease = await WorkerLease.acquire(database, clock, holder=name)
            stack.push_async_callback(lease.release)
            return cls(
                config=config,
                database=database,
                valkey=valkey,
                cache=cache,
                log=log,
                blobs=blobs,
                events=events,
                realtime=realtime,
                lease=lease,
                stack=stack.pop_all(),
            )
        raise AssertionError("unreachable")

    @property
    def ids(self) -> SnowflakeGenerator:
        """Ids that no other process makes."""
        return self._lease.ids

    async def close(self) -> None:
        """Release and disconnect, in the reverse order of opening."""
        await self._stack.aclose()

    async def health(self) -> list[EngineHealth]:
        """Ask all at once; an engine that does not answer within a second is not healthy."""
        names = ("database", "valkey", "cache", "log")
        pings = (self.database.ping, self.valkey.ping, self.cache.ping, self.log.ping)
        return list(
            await asyncio.gather(*(self._ask(name, ping) for name, ping in zip(names, pings, strict=True)))
        )

    async def readiness(self) -> Mapping[str, str | None]:
        """Engine to what is wrong with it; None where it answers."""
        return {engine.name: None if engine.healthy else engine.detail for engine in await self.health()}

    async def _ask(self, name: str, ping: Callable[[], Awaitable[object]]) -> EngineHealth:
        kind = "embedded" if getattr(self._config, name).url == EMBEDDED else "external"
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PING_SECONDS):
                await ping()
        except TimeoutError:
            return EngineHealth(
                name=name, kind=kind, healthy=False, detail="it does not answer", latency_ms=None
            )
        except TwelvefoldError as error:
            return EngineHealth(name=name, kind=kind, healthy=False, detail=error.message, latency_ms=None)
        latency_ms = round((time.perf_counter() - began) * 1000, 3)
        return EngineHealth(name=name, kind=kind, healthy=True, detail="", latency_ms=latency_ms)


def blobs_url(config: Config, data: Path) -> str:
    """Where objects are."""
    return (data / "blobs").as_uri() if config.blobs.url == EMBEDDED else config.blobs.url


async def _named(engine: str, opening: Awaitable[T]) -> T:
    """Say whose URL it is that cannot be used."""
    try:
        return await opening
    except ConfigurationError as error:
        raise ConfigurationError(f"{engine}.url: {error.message}", field=f"{engine}.url") from error
