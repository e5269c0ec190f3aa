"""One process's platform: engines, access and systems, opened in order and closed in the reverse.

Both a web process and a library user's own process hold one.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Protocol, Self

from twelvefold.engines.database import migrate
from twelvefold.engines.embedded import EngineUrls
from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.kernel.blueprint import Blueprint
from twelvefold.kernel.clock import Clock
from twelvefold.platform.catalogue import SYSTEMS
from twelvefold.platform.chat import ChatSystem
from twelvefold.platform.config import Config, default_processes
from twelvefold.platform.engines import Engines
from twelvefold.platform.limiter import LimiterSystem
from twelvefold.platform.links import LinksSystem
from twelvefold.platform.places import CHAT_SECRET, LINKS_SECRET, OWNER_KEY
from twelvefold.web.access import key_from_seed
from twelvefold.web.access.service import Access
from twelvefold.web.access.store import AccessStore
from twelvefold.web.guard import ForeignDoor, Gate, Guard
from twelvefold.web.hub import Hub
from twelvefold.web.mount import Mount
from twelvefold.web.ring import SendRing
from twelvefold.web.sse import EventStreams


class LiveFeed(Protocol):
    """Fills the channels of one system while somebody listens to them in this process."""

    def start(self, name: str) -> None:
        """A channel has its first listener."""

    def stop(self, name: str) -> None:
        """A channel has lost its last."""


class System(Protocol):
    """A system of this process, open."""

    blueprint: Blueprint
    mount: Mount

    async def listen(self) -> None:
        """Open the doors that the web server does not have (other ports)."""

    async def close(self) -> None:
        """End what is under way, and let go."""


class Instance:
    """What `open` opened.

    Attributes:
        systems: by name, those that run.
        gate: what guards the API, where a system does that.
    """

    def __init__(
        self,
        *,
        engines: Engines,
        access: Access,
        guard: Guard,
        hub: Hub,
        streams: EventStreams,
        systems: Mapping[str, System],
        gate: Gate | None,
        stack: AsyncExitStack,
    ) -> None:
        self.engines = engines
        self.access = access
        self.guard = guard
        self.hub = hub
        self.streams = streams
        self.systems = systems
        self.gate = gate
        self._stack = stack

    @property
    def mounts(self) -> list[Mount]:
        """What the systems add to the web."""
        return [system.mount for system in self.systems.values()]

    @property
    def links(self) -> LinksSystem:
        """Short links. Raises `KeyError` where they do not run."""
        system = self.systems["links"]
        assert isinstance(system, LinksSystem)
        return system

    @property
    def chat(self) -> ChatSystem:
        """Conversations. Raises `KeyError` where they do not run."""
        system = self.systems["chat"]
        assert isinstance(system, ChatSystem)
        return system

    @classmethod
    async def open(
        cls,
        config: Config,
        urls: EngineUrls,
        data: Path,
        clock: Clock,
        *,
        name: str,
        base_url: str,
        systems: Collection[str] = SYSTEMS,
    ) -> Self:
        """Connect, migrate, wire. Raises one clear error for the first thing that is not there."""
        secrets = Secrets(data / "secrets")
        async with AsyncExitStack() as stack:
            engines = await Engines.open(config, urls, data, clock, name=name)
            stack.push_async_callback(engines.close)
            await migrate(engines.database, "access", files("twelvefold.web.access") / "schema")
            access = Access(AccessStore(engines.database, engines.valkey), clock, systems=SYSTEMS)
            await access.ensure_owner(key_from_seed(secrets.get(OWNER_KEY)))
            guard = Guard(access, clock, public_origins=frozenset({base_url}))
            access.on_change = guard.forget
            feeds: dict[str, LiveFeed] = {}
            hub = Hub(
                asyncio.get_running_loop(),
                on_first=lambda name: _feed_of(feeds, name).start(name),
                on_last=lambda name: _feed_of(feeds, name).stop(name),
                open_ring=SendRing.open if config.server.io_uring else None,
            )
            streams = EventStreams(hub)
            opened: dict[str, System] = {}
            gate: Gate | None = None  # first: the others take it
            if "limiter" in systems:
                limiter = await LimiterSystem.open(
                    engines,
                    settings=config.limiter,
                    clock=clock,
                    valkey_url=urls.valkey,
                    processes=config.server.processes or default_processes(),
                    guard=guard,
                    keys=access,
                    trusted_proxies=config.server.trusted_proxies,
                )
                stack.push_async_callback(limiter.close)
                opened["limiter"] = limiter
                gate = limiter.gate
            door = ForeignDoor(guard, gate, trusted_proxies=config.server.trusted_proxies)
            if "links" in systems:
                links = await LinksSystem.open(
                    engines,
                    settings=config.links,
                    clock=clock,
                    base_url=config.links.public_url or base_url,
                    secret=secrets.get(LINKS_SECRET),
                    spool=data / "spool",
                    hub=hub,
                    streams=streams,
                    verifier=access,
                    door=door,
                    principal_of_key_id=access.principal_of_key_id,
                )
                stack.push_async_callback(links.close)
                feeds["links"] = links.feed
                opened["links"] = links
            if "chat" in systems:
                chat = await ChatSystem.open(
                    database=engines.database,
                    valkey=engines.valkey,
                    blobs=engines.blobs,
                    ids=engines.ids,
                    settings=config.chat,
                    clock=clock,
                    secret=secrets.get(CHAT_SECRET),
                    hub=hub,
                    verifier=access,
                    door=door,
                    server=name,
                )
                stack.push_async_callback(chat.close)
                opened["chat"] = chat
            return cls(
                engines=engines,
                access=access,
                guard=guard,
                hub=hub,
                streams=streams,
                systems={name: opened[name] for name in SYSTEMS if name in opened},
                gate=gate,
                stack=stack.pop_all(),
            )
        raise AssertionError("unreachable")

    async def listen(self) -> None:
        """Open the doors that the web server does not have."""
        for system in self.systems.values():
            await system.listen()

    async def close(self) -> None:
        """Let go of everything."""
        await self._stack.aclose()


class _NoFeed:
    """Of channels that are filled in this process anyway (the overview's)."""

    def start(self, name: str) -> None:
        """Nothing to do."""

    def stop(self, name: str) -> None:
        """Nothing to do."""


_NO_FEED = _NoFeed()


def _feed_of(feeds: Mapping[str, LiveFeed], channel: str) -> LiveFeed:
    """Channels of systems are called `<tenant>:<system>:…`."""
    return feeds.get(channel.split(":", 2)[1], _NO_FEED)
