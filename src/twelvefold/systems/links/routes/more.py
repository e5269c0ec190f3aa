"""`/v1/links/domains`, `/blocked`, `/reports`; `/v1/pastes`; `/v1/ids`."""

from typing import Annotated, Any

from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import SnowflakeGenerator, decode
from twelvefold.systems.links.routes.forms import (
    DomainRequest,
    DomainView,
    HostRequest,
    IdView,
    PasteRequest,
    PasteView,
)
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.pastes import Pastes
from twelvefold.systems.links.service.signatures import Signatures
from twelvefold.web.guard import principal_of, requires
from twelvefold.web.moments import rfc3339

Ask = Request[Any, Any, Any]


def domain_routes(domains: Domains) -> Router:
    """Hosts of one's own."""

    @get("/", guards=[requires("links:read")], summary="Your own hosts")
    async def list_domains(request: Ask) -> dict[str, list[DomainView]]:
        found = await domains.list(principal_of(request).tenant_id)
        return {"items": [DomainView(str(each.id), each.host, each.ignore_case) for each in found]}

    @post("/", guards=[requires("links:admin")], summary="Serve codes under a host of your own")
    async def add_domain(request: Ask, data: JSONBody[DomainRequest]) -> DomainView:
        made = await domains.add(principal_of(request).tenant_id, data.host, ignore_case=data.ignore_case)
        return DomainView(str(made.id), made.host, made.ignore_case)

    return Router("/v1/links/domains", route_handlers=[list_domains, add_domain], tags=["Links"])


def abuse_routes(abuse: Abuse) -> Router:
    """Blocked hosts and reports."""

    @get("/blocked", guards=[requires("links:read")], summary="Hosts that links may not lead to")
    async def blocked(request: Ask) -> dict[str, list[str]]:
        return {"items": sorted(await abuse.blocked(principal_of(request).tenant_id))}

    @post("/blocked", guards=[requires("links:admin")], summary="Block a host and what is below it")
    async def block(request: Ask, data: JSONBody[HostRequest]) -> dict[str, str]:
        return {"host": await abuse.block(principal_of(request).tenant_id, data.host)}

    @delete("/blocked/{host:str}", guards=[requires("links:admin")], summary="Unblock a host")
    async def unblock(request: Ask, host: FromPath[str]) -> None:
        await abuse.unblock(principal_of(request).tenant_id, host)

    @get("/reports", guards=[requires("links:read")], summary="What visitors complain about")
    async def reports(request: Ask) -> dict[str, list[dict[str, str]]]:
        found = await abuse.reports(principal_of(request).tenant_id)
        return {
            "items": [
                {
                    "id": str(report.id),
                    "code": report.code,
                    "reason": report.reason,
                    "reported_at": rfc3339(report.reported_at_ms),
                }
                for report in found
            ]
        }

    return Router("/v1/links", route_handlers=[blocked, block, unblock, reports], tags=["Links"])


def signature_routes(signatures: Signatures) -> Router:
    """What YOURLS clients sign with."""

    @post(
        "/yourls-signature",
        guards=[requires("links:write")],
        status_code=200,
        summary="A token for YOURLS clients",
    )
    async def signature(request: Ask) -> dict[str, str]:
        return {"signature": await signatures.token_of(principal_of(request))}

    return Router("/v1/links", route_handlers=[signature], tags=["Links"])


def paste_routes(pastes: Pastes) -> Router:
    """Texts under codes."""

    @post("/", guards=[requires("links:write")], summary="Keep a text under a code")
    async def create_paste(request: Ask, data: JSONBody[PasteRequest]) -> PasteView:
        return PasteView.of(await pastes.create(principal_of(request).tenant_id, data.to_contract()))

    return Router("/v1/pastes", route_handlers=[create_paste], tags=["Pastes"])


def id_routes(ids: SnowflakeGenerator) -> Router:
    """Unique ids."""

    @post("/", guards=[requires("links:write")], status_code=200, summary="Unique, time-ordered ids")
    async def make_ids(count: Annotated[int, QueryParameter(ge=1, le=4096)] = 1) -> dict[str, list[str]]:
        return {"ids": [str(snowflake) for snowflake in ids.make_many(count)]}

    @get("/{snowflake:str}", guards=[requires("links:read")], summary="What an id says about its making")
    async def take_apart(snowflake: Annotated[str, PathParameter(max_length=20)]) -> IdView:
        if not (snowflake.isascii() and snowflake.isdigit()):
            raise InvalidInputError("an id is a number", field="id")
        parts = decode(int(snowflake))
        return IdView(str(int(snowflake)), rfc3339(parts.timestamp_ms), parts.worker_id, parts.sequence)

    return Router("/v1/ids", route_handlers=[make_ids, take_apart], tags=["Ids"])
