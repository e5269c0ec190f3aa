"""From a code to its destination: near-cache, then Valkey, then the database, one flight a code.

Invariant: an answer that any process changed at least 100 ms ago is not given. Changes are announced
by PostgreSQL in the transaction that makes them; when the listener may have missed something, the
near-cache forgets all. With Valkey away the database answers; with the database away, what is
remembered does.
"""

import asyncio
from collections.abc import Collection

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.links.contracts import Destination, Domain
from twelvefold.systems.links.rules.codes import folded
from twelvefold.systems.links.service.near_cache import NearCache, Space
from twelvefold.systems.links.store.cache import DestinationCache
from twelvefold.systems.links.store.domains import DomainStore
from twelvefold.systems.links.store.links import LinkStore

SERVERS_OWN = Domain(id=0, tenant_id=0, host="", ignore_case=False)


class Resolver:
    """Finds destinations and keeps the caches true."""

    def __init__(
        self, links: LinkStore, domains: DomainStore, cache: DestinationCache, near: NearCache, clock: Clock
    ) -> None:
        self._links = links
        self._domains = domains
        self._cache = cache
        self._near = near
        self._clock = clock
        self._by_host: dict[str, Domain] = {}
        self._flights: dict[tuple[int, str], asyncio.Task[Destination | None]] = {}
        self._refresh: asyncio.Task[None] | None = None
        self.near_hits = 0
        self.misses = 0

    async def start(self) -> None:
        """Read the domains and the cache epoch."""
        self._cache.epoch = await self._links.epoch()
        await self.reload_domains()

    async def close(self) -> None:
        """Wait for what is under way."""
        pending = [task for task in (*self._flights.values(), self._refresh) if task is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def domain_of(self, host: str) -> Domain:
        """The registered domain of a Host header; any other host is the server's own."""
        name = host.lower()
        return self._by_host.get(name) or self._by_host.get(name.partition(":")[0]) or SERVERS_OWN

    def hosts(self) -> Collection[str]:
        """All registered hosts."""
        return self._by_host.keys()

    def space_of(self, domain: Domain) -> Space:
        """The near-cache's part for a domain."""
        return self._near.space(domain.id, ignore_case=domain.ignore_case)

    async def resolve(self, domain: Domain, code: str) -> Destination | None:
        """What a code leads to, tombstones included; None when there is nothing.

        Raises `EngineUnavailableError` when nothing is remembered and the database does not answer.
        """
        name = folded(code, ignore_case=domain.ignore_case)
        key = name.encode("utf-8", "replace")
        space = self.space_of(domain)
        entry = self._near.get(space, key)
        if entry is not None:
            self.near_hits += 1
            return entry[3]
        if self._near.is_missing(space, key):
            return None
        flight = self._flights.get((domain.id, name))
        if flight is None:
            flight = asyncio.create_task(self._fetch(space, name, key))
            self._flights[domain.id, name] = flight
            flight.add_done_callback(lambda _: self._flights.pop((domain.id, name), None))
        # A caller who goes away must not end the flight for the others.
        return await asyncio.shield(flight)

    async def _fetch(self, space: Space, name: str, key: bytes) -> Destination | None:
        self.misses += 1
        ticket = self._near.ticket()
        try:
            remembered = await self._cache.get(space.domain_id, name)
        except TwelvefoldError:
            remembered = None  # the cache is away; the database knows
        if remembered is not None:
            self._near.put(space, key, remembered, ticket)
            return remembered
        destination = await self._links.destination((space.domain_id, name))
        if destination is None:
            self._near.put_missing(space, key, ticket)
            return None
        self._near.put(space, key, destination, ticket)
        await self._cache.fill(space.domain_id, name, destination, self._clock.now_ms())
        return destination

    # What the listener calls; the forms of the news are made in store/links.py.

    def on_news(self, payload: str) -> None:
        """A change was committed somewhere."""
        for line in payload.splitlines():
            verb, *rest = line.split(" ")
            if verb == "c":
                domain_id, name, version = rest
                self._near.invalidate(int(domain_id), name.encode(), int(version))
            elif verb == "n":
                self._near.forget_missing()
            elif verb == "e":
                self._cache.epoch = max(self._cache.epoch, int(rest[0]))
            elif verb == "d":
                self._reload()

    def on_gap(self) -> None:
        """News may have been missed."""
        self._near.forget_all()
        self._reload()

    def _reload(self) -> None:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        for _ in range(20):
            try:
                self._cache.epoch = max(self._cache.epoch, await self._links.epoch())
                await self.reload_domains()
            except TwelvefoldError:
                await asyncio.sleep(0.1)
            else:
                return

    async def reload_domains(self) -> None:
        """Read the registered domains again."""
        self._by_host = {domain.host: domain for domain in await self._domains.domains()}
