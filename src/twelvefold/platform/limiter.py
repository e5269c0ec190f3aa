"""The limiter, wired: scripts on Valkey, rules on the database, four doors on one service."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any, Self

import structlog

from twelvefold.engines.database import migrate
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.tenancy import TenantId
from twelvefold.platform.engines import Engines
from twelvefold.systems.limiter.blueprint import BLUEPRINT
from twelvefold.systems.limiter.compat.callers import Callers, Keys
from twelvefold.systems.limiter.compat.grpc.service import RateLimitService
from twelvefold.systems.limiter.compat.resp import RespDoor
from twelvefold.systems.limiter.envoy_folder import EnvoyFolder
from twelvefold.systems.limiter.library import build_limiter
from twelvefold.systems.limiter.routes.api import limiter_routes
from twelvefold.systems.limiter.routes.auth import auth_route
from twelvefold.systems.limiter.routes.gateway import ApiGate
from twelvefold.systems.limiter.routes.lane import CheckLane
from twelvefold.systems.limiter.service.guesses import Guesses
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.rules import RuleService
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.rules import CHANNEL, RuleStore
from twelvefold.systems.limiter.store.traffic import TrafficStore
from twelvefold.systems.limiter.workers import AbuseWatch, hand_over_counts
from twelvefold.web.guard import Guard
from twelvefold.web.mount import Mount
from twelvefold.web.ports import bind

log = structlog.get_logger("platform")

MAX_BODY_BYTES = 8 * 1024 * 1024


class LimiterSystem:
    """The limiter of one process. Made by `open`.

    Attributes:
        limiter: the library's API.
        rules: stored rules, tiers, endpoints, Envoy domains.
        gate: what guards our own API; None when the settings switch it off.
        mount: what it adds to the web.
    """

    blueprint = BLUEPRINT

    def __init__(
        self,
        *,
        limiter: Limiter,
        rules: RuleService,
        gate: ApiGate | None,
        mount: Mount,
        settings: LimiterSettings,
    ) -> None:
        self.limiter = limiter
        self.rules = rules
        self.gate = gate
        self.mount = mount
        self._settings = settings
        self._grpc: RateLimitService | None = None
        self._resp: RespDoor | None = None
        self._servers: list[asyncio.Server] = []
        self._stack = AsyncExitStack()

    @classmethod
    async def open(
        cls,
        engines: Engines,
        *,
        settings: LimiterSettings,
        clock: Clock,
        valkey_url: str,
        processes: int,
        guard: Guard | None = None,
        keys: Keys | None = None,
        trusted_proxies: int = 0,
    ) -> Self:
        """Migrate, wire, and start what runs beside the requests.

        `processes`: web processes in all. `trusted_proxies`: how many stand before the web server.
        """
        await migrate(engines.database, "limiter", files("twelvefold.systems.limiter") / "schema")
        async with AsyncExitStack() as stack:
            valkey = await stack.enter_async_context(await Valkey.open(valkey_url, name="limiter"))
            home = valkey
            if settings.home_url:
                home = await stack.enter_async_context(
                    await Valkey.open(settings.home_url, name="limiter home")
                )
            limiter, closers = build_limiter(
                valkey, home, settings=settings, parts=settings.fallback_parts or max(1, processes)
            )
            for closer in closers:
                stack.push_async_callback(closer.close)
            rules = RuleService(RuleStore(engines.database), limiter.book, clock)
            await rules.start()
            stack.push_async_callback(rules.close)
            listener = await engines.database.listen(CHANNEL, rules.on_news, on_gap=rules.on_gap)
            stack.push_async_callback(listener.close)
            traffic = TrafficStore(engines.valkey)
            stack.push_async_callback(
                _ended, asyncio.create_task(hand_over_counts(limiter.tally, traffic, clock))
            )

            reset = settings.reset
            gate = None
            guesses = Guesses(limiter, a_minute=settings.failures_a_minute, ipv6_prefix=settings.ipv6_prefix)
            if settings.gateway:
                gate = ApiGate(
                    limiter,
                    rules,
                    guesses,
                    failure=settings.gateway_failure,
                    ip_requests_a_minute=settings.ip_requests_a_minute,
                    tenant_requests_a_minute=settings.tenant_requests_a_minute,
                    ipv6_prefix=settings.ipv6_prefix,
                    reset=reset,
                )
            lane = CheckLane(limiter, guard, reset=reset, gate=gate, trusted_proxies=trusted_proxies)
            auth = auth_route(limiter, reset=reset, ipv6_prefix=settings.ipv6_prefix)
            mount = Mount(
                name="limiter",
                routers=(limiter_routes(limiter, rules, traffic, clock, [auth], reset=reset),),
                segments=("limiter",),
                body_lanes={("POST", "/v1/limiter/check"): lane},
                body_limits={"/v1/limiter/": MAX_BODY_BYTES},
                hot_requests=lambda: lane.answered,
                figures=limiter.figures(),
            )
            self = cls(limiter=limiter, rules=rules, gate=gate, mount=mount, settings=settings)
            callers = Callers(keys, TenantId(settings.anonymous_tenant), guesses)
            folder = EnvoyFolder(settings.envoy_config) if settings.envoy_config else None
            if folder is not None:
                await folder.start()
                stack.push_async_callback(folder.close)
            self._grpc = RateLimitService(
                limiter,
                callers,
                lambda: rules.envoy if folder is None else rules.envoy | folder.domains,
                mode=settings.grpc_mode,
                failure=settings.failure,
                ipv6_prefix=settings.ipv6_prefix,
            )
            rules.on_change.append(self._grpc.forget)
            if folder is not None:
                folder.on_change = self._grpc.forget
            self._resp = RespDoor(limiter, callers, mode=settings.resp_mode, failure=settings.failure)
            self._stack = stack.pop_all()
            return self
        raise AssertionError("unreachable")

    async def listen(self) -> None:
        """Open the gRPC and Redis doors, on ports that all web processes share."""
        loop = asyncio.get_running_loop()
        assert self._grpc is not None
        assert self._resp is not None
        doors: list[tuple[int, Any]] = [
            (self._settings.grpc_port, self._grpc.protocol),
            (self._settings.resp_port, self._resp.protocol),
        ]
        for port, protocol in doors:
            if port:
                sock = bind(self._settings.host, port)
                self._servers.append(await loop.create_server(protocol, sock=sock, backlog=1024))

    async def close(self) -> None:
        """Take no more calls, let those under way end, and let go."""
        for server in self._servers:
            server.close()
        if self._grpc is not None:
            self._grpc.close()
        if self._resp is not None:
            self._resp.close()
        await self._stack.aclose()


async def work(engines: Engines, *, settings: LimiterSettings, clock: Clock) -> None:
    """Run the system's workers until cancelled."""
    await migrate(engines.database, "limiter", files("twelvefold.systems.limiter") / "schema")
    watch = AbuseWatch(
        traffic=TrafficStore(engines.valkey),
        tenants=RuleStore(engines.database).tenants,
        clock=clock,
        settings=settings,
    )
    await watch.run()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


__all__ = ["LimiterSystem", "work"]
