"""An ASGI middleware: any FastAPI, Starlette or Litestar application, limited by our rules.

It knows nothing of a framework. `key` makes the key of a request's scope, or the rule's own `by` does; a
request that is refused never reaches the application, one that passes gets the headers on its way out.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import Hit, Key, Rule, Source, Verdict
from twelvefold.systems.limiter.rules.headers import Reset, header_fields
from twelvefold.systems.limiter.rules.keys import client_address, client_network
from twelvefold.systems.limiter.service.decisions import refusal
from twelvefold.systems.limiter.service.limiter import Limiter

Scope = dict[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
KeyOf = Callable[[Scope], Key | None]
_MAX_DELAY_SECONDS: Final = 30.0


class RateLimitMiddleware:
    """Wrap an app: `app.add_middleware(RateLimitMiddleware, limiter=…, rules=[…])`.

    Args:
        app: what is limited.
        limiter: a `Limiter`, or a function that gives it (for one that is opened in the app's lifespan).
        rules: names of stored rules, or rules; all are debited, or none.
        key: makes the key of a scope; None lets the request pass unlimited. Without it each rule's `by` does.
        exempt: paths that are never limited.
        trusted_proxies: how many entries of `X-Forwarded-For`, from the right, are believed.
    """

    def __init__(
        self,
        app: App,
        *,
        limiter: Limiter | Callable[[], Limiter],
        rules: Sequence[str | Rule],
        key: KeyOf | None = None,
        tenant: TenantId = DEFAULT_TENANT,
        exempt: Sequence[str] = (),
        trusted_proxies: int = 0,
        ipv6_prefix: int = 64,
        reset: Reset = "unix",
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._rules = tuple(rules)
        self._key = key
        self._tenant = tenant
        self._exempt = frozenset(exempt)
        self._trusted_proxies = trusted_proxies
        self._ipv6_prefix = ipv6_prefix
        self._reset: Reset = reset

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """The ASGI entry."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        limiter = self._limiter if isinstance(self._limiter, Limiter) else self._limiter()
        hits = self._hits(limiter, scope)
        if not hits:
            await self._app(scope, receive, send)
            return
        verdict = await limiter.check_all(hits, tenant=self._tenant)
        fields = [
            (name.encode(), value.encode())
            for name, value in header_fields(verdict.binding, verdict.decisions, reset=self._reset)
        ]
        if not verdict.allowed:
            await _refuse(verdict, fields, scope, send)
            return
        delay = max((decision.delay_seconds for decision in verdict.decisions), default=0.0)
        if delay:
            await asyncio.sleep(min(delay, _MAX_DELAY_SECONDS))

        async def with_fields(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            await send(message)

        await self._app(scope, receive, with_fields)

    def _hits(self, limiter: Limiter, scope: Scope) -> list[Hit]:
        if self._key is not None:
            key = self._key(scope)
            return [] if key is None else [Hit(rule, key) for rule in self._rules]
        facts = self._facts(scope)
        return [
            Hit(
                rule,
                tuple(facts[source] for source in limiter.book.bound(self._tenant, rule).rule.by) or ("-",),
            )
            for rule in self._rules
        ]

    def _facts(self, scope: Scope) -> Mapping[Source, str]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        forwarded = [
            value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
        ]
        client = scope.get("client")
        address = client_address(client[0] if client else "", forwarded, self._trusted_proxies)
        key = headers.get(b"x-api-key") or headers.get(b"authorization") or b""
        return {
            "ip": client_network(address, self._ipv6_prefix),
            "key": hashlib.sha256(key).hexdigest()[:32] if key else "-",
            "tenant": headers.get(b"x-tenant", b"-").decode("latin-1")[:1024],
            "user": str(scope.get("user") or "-")[:1024],
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope["path"][:1024],
            "host": headers.get(b"host", b"-").decode("latin-1")[:1024],
        }


async def _refuse(verdict: Verdict, fields: list[tuple[bytes, bytes]], scope: Scope, send: Any) -> None:
    error = refusal(verdict.binding)
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013, "reason": error.message[:120]})
        return
    body = json.dumps(
        {
            "type": f"urn:twelvefold:problem:{error.code}",
            "title": "Too many requests" if error.status == 429 else "Service unavailable",
            "status": error.status,
            "detail": error.message,
            "code": error.code,
            "rule": verdict.binding.rule,
        }
    ).encode()
    names = {name for name, _ in fields}
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *fields,
    ]
    if b"retry-after" not in names and error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_seconds))).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
