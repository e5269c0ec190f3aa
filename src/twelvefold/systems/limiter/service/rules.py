"""Stored rules: read, written, and followed by every process within moments of a change."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import (
    EndpointRule,
    Rule,
    RuleConflictError,
    RuleNotFoundError,
    RuleRefusedError,
    StoredRule,
    Tier,
)
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.envoy import EnvoyDomain, compile_domain
from twelvefold.systems.limiter.service.rule_book import RuleBook, succeed
from twelvefold.systems.limiter.store.rules import RuleStore

log = structlog.get_logger("limiter")

POLL_SECONDS: Final = 30.0
"""A NOTIFY that was lost is made up for after so long."""

DEFAULT_TIERS: Final = {
    "free": Tier(
        name="free",
        rules=(
            Rule(name="free-minute", limit=100, period_seconds=60),
            Rule(name="free-day", limit=1000, period_seconds=86_400),
        ),
    ),
    "pro": Tier(
        name="pro",
        rules=(
            Rule(name="pro-minute", limit=1000, period_seconds=60),
            Rule(name="pro-day", limit=50_000, period_seconds=86_400),
        ),
    ),
    "enterprise": Tier(name="enterprise", rules=()),
}


_METHODS: Final = ("*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Gateway:
    """What the guard of our own API goes by."""

    def __init__(self) -> None:
        self.tiers: dict[str, Tier] = dict(DEFAULT_TIERS)
        self.endpoints: tuple[EndpointRule, ...] = ()


class RuleService:
    """Rules, tiers, endpoint limits and Envoy domains of all tenants, in memory and in the store."""

    def __init__(self, store: RuleStore, book: RuleBook, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self.gateway = Gateway()
        self.envoy: dict[tuple[TenantId, str], EnvoyDomain] = {}
        self._wanted: set[str] = set()
        self._wake = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self.on_change: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Read everything, then follow changes."""
        await self._read_all()
        self._follower = asyncio.create_task(self._follow(), name="limiter: follow rules")

    async def close(self) -> None:
        """Follow no more."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])

    def on_news(self, payload: str) -> None:
        """The store says that something changed."""
        self._wanted.add(payload)
        self._wake.set()

    def on_gap(self) -> None:
        """Changes may have been missed."""
        self.on_news("all")

    # -- rules ----------------------------------------------------------------------------------

    async def rules(self, tenant: TenantId) -> list[StoredRule]:
        """All of a tenant."""
        return await self._store.rules(tenant)

    async def rule(self, tenant: TenantId, name: str) -> StoredRule:
        """One rule. Raises `RuleNotFoundError`."""
        found = await self._store.rule(tenant, name)
        if found is None:
            raise RuleNotFoundError(f"there is no rule '{name[:64]}'", field="name")
        return found

    async def put(self, tenant: TenantId, rule: Rule, version: int | None = None) -> StoredRule:
        """Make or replace a rule. Raises `RuleRefusedError`, and `RuleConflictError` for another version."""
        before = await self._store.rule(tenant, rule.name)
        if version is not None and version != (before.version if before else 0):
            raise RuleConflictError
        Bound(tenant, rule)
        stored = succeed(before, rule, self._clock.now_ms())
        await self._store.put(tenant, stored, expected_version=before.version if before else 0)
        self._book.put(tenant, stored)
        self._changed()
        return stored

    async def delete(self, tenant: TenantId, name: str) -> None:
        """End a rule. Raises `RuleNotFoundError`."""
        if not await self._store.delete(tenant, name):
            raise RuleNotFoundError(f"there is no rule '{name[:64]}'", field="name")
        self._book.remove(tenant, name)
        self._changed()

    # -- the gateway ----------------------------------------------------------------------------

    async def put_tier(self, tier: Tier) -> None:
        """Replace what a tier may do. Raises `RuleRefusedError`."""
        if tier.name not in DEFAULT_TIERS:
            raise RuleRefusedError(
                f"no API key has the tier '{tier.name}'",
                field="name",
                hint=f"one of {', '.join(DEFAULT_TIERS)}",
            )
        for number, rule in enumerate(tier.rules):
            _check_for_gateway(rule, f"rules[{number}]")
        await self._store.put_tier(tier, self._clock.now_ms())
        self.gateway.tiers[tier.name] = tier
        self._changed()

    async def put_endpoints(self, endpoints: Sequence[EndpointRule]) -> None:
        """Replace the limits for parts of the API. Raises `RuleRefusedError`."""
        seen: set[tuple[str, str]] = set()
        for number, each in enumerate(endpoints):
            _check_endpoint(each, f"items[{number}]")
            if (each.method, each.path) in seen:
                raise RuleRefusedError(
                    f"{each.method} {each.path} stands there twice",
                    field=f"items[{number}].path",
                    hint="a part of the API has one limit; name the smaller part more exactly",
                )
            seen.add((each.method, each.path))
        await self._store.put_endpoints(endpoints, self._clock.now_ms())
        self.gateway.endpoints = tuple(endpoints)
        self._changed()

    # -- Envoy ----------------------------------------------------------------------------------

    async def domains(self, tenant: TenantId) -> list[tuple[str, str]]:
        """Domains with their YAML."""
        return [(domain, source) for _, domain, source in await self._store.domains(tenant)]

    async def put_domain(self, tenant: TenantId, source: str) -> str:
        """Make or replace the domain that the YAML names. Raises `RuleRefusedError`: then the old one stays."""
        compiled = compile_domain(source)
        await self._store.put_domain(tenant, compiled.domain, source, self._clock.now_ms())
        self.envoy[tenant, compiled.domain] = compiled
        self._changed()
        return compiled.domain

    async def delete_domain(self, tenant: TenantId, domain: str) -> None:
        """End a domain. Raises `RuleNotFoundError`."""
        if not await self._store.delete_domain(tenant, domain):
            raise RuleNotFoundError(f"there is no domain '{domain[:64]}'", field="domain")
        self.envoy.pop((tenant, domain), None)
        self._changed()

    # -- following ------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._wanted.add("all")
            self._wake.clear()
            wanted, self._wanted = self._wanted, set()
            try:
                await self._read("all" if "all" in wanted else wanted)
            except TwelvefoldError as error:
                log.warning("limiter.rules.stale", reason=error.message)
                self._wanted |= wanted
                await asyncio.sleep(1)

    async def _read(self, wanted: set[str] | str) -> None:
        if isinstance(wanted, str):
            await self._read_all()
            return
        for payload in wanted:
            kind, _, tenant = payload.partition(":")
            if kind == "rules":
                await self._read_rules(TenantId(int(tenant)))
            elif kind == "envoy":
                await self._read_envoy()
            elif kind == "gateway":
                await self._read_gateway()
        self._changed()

    async def _read_all(self) -> None:
        known = set(self._book.tenants) | set(await self._store.tenants())
        for tenant in known:
            await self._read_rules(tenant)
        await self._read_gateway()
        await self._read_envoy()
        self._changed()

    async def _read_rules(self, tenant: TenantId) -> None:
        """What a newer version has written and this one cannot read changes nothing here, nor for other tenants."""
        try:
            self._book.replace(tenant, await self._store.rules(tenant))
        except msgspec.ValidationError as error:
            log.warning("limiter.rules.unreadable", tenant=tenant, reason=str(error))

    async def _read_gateway(self) -> None:
        try:
            tiers = {tier.name: tier for tier in await self._store.tiers()}
            endpoints = tuple(await self._store.endpoints())
        except msgspec.ValidationError as error:
            log.warning("limiter.gateway.unreadable", reason=str(error))
            return
        self.gateway.tiers = DEFAULT_TIERS | tiers
        self.gateway.endpoints = endpoints

    async def _read_envoy(self) -> None:
        compiled: dict[tuple[TenantId, str], EnvoyDomain] = {}
        for tenant, domain, source in await self._store.domains():
            before = self.envoy.get((tenant, domain))
            if before is not None and before.source == source:
                compiled[tenant, domain] = before
                continue
            try:
                compiled[tenant, domain] = compile_domain(source)
            except TwelvefoldError as error:
                log.warning("limiter.envoy.refused", domain=domain, reason=error.message)
                if before is not None:
                    compiled[tenant, domain] = before
        self.envoy = compiled

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()


def _check_for_gateway(rule: Rule, place: str) -> None:
    """A rule that could never be asked would stand in everybody's way. Raises `RuleRefusedError`."""
    if rule.algorithm == "concurrency":
        raise RuleRefusedError(
            "the gateway counts requests, not how many are at work",
            field=f"{place}.algorithm",
            hint="take one of the other algorithms",
        )
    try:
        Bound(TenantId(0), rule)
    except RuleRefusedError as error:
        error.field = f"{place}.{error.field}"
        raise


def _check_endpoint(endpoint: EndpointRule, place: str) -> None:
    """One that fits no request would limit nothing, unseen. Raises `RuleRefusedError`."""
    if endpoint.method not in _METHODS:
        raise RuleRefusedError(
            f"'{endpoint.method}' is no method of the API",
            field=f"{place}.method",
            hint="one of " + ", ".join(_METHODS),
        )
    path = endpoint.path.removesuffix("*")
    covers_all = path != endpoint.path and "/v1/".startswith(path)
    if "*" in path or not (covers_all or path.startswith("/v1/")):
        raise RuleRefusedError(
            "a path begins with /v1/, and has a * at its end or nowhere",
            field=f"{place}.path",
            hint="/v1/links*",
        )
    _check_for_gateway(endpoint.rule, f"{place}.rule")
