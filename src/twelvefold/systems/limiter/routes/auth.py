"""`GET /v1/limiter/auth`: for proxies that ask before they pass a request on (nginx, Traefik, Caddy).

The proxy authenticates with its own API key and tells what it sees in the usual header fields; since it is
trusted with a key, the last entry of `X-Forwarded-For` is the client it saw. The key of a rule is made of
what the rule's `by` names. Proxies write one of `X-Original-*` and `X-Forwarded-*` and pass the other on as the
client sent it; so where both stand and differ, the client is making things up, and nothing is counted for it.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.datastructures import Headers
from litestar.params import QueryParameter

from twelvefold.systems.limiter.contracts import MAX_HITS, Hit, HitRefusedError, Source
from twelvefold.systems.limiter.rules.headers import Reset, header_fields
from twelvefold.systems.limiter.rules.keys import client_address, client_network
from twelvefold.systems.limiter.service.decisions import refusal
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.web.guard import principal_of, requires
from twelvefold.web.problem import problem

Ask = Request[Any, Any, Any]


def auth_route(limiter: Limiter, *, reset: Reset, ipv6_prefix: int) -> Any:
    """The handler."""

    @get(
        "/auth",
        guards=[requires("limiter:write")],
        summary="May this request pass? For nginx auth_request, Traefik and Caddy forward auth",
    )
    async def auth(
        request: Ask,
        rule: Annotated[
            str, QueryParameter(max_length=400, description="One rule, or several with commas between.")
        ],
        deny: Annotated[
            int,
            QueryParameter(
                ge=400, le=499, description="The status of a refusal; nginx understands 401 and 403."
            ),
        ] = 429,
        cost: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 1,
    ) -> Response[bytes]:
        tenant = principal_of(request).tenant_id
        names = [name for name in rule.split(",") if name]
        facts = forwarded_facts(request.headers, tenant, ipv6_prefix)
        hits = [Hit(name, key_by(limiter.book.bound(tenant, name).rule.by, facts), cost) for name in names]
        if not 0 < len(hits) <= MAX_HITS:
            raise HitRefusedError(f"name the rule to go by, or up to {MAX_HITS} of them", field="rule")
        verdict = await limiter.check_all(hits, tenant=tenant)
        fields = dict(header_fields(verdict.binding, verdict.decisions, reset=reset))
        if verdict.allowed:
            return Response(b"", status_code=204, headers=fields)
        made = problem(refusal(verdict.binding), request.scope.get("state", {}).get("request_id"))
        headers = {name: value for name, value in made.headers if name != "content-type"} | fields
        status = 503 if verdict.binding.degraded else deny
        return Response(made.body, status_code=status, headers=headers, media_type="application/problem+json")

    return auth


def forwarded_facts(headers: Headers, tenant: int, ipv6_prefix: int) -> Mapping[Source, str]:
    """What the proxy says about the request it holds. Raises `HitRefusedError` where it says two things at once."""
    address = client_address(headers.get("x-real-ip", ""), headers.getall("x-forwarded-for", []), 1)
    path = _told(headers, "x-original-uri", "x-forwarded-uri")
    key = headers.get("x-api-key", "")
    return {
        "ip": client_network(address, ipv6_prefix),
        "key": hashlib.sha256(key.encode()).hexdigest()[:32] if key else "-",
        "tenant": headers.get("x-tenant") or str(tenant),
        "user": headers.get("x-user") or "-",
        "method": _told(headers, "x-original-method", "x-forwarded-method") or "GET",
        "path": path.partition("?")[0] or "/",
        "host": headers.get("x-forwarded-host") or "-",
    }


def _told(headers: Headers, *names: str) -> str:
    said = {value for name in names for value in headers.getall(name, []) if value}
    if len(said) > 1:
        raise HitRefusedError(
            f"{' and '.join(names)} do not agree",
            field=names[0],
            hint="let the proxy write one of them, and drop the other, which the client sent",
        )
    return said.pop() if said else ""


def key_by(sources: tuple[Source, ...], facts: Mapping[Source, str]) -> tuple[str, ...]:
    """The key that a rule's `by` makes of a request; without any, all requests share one."""
    return tuple(facts[source][:1024] for source in sources) or ("everybody",)
