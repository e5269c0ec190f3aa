"""The public side on the ordinary path: redirects, pastes, the page behind `code+`, the password form.

Invariant: for a plain link the answer is byte for byte the fast lane's. Whatever a visitor sends, the
answer is a redirect, a page or a problem; never a 500.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from twelvefold.kernel.clock import from_ms
from twelvefold.kernel.errors import (
    InvalidInputError,
    MethodNotAllowedError,
    TooLargeError,
    TwelvefoldError,
)
from twelvefold.systems.links.contracts import (
    Destination,
    Domain,
    LinkNotFoundError,
    PasswordNeededError,
    PasswordWrongError,
)
from twelvefold.systems.links.routes.pages import (
    STYLE_HASH,
    info_page,
    password_page,
    paste_page,
    problem_page,
    thanks_page,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.rules.routing import Visitor
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.pastes import Pastes
from twelvefold.systems.links.service.redirects import Redirects, query_of
from twelvefold.systems.links.store.links import LinkStore
from twelvefold.web.problem import problem_response

MAX_FORM_BYTES = 8192

Send = Callable[[dict[str, Any]], Any]
Receive = Callable[[], Any]


class RequestContext(msgspec.Struct, frozen=True):
    """A click's context on the ordinary path: the same two things that the lane's has."""

    client: str
    tail: bytes


class PublicPages:
    """An ASGI app for everything at the root that looks like a code.

    Args:
        visitor: from the client's address, the head and the query to what rules may ask.
    """

    def __init__(
        self,
        *,
        redirects: Redirects,
        pastes: Pastes,
        abuse: Abuse,
        domains: Domains,
        links: LinkStore,
        visitor: Callable[[str, bytes, dict[str, str]], Visitor],
    ) -> None:
        self._redirects = redirects
        self._pastes = pastes
        self._abuse = abuse
        self._domains = domains
        self._links = links
        self._visitor = visitor

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(scope, receive, send)
        except (PasswordNeededError, PasswordWrongError) as error:
            page = password_page(error.message if isinstance(error, PasswordWrongError) else "")
            await _send(send, scope, error.status, page, "text/html; charset=utf-8")
        except TwelvefoldError as error:
            if _wants_html(scope):
                fields = _retry_after(error)
                await _send(
                    send, scope, error.status, problem_page(error), "text/html; charset=utf-8", *fields
                )
            else:
                await problem_response(error, scope)(scope, receive, send)

    async def _answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        code, view = _code_of(scope)
        method = scope["method"]
        domain = self._redirects.resolver.domain_of(_header(scope, b"host"))
        if method == "POST":
            form = await _form(scope, receive)
            if view == "report":
                await self._report(domain, code, form, scope, send)
                return
        elif method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(hint="a short link answers to GET and HEAD")
        else:
            form = {}
        destination = await self._redirects.destination(domain, code)
        if destination.kind == "paste":
            await self._paste(destination, view, scope, send)
        elif view == "info":
            await self._info(destination, domain, code, scope, send)
        elif view:
            raise LinkNotFoundError
        else:
            await self._redirect(destination, form.get("password"), scope, send)

    async def _redirect(
        self, destination: Destination, password: str | None, scope: dict[str, Any], send: Send
    ) -> None:
        query = scope["query_string"].decode("latin-1")
        context = request_context(scope)
        followed = await self._redirects.follow(
            destination,
            query=query,
            visitor=lambda: self._visitor(context.client, context.tail, query_of(query)),
            context=context,
            password=password,
            counted=scope["method"] != "HEAD",
        )
        # After a form the browser must not send the password on to the target: 303 makes it a GET.
        status = 303 if scope["method"] == "POST" else followed.status
        headers = life.redirect_headers(302 if status == 303 else status, followed.url)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _paste(self, destination: Destination, view: str, scope: dict[str, Any], send: Send) -> None:
        if view not in ("", "raw"):
            raise LinkNotFoundError
        if scope["method"] == "HEAD":  # a look at the head must not burn the text
            await _send(send, scope, 200, "", "text/plain; charset=utf-8")
            return
        paste = await self._pastes.read(destination)
        if view == "raw":
            await _send(send, scope, 200, paste.text or "", "text/plain; charset=utf-8")
        else:
            await _send(send, scope, 200, paste_page(paste), "text/html; charset=utf-8")

    async def _info(
        self, destination: Destination, domain: Domain, code: str, scope: dict[str, Any], send: Send
    ) -> None:
        clicks, created_at_ms = await self._links.public_counts(destination.link_id)
        hidden = destination.password_hash is not None
        short_url = self._domains.short_url(domain.host, code)
        target = "" if hidden else destination.url
        if _wants_html(scope):
            page = info_page(short_url, target, clicks, from_ms(created_at_ms).date().isoformat())
            await _send(send, scope, 200, page, "text/html; charset=utf-8")
        else:
            body = {"short_url": short_url, "url": target or None, "clicks": clicks}
            await _send(send, scope, 200, msgspec.json.encode(body).decode(), "application/json")

    async def _report(
        self, domain: Domain, code: str, form: dict[str, str], scope: dict[str, Any], send: Send
    ) -> None:
        destination = await self._redirects.destination(domain, code)
        reason = form.get("reason", "").strip()
        if not reason or len(reason) > 1000:
            raise InvalidInputError(
                "say in up to 1,000 characters what is wrong with this link", field="reason"
            )
        await self._abuse.report(destination.link_id, reason)
        await _send(send, scope, 202, thanks_page(), "text/html; charset=utf-8")


def request_context(scope: dict[str, Any]) -> RequestContext:
    """The head of an ASGI request, put together again as it came after its target."""
    lines = [b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in scope["headers"] if name != b"cookie"]
    client = scope.get("client")
    return RequestContext(client[0] if client else "", b"\r\n".join(lines) + b"\r\n\r\n")


def _code_of(scope: dict[str, Any]) -> tuple[str, str]:
    """`(code, view)` of `/code`, `/code+`, `/code/raw`, `/code/report`. Raises `LinkNotFoundError`."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    root = scope.get("root_path", "")
    path = raw.decode("latin-1").removeprefix(root)
    first, slash, rest = path.removeprefix("/").partition("/")
    code = unquote(first, errors="replace")
    if slash and rest not in ("raw", "report"):
        raise LinkNotFoundError
    if code.endswith("+") and not slash:
        return code[:-1], "info"
    if not code or "/" in code or "\x00" in code or len(code) > 64:
        raise LinkNotFoundError
    return code, rest


async def _form(scope: dict[str, Any], receive: Receive) -> dict[str, str]:
    if not _header(scope, b"content-type").startswith("application/x-www-form-urlencoded"):
        raise InvalidInputError("send a form (application/x-www-form-urlencoded)", field="content-type")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if len(body) > MAX_FORM_BYTES:
            raise TooLargeError(f"this form takes at most {MAX_FORM_BYTES} bytes")
        if not message.get("more_body"):
            break
    try:
        values = parse_qs(body.decode("utf-8"), max_num_fields=20)
    except ValueError as error:
        raise InvalidInputError("the form cannot be read") from error
    return {name: found[0] for name, found in values.items()}


def _header(scope: dict[str, Any], wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            decoded: str = value.decode("latin-1")
            return decoded
    return ""


def _wants_html(scope: dict[str, Any]) -> bool:
    return "text/html" in _header(scope, b"accept")


def _retry_after(error: TwelvefoldError) -> list[tuple[bytes, bytes]]:
    if error.retry_after_seconds is None:
        return []
    return [(b"retry-after", str(max(1, round(error.retry_after_seconds + 0.5))).encode())]


async def _send(
    send: Send, scope: dict[str, Any], status: int, text: str, content_type: str, *more: tuple[bytes, bytes]
) -> None:
    body = text.encode("utf-8", "replace")
    headers = [
        (b"content-type", content_type.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
        # Pages hold what strangers wrote: nothing in them may run, and nobody may frame them.
        (
            b"content-security-policy",
            b"default-src 'none'; style-src 'sha256-%b'; form-action 'self'" % STYLE_HASH,
        ),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        *more,
    ]
    await send({"type": "http.response.start", "status": int(HTTPStatus(status)), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
