"""Links, wired: stores on engines, services on stores, doors on services."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from twelvefold.engines.database import migrate
from twelvefold.engines.log import SpooledPublisher, SpoolLimits
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.tenancy import Principal
from twelvefold.platform.engines import Engines
from twelvefold.systems.links.blueprint import BLUEPRINT
from twelvefold.systems.links.click_batches import key_of_day
from twelvefold.systems.links.click_codec import encode
from twelvefold.systems.links.click_enrichment import Enricher
from twelvefold.systems.links.compat.yourls import YourlsApi
from twelvefold.systems.links.routes.api import MAX_BULK_BYTES, link_routes
from twelvefold.systems.links.routes.lane import RedirectLane
from twelvefold.systems.links.routes.live import LiveFeed, live_routes, live_socket
from twelvefold.systems.links.routes.more import (
    abuse_routes,
    domain_routes,
    id_routes,
    paste_routes,
    signature_routes,
)
from twelvefold.systems.links.routes.redirect import PublicPages
from twelvefold.systems.links.rules.codes import BASE62, CodeSpace
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.allocator import CodeAllocator
from twelvefold.systems.links.service.budgets import ClickBudgets
from twelvefold.systems.links.service.creation import LinkCreation
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.links import Links
from twelvefold.systems.links.service.live import Watches
from twelvefold.systems.links.service.near_cache import NearCache
from twelvefold.systems.links.service.passwords import Passwords
from twelvefold.systems.links.service.pastes import Pastes
from twelvefold.systems.links.service.redirects import Redirects
from twelvefold.systems.links.service.resolver import Resolver
from twelvefold.systems.links.service.signatures import Signatures
from twelvefold.systems.links.service.stats import ClickStats
from twelvefold.systems.links.service.titles import TitleFetcher
from twelvefold.systems.links.service.visitors import Visitors
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.systems.links.store.attempts import AttemptStore
from twelvefold.systems.links.store.cache import DestinationCache
from twelvefold.systems.links.store.clicks import ClickStore
from twelvefold.systems.links.store.domains import DomainStore
from twelvefold.systems.links.store.ends import EndStore
from twelvefold.systems.links.store.links import CHANNEL, LinkStore
from twelvefold.systems.links.store.pastes import PasteStore
from twelvefold.systems.links.store.rollup import DayRollup
from twelvefold.systems.links.store.signatures import SignatureStore
from twelvefold.systems.links.store.watches import WatchStore
from twelvefold.systems.links.visits import Countries, VisitReader
from twelvefold.systems.links.workers import GROUP, TOPIC, ClickWorker, EndWorker
from twelvefold.web.guard import ForeignDoor, Verifier
from twelvefold.web.hub import Hub
from twelvefold.web.mount import Mount
from twelvefold.web.sse import EventStreams
from twelvefold.web.traffic import Traffic

FLUSH_MS = 25
"""How much of the clicks a kill -9 of a web process can lose; the blueprint promises it."""

PrincipalOfKeyId = Callable[[int], Awaitable[Principal | None]]


class LinksSystem(Links):
    """The links service of one process, with its parts and its doors. Made by `open`."""

    blueprint = BLUEPRINT

    pastes: Pastes
    stats: ClickStats
    domains: Domains
    abuse: Abuse
    redirects: Redirects
    mount: Mount
    asgi: Any
    """An ASGI app with codes, pastes and `/yourls-api.php` at its root, for a foreign app to mount."""

    feed: LiveFeed
    _stack: AsyncExitStack

    @classmethod
    async def open(
        cls,
        engines: Engines,
        *,
        settings: LinksSettings,
        clock: Clock,
        base_url: str,
        secret: bytes,
        spool: Path,
        hub: Hub,
        streams: EventStreams,
        verifier: Verifier,
        door: ForeignDoor,
        principal_of_key_id: PrincipalOfKeyId,
    ) -> Self:
        """Migrate, wire and start what runs beside the requests."""
        await migrate(engines.database, "links", files("twelvefold.systems.links") / "schema")
        async with AsyncExitStack() as stack:
            cache = DestinationCache(engines.cache)
            link_store, domain_store = LinkStore(engines.database, cache), DomainStore(engines.database)
            near = NearCache(settings.near_cache_entries, clock.monotonic)
            resolver = Resolver(link_store, domain_store, cache, near, clock)
            link_store.on_commit = resolver.on_news
            await resolver.start()
            stack.push_async_callback(resolver.close)
            listener = await engines.database.listen(CHANNEL, resolver.on_news, on_gap=resolver.on_gap)
            stack.push_async_callback(listener.close)
            packer = _ClickPacker()
            clicks = await SpooledPublisher.open(
                engines.log, TOPIC, spool, encode=packer.pack, limits=SpoolLimits(flush_ms=FLUSH_MS)
            )
            stack.push_async_callback(clicks.close)

            domains = Domains(domain_store, resolver, base_url)
            abuse = Abuse(domain_store, link_store, engines.ids, clock)
            passwords = Passwords()
            self = cls(
                links=link_store,
                domains=domains,
                abuse=abuse,
                clock=clock,
                passwords=passwords,
                creation=LinkCreation(
                    links=link_store,
                    domains=domains,
                    abuse=abuse,
                    ids=engines.ids,
                    clock=clock,
                    code_key=secret,
                    settings=settings,
                    passwords=passwords,
                    titles=TitleFetcher(),
                ),
            )
            budgets = ClickBudgets(
                lambda link_id, wanted: link_store.take_clicks(link_id, wanted, clock.now_ms())
            )
            self.domains, self.abuse = domains, abuse
            self.pastes = Pastes(
                store=PasteStore(engines.database),
                allocator=CodeAllocator(
                    CodeSpace(BASE62, secret),
                    lambda count: link_store.lease_counters("base62", count),
                    min(settings.code_block, 100),
                ),
                budgets=budgets,
                domains=domains,
                ids=engines.ids,
                clock=clock,
            )
            self.stats = ClickStats(ClickStore(engines.database, engines.events), clock)
            self.redirects = Redirects(
                resolver=resolver,
                budgets=budgets,
                passwords=passwords,
                attempts=AttemptStore(engines.valkey, clock.monotonic),
                clock=clock,
                record=clicks.append,
                tries_a_minute=settings.password_tries_a_minute,
                draw=random.random,
            )
            watches = Watches(WatchStore(engines.valkey, engines.realtime), clock)
            signatures = Signatures(SignatureStore(engines.database), secret, principal_of_key_id)
            visitors = Visitors(_visit_reader(settings))
            pages = PublicPages(
                redirects=self.redirects,
                pastes=self.pastes,
                abuse=abuse,
                domains=domains,
                links=link_store,
                visitor=visitors.visitor,
            )
            yourls = YourlsApi(
                links=self,
                stats=self.stats,
                verifier=verifier,
                door=door,
                signatures=signatures,
                clock=clock,
            )
            self.feed = LiveFeed(hub, watches)
            stack.push_async_callback(self.feed.close)
            lane = RedirectLane(resolver, near, cache, clicks.append)
            self.asgi = _root(yourls, pages)
            self.mount = Mount(
                name="links",
                routers=(
                    domain_routes(domains),
                    abuse_routes(abuse),
                    live_routes(self, streams),
                    link_routes(self, self.stats),
                    signature_routes(signatures),
                    paste_routes(self.pastes),
                    id_routes(engines.ids),
                ),
                sockets=(live_socket(self, hub),),
                segments=("links", "pastes", "ids"),
                root=self.asgi,
                root_prefixes=("/",),
                lane=lane,
                hot_requests=lambda: max(0, packer.packed - self.redirects.counted),
                body_limits={"/v1/links/bulk": MAX_BULK_BYTES},
            )
            self._stack = stack.pop_all()
            return self
        raise AssertionError("unreachable")

    async def listen(self) -> None:
        """Links have no door of their own."""

    async def close(self) -> None:
        """Flush what clicks are in hand, and let go."""
        await self._stack.aclose()


async def work(
    engines: Engines,
    *,
    settings: LinksSettings,
    clock: Clock,
    secret: bytes,
    name: str,
    traffic: Traffic | None = None,
) -> None:
    """Run the system's workers until cancelled; `traffic` is told how much waits."""
    await migrate(engines.database, "links", files("twelvefold.systems.links") / "schema")
    clicks = ClickStore(engines.database, engines.events)
    counting = ClickWorker(
        make_consumer=lambda: engines.log.consumer(TOPIC, GROUP, name),
        store=clicks,
        enricher=Enricher(_visit_reader(settings), key_of_day(secret)),
        watches=Watches(WatchStore(engines.valkey, engines.realtime), clock),
        clock=clock,
    )
    ending = EndWorker(
        ends=EndStore(engines.database),
        clicks=clicks,
        rollup=DayRollup(engines.database, engines.events),
        clock=clock,
        settings=settings,
    )
    if traffic is not None:
        traffic.watch("links", queue_depth=lambda: counting.lag)
    async with asyncio.TaskGroup() as group:
        group.create_task(counting.run())
        group.create_task(ending.run())


def _visit_reader(settings: LinksSettings) -> VisitReader:
    path = Path(str(files("twelvefold.systems.links"))) / "data" / "country.mmdb"
    return VisitReader(Countries(path), trusted_hops=settings.trusted_proxies)


class _ClickPacker:
    """Packs clicks for the log, and counts them, so that the lane need not."""

    def __init__(self) -> None:
        self.packed = 0

    def pack(self, clicks: list[Any]) -> list[bytes]:
        self.packed += len(clicks)
        return [encode(clicks)]


def _root(yourls: Any, pages: Any) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        await (yourls if path == "/yourls-api.php" else pages)(scope, receive, send)

    return app


__all__ = ["LinksSystem", "work"]
