"""`/v1/limiter`: checks, rules, tiers, Envoy domains, counts, replay."""

import asyncio
import re
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.systems.limiter.contracts import NAME_PATTERN, HitRefusedError, RuleRefusedError, Tier
from twelvefold.systems.limiter.routes.answers import ONE_FORM, check_body, names_one, resolved, single_hits
from twelvefold.systems.limiter.routes.forms import (
    CheckRequest,
    DecisionView,
    DomainList,
    DomainView,
    EndpointList,
    KeyRequest,
    OffenderList,
    PermitRequest,
    PermitView,
    ReplayRequest,
    ReplayView,
    RuleList,
    RulePut,
    RuleView,
    SourcePut,
    StateView,
    TierList,
    TierPut,
    TrafficView,
)
from twelvefold.systems.limiter.rules.headers import Reset
from twelvefold.systems.limiter.rules.plan import read_rule
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.replay import MAX_EVENTS, Event, replay
from twelvefold.systems.limiter.service.rules import RuleService
from twelvefold.systems.limiter.store.traffic import STEP_SECONDS, TrafficStore
from twelvefold.web.access.rules import PLATFORM_ADMIN
from twelvefold.web.guard import principal_of, requires
from twelvefold.web.problem import field_in

Ask = Request[Any, Any, Any]
RuleName = Annotated[str, PathParameter(description="The rule's name.", max_length=64)]
Minutes = Annotated[int, QueryParameter(ge=1, le=60)]


def check_routes(limiter: Limiter, reset: Reset) -> list[Any]:
    """Handlers that ask the limiter."""
    may = [requires("limiter:write")]

    @post("/check", guards=may, status_code=200, summary="Ask one rule, several together, or a batch")
    async def check(request: Ask, data: JSONBody[CheckRequest]) -> Response[bytes]:
        tenant = principal_of(request).tenant_id
        if data.batch is not None:
            if data.checks is not None or names_one(data):
                raise HitRefusedError(ONE_FORM, field="batch")
            # All are understood before any is asked: a batch with a fault takes nothing.
            asked = [
                resolved(limiter, tenant, each.to_contract(), f"batch[{at}].")
                for at, each in enumerate(data.batch)
            ]
            decisions = await asyncio.gather(*(limiter.verdict(tenant, each) for each in asked))
            body = msgspec.json.encode(
                {"results": [DecisionView.of(verdict.binding) for verdict in decisions]}
            )
            return Response(body, media_type="application/json")
        hits = single_hits(data)
        try:
            verdict = await limiter.check_all(hits, tenant=tenant)
        except TwelvefoldError:
            for at, hit in enumerate(hits):  # which one it is
                resolved(limiter, tenant, hit, f"checks[{at}]." if data.checks is not None else "")
            raise
        body, fields = check_body(verdict, several=data.checks is not None, reset=reset)
        return Response(body, media_type="application/json", headers=dict(fields))

    @post("/rules/{name:str}/refund", guards=may, status_code=204, summary="Give units back")
    async def refund(request: Ask, name: RuleName, data: JSONBody[KeyRequest]) -> None:
        await limiter.refund(name, data.key, data.cost, tenant=principal_of(request).tenant_id)

    @post("/permits", guards=may, status_code=200, summary="Take a place of a concurrency rule")
    async def acquire(request: Ask, data: JSONBody[PermitRequest]) -> PermitView:
        return PermitView.of(
            await limiter.acquire(data.rule, data.key, tenant=principal_of(request).tenant_id)
        )

    @post("/permits/renew", guards=may, status_code=200, summary="Keep a place")
    async def renew(request: Ask, data: JSONBody[PermitRequest]) -> PermitView:
        tenant = principal_of(request).tenant_id
        return PermitView.of(await limiter.renew(data.rule, data.key, data.id, tenant=tenant))

    @post("/permits/release", guards=may, status_code=204, summary="Leave a place")
    async def release(request: Ask, data: JSONBody[PermitRequest]) -> None:
        await limiter.release(data.rule, data.key, data.id, tenant=principal_of(request).tenant_id)

    return [check, refund, acquire, renew, release]


def rule_routes(limiter: Limiter, rules: RuleService) -> list[Any]:
    """Handlers that read and write rules."""
    read, write, admin = [requires("limiter:read")], [requires("limiter:admin")], [requires(PLATFORM_ADMIN)]

    @get("/rules", guards=read, summary="All rules")
    async def list_rules(request: Ask) -> RuleList:
        return RuleList([RuleView.of(each) for each in await rules.rules(principal_of(request).tenant_id)])

    @get("/rules/{name:str}", guards=read, summary="One rule")
    async def get_rule(request: Ask, name: RuleName) -> RuleView:
        return RuleView.of(await rules.rule(principal_of(request).tenant_id, name))

    @put("/rules/{name:str}", guards=write, summary="Make or replace a rule; what keys have used stays used")
    async def put_rule(request: Ask, name: RuleName, data: JSONBody[RulePut]) -> RuleView:
        if data.rule.get("name", name) != name:
            raise RuleRefusedError("the rule's name is the one in the address", field="rule.name")
        if not re.fullmatch(NAME_PATTERN, name):
            raise RuleRefusedError(
                "a name is letters, digits, '.', '_' and '-', at most 64, and begins with a letter or a digit",
                field="rule.name",
            )
        version = None
        if data.version is not None:
            if not (data.version.isascii() and data.version.isdecimal()):
                raise InvalidInputError("a version is a number, as text", field="version")
            version = int(data.version[:18])
        try:
            rule = read_rule({**data.rule, "name": name})
            return RuleView.of(await rules.put(principal_of(request).tenant_id, rule, version))
        except RuleRefusedError as error:
            inside = error.field or field_in(error.message)
            error.field = f"rule.{inside}" if inside else "rule"
            raise

    @delete("/rules/{name:str}", guards=write, summary="End a rule")
    async def delete_rule(request: Ask, name: RuleName) -> None:
        await rules.delete(principal_of(request).tenant_id, name)

    @post("/rules/{name:str}/reset", guards=write, status_code=204, summary="Forget what a key has used")
    async def reset(request: Ask, name: RuleName, data: JSONBody[KeyRequest]) -> None:
        await limiter.reset(name, data.key, tenant=principal_of(request).tenant_id)

    @get("/rules/{name:str}/state", guards=read, summary="How a key stands")
    async def state(
        request: Ask, name: RuleName, key: Annotated[str, QueryParameter(max_length=4096)]
    ) -> StateView:
        tenant = principal_of(request).tenant_id
        decision = await limiter.peek(name, key, tenant=tenant)
        return StateView(
            decision=DecisionView.of(decision), leases=await limiter.outstanding(name, key, tenant=tenant)
        )

    @get("/tiers", guards=read, summary="What API keys of each tier may do")
    async def list_tiers() -> TierList:
        return TierList(list(rules.gateway.tiers.values()))

    @put("/tiers/{name:str}", guards=admin, summary="Replace what a tier may do")
    async def put_tier(name: RuleName, data: JSONBody[TierPut]) -> Tier:
        try:
            tier = msgspec.convert({"name": name, "rules": msgspec.to_builtins(data.rules)}, Tier)
        except msgspec.ValidationError as error:
            raise RuleRefusedError(str(error), field="name") from error
        await rules.put_tier(tier)
        return tier

    @get("/endpoints", guards=read, summary="Limits for parts of the API")
    async def list_endpoints() -> EndpointList:
        return EndpointList(rules.gateway.endpoints)

    @put("/endpoints", guards=admin, summary="Replace the limits for parts of the API")
    async def put_endpoints(data: JSONBody[EndpointList]) -> EndpointList:
        await rules.put_endpoints(data.items)
        return EndpointList(rules.gateway.endpoints)

    @get("/envoy", guards=read, summary="Envoy domains")
    async def list_domains(request: Ask) -> DomainList:
        found = await rules.domains(principal_of(request).tenant_id)
        return DomainList([DomainView(domain, source) for domain, source in found])

    @put("/envoy", guards=write, summary="Make or replace the Envoy domain that the YAML names")
    async def put_domain(request: Ask, data: JSONBody[SourcePut]) -> DomainView:
        domain = await rules.put_domain(principal_of(request).tenant_id, data.source)
        return DomainView(domain, data.source)

    @delete("/envoy/{domain:str}", guards=write, summary="End an Envoy domain")
    async def delete_domain(request: Ask, domain: Annotated[str, PathParameter(max_length=128)]) -> None:
        await rules.delete_domain(principal_of(request).tenant_id, domain)

    return [
        list_rules, get_rule, put_rule, delete_rule, reset, state, list_tiers, put_tier, list_endpoints,
        put_endpoints, list_domains, put_domain, delete_domain,
    ]  # fmt: skip


def traffic_routes(traffic: TrafficStore, clock: Clock) -> list[Any]:
    """Handlers about what was decided, and what would have been."""
    read = [requires("limiter:read")]

    @get("/top", guards=read, summary="Who was refused most")
    async def top(
        request: Ask, minutes: Minutes = 15, limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20
    ) -> OffenderList:
        tenant = principal_of(request).tenant_id
        return OffenderList(await traffic.top(tenant, minutes=minutes, limit=limit, now_ms=clock.now_ms()))

    @get("/traffic", guards=read, summary="Decisions over time")
    async def series(
        request: Ask, minutes: Minutes = 15, rule: Annotated[str | None, QueryParameter(max_length=64)] = None
    ) -> TrafficView:
        points = await traffic.series(
            principal_of(request).tenant_id, rule=rule, minutes=minutes, now_ms=clock.now_ms()
        )
        return TrafficView.of(STEP_SECONDS, points)

    @post("/replay", guards=read, status_code=200, summary="What rules would have done with traffic")
    async def replay_traffic(request: Ask, data: JSONBody[ReplayRequest]) -> ReplayView:
        if (data.events is None) == (data.recorded is None):
            raise InvalidInputError(
                "send events, or name the rule whose traffic was recorded", field="events"
            )
        if data.events is not None:
            events = [Event(at_ms=each.at_ms, key=each.key, cost=each.cost) for each in data.events]
        else:
            found = await traffic.recording(
                principal_of(request).tenant_id, str(data.recorded)[:64], max_events=MAX_EVENTS
            )
            if not found:
                raise InvalidInputError(
                    f"nothing of '{str(data.recorded)[:64]}' has been recorded lately",
                    field="recorded",
                    hint='give the rule "record": true, and wait for traffic',
                )
            events = [Event(at_ms=at_us / 1000, key=key, cost=cost) for at_us, key, cost, _ in found]
        results = [await asyncio.to_thread(replay, rule, events) for rule in data.rules]
        return ReplayView(len(events), results)

    return [top, series, replay_traffic]


def limiter_routes(
    limiter: Limiter,
    rules: RuleService,
    traffic: TrafficStore,
    clock: Clock,
    more: list[Any],
    *,
    reset: Reset,
) -> Router:
    """The router of `/v1/limiter`."""
    return Router(
        "/v1/limiter",
        route_handlers=[
            *check_routes(limiter, reset),
            *rule_routes(limiter, rules),
            *traffic_routes(traffic, clock),
            *more,
        ],
        tags=["Limiter"],
    )
