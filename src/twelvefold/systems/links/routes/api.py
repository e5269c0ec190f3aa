"""`/v1/links`: create, read, change, end; in bulk; statistics and QR codes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import JSONBody, QueryParameter

from twelvefold.kernel.clock import to_ms
from twelvefold.kernel.errors import InvalidInputError, MalformedRequestError, TwelvefoldError
from twelvefold.systems.links.contracts import MAX_BULK, Facet, Interval, NewLink, State
from twelvefold.systems.links.routes.forms import (
    BulkOutcome,
    BulkView,
    LinkList,
    LinkPatch,
    LinkRequest,
    LinkView,
    RevisionView,
    StatsView,
    TenantStatsView,
    TopLink,
)
from twelvefold.systems.links.routes.parameters import Code, OwnHost
from twelvefold.systems.links.routes.qr import qr_png, qr_svg
from twelvefold.systems.links.service import Links
from twelvefold.systems.links.service.stats import ClickStats
from twelvefold.web.api import check_json
from twelvefold.web.guard import principal_of, requires
from twelvefold.web.problem import field_in, problem_of

MAX_BULK_BYTES = 64 * 1024 * 1024

Ask = Request[Any, Any, Any]
_decode_item = msgspec.json.Decoder(LinkRequest).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def link_routes(links: Links, stats: ClickStats) -> Router:
    """The router of `/v1/links`."""
    read, write = [requires("links:read")], [requires("links:write")]

    @post("/", guards=write, summary="Create a link")
    async def create(request: Ask, data: JSONBody[LinkRequest]) -> Response[LinkView]:
        link = await links.create(principal_of(request).tenant_id, data.to_contract())
        return Response(LinkView.of(link), status_code=200 if link.existed else 201)

    @post("/bulk", guards=write, status_code=200, summary="Create up to 10,000 links")
    async def create_many(request: Ask) -> BulkView:
        items = list(read_items(await request.body()))
        outcome = await links.create_many(principal_of(request).tenant_id, items)
        results = [BulkOutcome(index=index, code=code, short_url=url) for index, code, url in outcome.created]
        results += [BulkOutcome(index=f.index, error=problem_of(f.error)) for f in outcome.failures]
        results.sort(key=lambda result: result.index)
        return BulkView(created=len(outcome.created), failed=len(outcome.failures), results=results)

    @get("/", guards=read, summary="List and search links")
    async def list_links(
        request: Ask,
        q: Annotated[str | None, QueryParameter(max_length=200)] = None,
        tag: Annotated[str | None, QueryParameter(max_length=50)] = None,
        in_state: Annotated[State | None, QueryParameter(name="state")] = None,
        cursor: Annotated[str | None, QueryParameter(max_length=100)] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    ) -> LinkList:
        page = await links.list(
            principal_of(request).tenant_id, text=q, tag=tag, state=in_state, cursor=cursor, limit=limit
        )
        return LinkList([LinkView.of(link) for link in page.items], page.next_cursor)

    @get("/stats", guards=read, summary="All links at a glance")
    async def tenant_stats(request: Ask) -> TenantStatsView:
        found = await stats.of_tenant(principal_of(request).tenant_id)
        top = [TopLink(code, clicks) for code, clicks in found.top]
        return TenantStatsView(found.links, found.clicks, found.clicks_today, top)

    @get("/{code:str}", guards=read, summary="One link")
    async def get_link(request: Ask, code: Code, domain: OwnHost = None) -> LinkView:
        return LinkView.of(await links.get(principal_of(request).tenant_id, code, domain))

    @patch("/{code:str}", guards=write, summary="Change a link")
    async def change(request: Ask, code: Code, data: JSONBody[LinkPatch], domain: OwnHost = None) -> LinkView:
        try:
            wanted = data.to_contract()
        except ValueError as error:
            raise InvalidInputError("a version is a number, as text", field="version") from error
        return LinkView.of(await links.change(principal_of(request).tenant_id, code, wanted, domain))

    @delete("/{code:str}", guards=write, summary="End a link")
    async def end(request: Ask, code: Code, domain: OwnHost = None) -> None:
        await links.delete(principal_of(request).tenant_id, code, domain)

    @post("/{code:str}/restore", guards=write, status_code=200, summary="Undo a delete")
    async def restore(request: Ask, code: Code, domain: OwnHost = None) -> LinkView:
        return LinkView.of(await links.restore(principal_of(request).tenant_id, code, domain))

    @get("/{code:str}/history", guards=read, summary="What a code pointed to, and when")
    async def history(request: Ask, code: Code, domain: OwnHost = None) -> dict[str, list[RevisionView]]:
        revisions = await links.history(principal_of(request).tenant_id, code, domain)
        return {"items": [RevisionView.of(revision) for revision in revisions]}

    @get("/{code:str}/qr.svg", guards=read, media_type="image/svg+xml", summary="QR code as SVG")
    async def svg(request: Ask, code: Code, domain: OwnHost = None) -> bytes:
        link = await links.get(principal_of(request).tenant_id, code, domain)
        return qr_svg(link.short_url)

    @get("/{code:str}/qr.png", guards=read, media_type="image/png", summary="QR code as PNG")
    async def png(
        request: Ask,
        code: Code,
        domain: OwnHost = None,
        scale: Annotated[int, QueryParameter(ge=1, le=32)] = 8,
    ) -> bytes:
        link = await links.get(principal_of(request).tenant_id, code, domain)
        return qr_png(link.short_url, scale)

    @get("/{code:str}/stats", guards=read, summary="Clicks over time and by group")
    async def link_stats(
        request: Ask,
        code: Code,
        domain: OwnHost = None,
        from_: Annotated[datetime | None, QueryParameter(name="from")] = None,
        to: datetime | None = None,
        interval: Interval = "day",
        group: Facet | None = None,
    ) -> StatsView:
        link = await links.get(principal_of(request).tenant_id, code, domain)
        found = await stats.of_link(
            link, from_ms=_moment(from_, "from"), to_ms=_moment(to, "to"), interval=interval, group=group
        )
        return StatsView.of(found)

    return Router(
        "/v1/links",
        route_handlers=[
            create,
            create_many,
            list_links,
            tenant_stats,
            get_link,
            change,
            end,
            restore,
            history,
            svg,
            png,
            link_stats,
        ],
        tags=["Links"],
    )


def read_items(body: bytes) -> Iterator[NewLink | TwelvefoldError]:
    """The items of a bulk body, a JSON array or one object a line; one that cannot be read comes as its error.

    Raises `MalformedRequestError` when the body as a whole is neither, `InvalidInputError` above 10,000 items.
    """
    if body.lstrip()[:1] == b"[":
        try:
            parts = [bytes(part) for part in _decode_array(body)]
        except msgspec.DecodeError as error:
            raise MalformedRequestError(f"the body is not a JSON array: {error}") from error
        except RecursionError as error:
            raise MalformedRequestError("the body is nested too deeply") from error
    else:
        parts = [line for line in body.splitlines() if line.strip()]
    if not parts:
        raise InvalidInputError("send a JSON array of links, or one JSON object a line")
    if len(parts) > MAX_BULK:
        raise InvalidInputError(f"a bulk call takes at most {MAX_BULK} items, not {len(parts)}")
    for part in parts:
        try:
            check_json(part, "the item")
            yield _decode_item(part).to_contract()
        except TwelvefoldError as error:
            yield error
        except (msgspec.DecodeError, ValueError) as error:
            yield _item_error(str(error))


def _item_error(message: str) -> TwelvefoldError:
    return InvalidInputError(message.partition(" - at `$")[0], field=field_in(message))


def _moment(moment: datetime | None, field: str) -> int | None:
    if moment is None:
        return None
    try:
        return to_ms(moment)
    except ValueError as error:
        raise InvalidInputError(f"{error}; end it with Z or an offset", field=field) from error
