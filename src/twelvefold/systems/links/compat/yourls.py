"""The YOURLS API at `/yourls-api.php`, for clients that exist: PyPI's `yourls` passes unchanged.

Actions shorturl, expand, url-stats, stats, db-stats, version; formats json, jsonp, xml, simple. A caller
shows an API key as `signature` or as `password`, or signs `md5(timestamp + token)` with a token of the
key's own. Statuses and messages follow YOURLS 1.9, since clients read them.
"""

import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import msgspec

from twelvefold.kernel.clock import Clock, from_ms
from twelvefold.kernel.errors import ForbiddenError, TwelvefoldError, UnauthenticatedError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.systems.links.contracts import (
    AliasTakenError,
    Link,
    LinkNotFoundError,
    NewLink,
    TargetRefusedError,
)
from twelvefold.systems.links.service import Links
from twelvefold.systems.links.service.signatures import Signatures
from twelvefold.systems.links.service.stats import ClickStats
from twelvefold.web.guard import ForeignDoor, Verifier, require

VERSION = "1.9.2"
"""Of the API that is spoken here."""
SIGNATURE_LIFE_SECONDS = 43_200
MAX_FORM_BYTES = 64 * 1024

Reply = dict[str, Any]


class YourlsFailure(Exception):  # noqa: N818 - an outcome of this protocol, no error of ours
    """What a client is told instead of an answer."""

    def __init__(self, status: int, body: Reply) -> None:
        self.status = status
        self.body = body
        super().__init__(body.get("message", ""))


class YourlsApi:
    """An ASGI app for `/yourls-api.php`.

    Args:
        verifier: who holds a key.
        door: believes for a second what the verifier said, and counts guesses.
    """

    def __init__(
        self,
        *,
        links: Links,
        stats: ClickStats,
        verifier: Verifier,
        door: ForeignDoor,
        signatures: Signatures,
        clock: Clock,
    ) -> None:
        self._links = links
        self._stats = stats
        self._verifier = verifier
        self._door = door
        self._signatures = signatures
        self._clock = clock

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one call."""
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=50))
        if scope["method"] == "POST":
            asked |= dict(parse_qsl((await _body(receive)).decode("utf-8", "replace"), max_num_fields=50))
        status, more = 200, []
        try:
            reply = await self._perform(asked, scope)
        except YourlsFailure as failure:
            status, reply = failure.status, failure.body
        except TwelvefoldError as error:
            status, reply = error.status, {"message": error.message, "errorCode": str(error.status)}
            if error.retry_after_seconds is not None:
                more.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_seconds))))
        await _send(send, status, _rendered(reply, asked), asked, more)

    async def _perform(self, asked: Mapping[str, str], request: Mapping[str, Any]) -> Reply:
        action = asked.get("action", "")
        if action == "version":
            await self._authenticate(asked, "links:read", request)
            return {"version": VERSION}
        handler = {
            "shorturl": self._shorten,
            "expand": self._expand,
            "url-stats": self._url_stats,
            "stats": self._list_stats,
            "db-stats": self._totals,
        }.get(action)
        if handler is None:
            raise YourlsFailure(400, {"errorCode": "400", "message": 'Unknown or missing "action" parameter'})
        scope = "links:write" if action == "shorturl" else "links:read"
        principal = await self._authenticate(asked, scope, request)
        return await handler(principal.tenant_id, asked)

    async def _authenticate(
        self, asked: Mapping[str, str], scope: str, request: Mapping[str, Any]
    ) -> Principal:
        signature, timestamp = asked.get("signature", ""), asked.get("timestamp", "")
        principal: Principal | None = None
        if signature and timestamp:
            algorithm = asked.get("hash", "md5")
            secret = f"yourls-timed:{algorithm}:{timestamp}:{signature}"
            principal = await self._door.holder(
                request, secret, lambda: self._timed(signature, timestamp, algorithm)
            )
        elif signature:
            principal = await self._door.holder(
                request, f"yourls:{signature}", lambda: self._signed(signature)
            )
        elif password := asked.get("password", ""):
            principal = await self._door.holder(
                request, f"key:{password}", lambda: self._verifier.principal_of_key(password)
            )
        try:
            return require(principal, scope)
        except (UnauthenticatedError, ForbiddenError) as error:
            message = (
                "Please log in"
                if not (signature or asked.get("password"))
                else "Invalid username or password"
            )
            raise YourlsFailure(403, {"errorCode": "403", "message": message}) from error

    async def _signed(self, signature: str) -> Principal | None:
        """An API key, or a token that stands for one."""
        return await self._verifier.principal_of_key(signature) or await self._signatures.holder(signature)

    async def _timed(self, signature: str, timestamp: str, algorithm: str) -> Principal | None:
        try:
            age = abs(self._clock.now_ms() / 1000 - int(timestamp))
        except ValueError:
            return None
        if age > SIGNATURE_LIFE_SECONDS or algorithm not in ("md5", "sha256", "sha512"):
            return None
        for token in await self._signatures.tokens():
            for text in (timestamp + token, token + timestamp):  # YOURLS takes both orders
                expected = hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()
                if hmac.compare_digest(expected, signature):
                    return await self._signatures.holder(token)
        return None

    async def _shorten(self, tenant: TenantId, asked: Mapping[str, str]) -> Reply:
        url = asked.get("url", "").strip()
        keyword = asked.get("keyword") or None
        if not url:
            raise YourlsFailure(400, _failed("error:nourl", "Missing or malformed URL", 400))
        if "://" not in url and not url.startswith("//"):
            url = f"http://{url}"  # YOURLS does so too
        try:
            link = await self._links.create(
                tenant,
                NewLink(url=url, alias=keyword, dedupe=keyword is None, note=asked.get("title", "")[:2000]),
            )
        except AliasTakenError as error:
            text = f"Short URL {keyword} already exists in database or is reserved"
            raise YourlsFailure(200, _failed("error:keyword", text, 200)) from error
        except TargetRefusedError as error:
            code = "error:noloop" if "loop" in error.message else "error:nourl"
            raise YourlsFailure(400, _failed(code, error.message, 400)) from error
        body = {
            "status": "success",
            "code": "",
            "url": _entry(link),
            "message": f"{link.url} added to database",
            "title": _title(link),
            "shorturl": link.short_url,
            "statusCode": 200,
        }
        if link.existed:
            body |= {
                "status": "fail",
                "code": "error:url",
                "message": f"{link.url} already exists in database",
            }
        return body

    async def _expand(self, tenant: TenantId, asked: Mapping[str, str]) -> Reply:
        link = await self._find(tenant, asked)
        return {
            "keyword": link.code,
            "shorturl": link.short_url,
            "longurl": link.url,
            "title": _title(link),
            "simple": link.url,
            "message": "success",
            "statusCode": 200,
        }

    async def _url_stats(self, tenant: TenantId, asked: Mapping[str, str]) -> Reply:
        return {"statusCode": 200, "message": "success", "link": _statistics(await self._find(tenant, asked))}

    async def _list_stats(self, tenant: TenantId, asked: Mapping[str, str]) -> Reply:
        order = asked.get("filter", "top")
        try:
            limit = min(max(int(asked.get("limit") or 10), 0), 500)
            start = max(int(asked.get("start") or 0), 0)
        except ValueError as error:
            raise YourlsFailure(
                400, {"errorCode": "400", "message": "limit and start are numbers"}
            ) from error
        if order not in ("top", "bottom", "rand", "random", "last"):
            raise YourlsFailure(400, {"errorCode": "400", "message": "filter is top, bottom, rand or last"})
        found = await self._links.ranked(
            tenant, order.removesuffix("om") if order == "random" else order, limit, start
        )
        reply: Reply = {
            "statusCode": 200,
            "message": "success",
            "stats": (await self._totals(tenant, asked))["db-stats"],
        }
        if found:
            reply["links"] = {f"link_{place}": _statistics(link) for place, link in enumerate(found, start=1)}
        return reply

    async def _totals(self, tenant: TenantId, _: Mapping[str, str]) -> Reply:
        totals = await self._stats.of_tenant(tenant)
        counts = {"total_links": str(totals.links), "total_clicks": str(totals.clicks)}
        return {"db-stats": counts, "statusCode": 200, "message": "success"}

    async def _find(self, tenant: TenantId, asked: Mapping[str, str]) -> Link:
        # A client sends the code or the whole short URL.
        code = asked.get("shorturl", "").rstrip("/").rsplit("/", 1)[-1]
        try:
            return await self._links.get(tenant, code)
        except LinkNotFoundError as error:
            raise YourlsFailure(
                404,
                {
                    "keyword": code,
                    "errorCode": "404",
                    "message": "Error: short URL not found",
                    "statusCode": 404,
                },
            ) from error


def _failed(code: str, message: str, status: int) -> Reply:
    return {
        "status": "fail",
        "code": code,
        "message": message,
        "errorCode": str(status),
        "statusCode": status,
    }


def _title(link: Link) -> str:
    return link.title or link.note or link.url


def _entry(link: Link) -> Reply:
    return {"keyword": link.code, "url": link.url, "title": _title(link), "date": _date(link), "ip": ""}


def _statistics(link: Link) -> Reply:
    return {
        "shorturl": link.short_url,
        "url": link.url,
        "title": _title(link),
        "timestamp": _date(link),
        "ip": "",
        "clicks": str(link.clicks),
    }


def _date(link: Link) -> str:
    return from_ms(link.created_at_ms).strftime("%Y-%m-%d %H:%M:%S")


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_FORM_BYTES:
            raise YourlsFailure(413, {"errorCode": "413", "message": "The form is too large"})
        if not message.get("more_body"):
            return bytes(body)


def _rendered(reply: Reply, asked: Mapping[str, str]) -> tuple[bytes, bytes]:
    """`(content type, body)` in the format that was asked for; xml is YOURLS's default."""
    kind = asked.get("format", "xml").lower()
    if kind in ("json", "jsonp"):
        text = msgspec.json.encode(reply)
        if kind == "json":
            return b"application/json", text
        callback = "".join(c for c in asked.get("callback", "callback") if c.isalnum() or c in "_$.")
        return b"application/javascript", callback.encode() + b"(" + text + b")"
    if kind == "simple":
        simple = (
            reply.get("shorturl") or reply.get("longurl") or reply.get("version") or reply.get("message", "")
        )
        return b"text/plain; charset=utf-8", str(reply.get("simple", simple)).encode()
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<result>{_xml(reply)}</result>'
    return b"application/xml; charset=utf-8", xml.encode("utf-8", "xmlcharrefreplace")


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())
    return escape(str(value))


async def _send(
    send: Any,
    status: int,
    rendered: tuple[bytes, bytes],
    asked: Mapping[str, str],
    more: list[tuple[bytes, bytes]],
) -> None:
    kind, body = rendered
    # A script element never shows a body that came with an error status.
    sent = 200 if asked.get("format") == "jsonp" else status
    headers = [
        (b"content-type", kind),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": sent, "headers": headers})
    await send({"type": "http.response.body", "body": body})
