"""The one ASGI application of a web process: a small dispatcher in front of everything.

`/v1` goes to Litestar, the rest to the mounts, the console and the health checks. Every request gets
a request id, a deadline until its response begins, and, if it fails, a problem in one form; every API
request passes the guard and the gate first. It is an ordinary ASGI application and runs on any server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog
from litestar import Litestar, Router

from twelvefold.kernel.errors import MalformedRequestError, MethodNotAllowedError, NotFoundError
from twelvefold.kernel.tenancy import Principal
from twelvefold.web.api import build_api, methods_of
from twelvefold.web.asgi_sockets import AsgiSocket
from twelvefold.web.description import STYLE, describe, page
from twelvefold.web.exchange import Deadlines, Exchange
from twelvefold.web.frames import POLICY_VIOLATION
from twelvefold.web.guard import SAFE_METHODS, Gate, Guard, RequestFacts, require
from twelvefold.web.hub import Hub
from twelvefold.web.mount import AsgiApp, Mount
from twelvefold.web.problem import DeadlineExceededError, as_error, problem_response, request_id_from
from twelvefold.web.proxies import client_of
from twelvefold.web.socket_routes import Accepted, SocketRoute, SocketRoutes, handshake_of
from twelvefold.web.static import POLICY, SECURITY_HEADERS, StaticFiles

log = structlog.get_logger("web")

Readiness = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Engine name to what is wrong with it; None where it answers."""

_LOGIN: Final = "/v1/session"
_UNAUTHENTICATED: Final = 401
_JSON: Final = (b"content-type", b"application/json")


class Observer(Protocol):
    """Told about each request of the ordinary path; the traffic counters are one."""

    def finished(self, system: str, seconds: float, status: int) -> None:
        """A response has begun (or failed) after `seconds`."""


class _NobodyWatches:
    def finished(self, system: str, seconds: float, status: int) -> None:
        pass


class Application:
    """See the module.

    Args:
        mounts: the systems.
        sockets: more WebSocket endpoints (platform).
        hub: where sockets listen, for those that another ASGI server carries.
        routers: more Litestar routers below `/v1` (access, platform).
        readiness: asks the engines.
        guard: authenticates `/v1`; without one, nobody is anybody.
        gate: the limiter, once there is one.
        observer: counts.
        metrics: the Prometheus page.
        console: the folder of the built console.
        version: for the API's description.
        request_seconds: how long a response may take to begin.
        max_body_bytes: the largest body, where a mount does not say otherwise and no server of ours did.
        trusted_proxies: how many proxies of ours may be believed about the client's address.
    """

    def __init__(
        self,
        mounts: Sequence[Mount] = (),
        *,
        routers: Sequence[Router] = (),
        sockets: Sequence[SocketRoute] = (),
        hub: Hub | None = None,
        readiness: Readiness | None = None,
        guard: Guard | None = None,
        gate: Gate | None = None,
        observer: Observer | None = None,
        metrics: Callable[[], Awaitable[bytes]] | None = None,
        console: Path | None = None,
        version: str = "",
        request_seconds: float = 30.0,
        trusted_proxies: int = 0,
        max_body_bytes: int = 10 * 1024 * 1024,
    ) -> None:
        self._guard = guard
        self._hub = hub
        self._sockets = SocketRoutes((*sockets, *(route for mount in mounts for route in mount.sockets)))
        self._gate = gate
        self._observer = observer or _NobodyWatches()
        self._metrics = metrics
        self._readiness = readiness
        self._request_seconds = request_seconds
        self._deadlines = Deadlines(request_seconds)
        self._trusted_proxies = trusted_proxies
        self.api: Litestar = build_api(
            [*routers, *(router for mount in mounts for router in mount.routers)],
            version=version,
            max_body_bytes=max(
                max_body_bytes, *(limit for mount in mounts for limit in mount.body_limits.values()), 0
            ),
        )
        self._litestar: AsgiApp = self.api
        self._systems = {
            segment: mount.name for mount in mounts for segment in (mount.segments or (mount.name,))
        }
        self._console = StaticFiles(console, "/console/") if console else None
        self._exact: dict[str, AsgiApp] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._send_metrics,
            "/openapi.json": self._send_description,
            "/docs": self._send_docs,
            "/docs/": _redirect("/docs"),
            "/docs/style.css": self._send_style,
            "/console": _redirect("/console/"),
            "/": _redirect("/console/"),
        }
        self._roots = tuple(mount.root for mount in mounts if mount.root is not None)
        self._prefixes: list[tuple[str, str, AsgiApp]] = sorted(
            (
                (prefix, mount.name, mount.root)
                for mount in mounts
                if mount.root is not None
                for prefix in mount.root_prefixes
            ),
            key=lambda entry: -len(entry[0]),
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI entry."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _http(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        request_id = request_id_from(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        system, app = self._find(scope["path"])
        exchange = Exchange(send, request_id, is_bare=app in self._roots)
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadlines = self._deadlines
        deadlines.begin(exchange, loop, began)
        if scope["method"] not in SAFE_METHODS:
            receive = exchange.hearing(receive, deadlines.seconds)
        try:
            await app(scope, receive, exchange)
        except asyncio.CancelledError:
            if not deadlines.is_ours(exchange):
                raise
            await self._fail(DeadlineExceededError(), exchange, scope)
        except Exception as cause:  # noqa: BLE001  # the last door: whatever it is becomes an answer
            if not exchange.is_gone:
                await self._fail(cause, exchange, scope)
        finally:
            deadlines.end(exchange)
            self._observer.finished(system, loop.time() - began, exchange.status)

    async def _fail(self, cause: Exception, exchange: Exchange, scope: dict[str, Any]) -> None:
        request_id = scope["state"]["request_id"]
        error = as_error(cause, request_id)
        if exchange.status:
            # Too late for a status: the missing end of the body tells the client.
            log.error("web.response.broken", request_id=request_id, exc_info=cause)
            raise cause
        await problem_response(error, scope)(scope, None, exchange)

    def _find(self, path: str) -> tuple[str, AsgiApp]:
        """Which system's request this is, and who answers it."""
        if path.startswith("/v1/"):
            return self._systems.get(path.split("/", 3)[2], "platform"), self._api
        if app := self._exact.get(path):
            return "platform", app
        if path.startswith("/console/") and self._console is not None:
            return "platform", self._console
        for prefix, name, root in self._prefixes:
            # Whole segments: `/api` is not the beginning of the short link `/apiQ3x`.
            if path.startswith(prefix) and (
                prefix[-1] == "/" or path[len(prefix) : len(prefix) + 1] in ("", "/")
            ):
                return name, root
        return "platform", _not_found

    # -- /v1 ------------------------------------------------------------------------------------

    async def _api(self, scope: dict[str, Any], receive: Any, send: Exchange) -> None:
        if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]:
            raise MalformedRequestError("the address contains a NUL character")
        if scope["method"] == "OPTIONS":
            await reply_options(send, methods_of(self.api, scope["path"]))
            return
        try:
            await self._identify(scope, scope["method"])
        finally:
            gate_headers = scope["state"].get("gate_headers", ())
            send.headers += [(name.encode(), value.encode()) for name, value in gate_headers]
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # whoever carries the response leaves its body out
        if self._gate is not None and scope["method"] == "POST" and scope["path"].rstrip("/") == _LOGIN:
            await self._log_in(self._gate, scope, receive, send)
            return
        await self._litestar(scope, receive, send)

    async def _log_in(self, gate: Gate, scope: dict[str, Any], receive: Any, send: Exchange) -> None:
        """Its credentials come in the body, so the guard has not seen them."""
        client = client_of(scope, self._trusted_proxies)
        barred = gate.barred(client)
        if barred is not None:
            raise barred

        async def counted(message: dict[str, Any]) -> None:
            # Counted before the answer leaves, or whoever does not wait for it would guess for nothing.
            if message["type"] == "http.response.start" and message["status"] == _UNAUTHENTICATED:
                await gate.failed(client)
            await send(message)

        await self._litestar(scope, receive, counted)

    # -- WebSockets -----------------------------------------------------------------------------

    async def connect(self, scope: dict[str, Any]) -> Accepted:
        """Let a WebSocket in, or raise why not. Called by our own server's sockets."""
        state = scope.setdefault("state", {})
        state["request_id"] = request_id_from(scope["headers"])
        found = self._sockets.find(scope["path"])
        if found is None:
            raise NotFoundError("there is no WebSocket here")
        route, params = found
        principal = await self._identify(scope, "GET")
        if route.scope:
            require(principal, route.scope)
        client = client_of(scope, self._trusted_proxies)
        accepted = await route.connect(handshake_of(scope, params, principal, client=client))
        if not isinstance(accepted, Accepted):
            accepted = Accepted(handler=accepted)
        if principal is None or self._guard is None:
            return accepted
        return msgspec.structs.replace(accepted, still_valid=partial(self._guard.still_knows, scope))

    async def _websocket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The same on another ASGI server."""
        await receive()
        try:
            async with asyncio.timeout(self._request_seconds):
                accepted = await self.connect(scope)
        except Exception as cause:  # noqa: BLE001  # the last door: whatever it is becomes an answer
            error = as_error(cause, scope["state"]["request_id"])
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.message[:120]})
        else:
            await AsgiSocket(accepted, self._hub).run(receive, send)

    async def _identify(self, scope: dict[str, Any], method: str) -> Principal | None:
        """Ask the guard, then the gate."""
        client = client_of(scope, self._trusted_proxies)
        principal = None
        if self._guard is not None:
            principal = await self._guard.identify(scope, client=client, gate=self._gate)
        scope["state"]["principal"] = principal
        if self._gate is not None:
            facts = RequestFacts(method, scope["path"], client)
            decision = await self._gate.admit(principal, facts)
            scope["state"]["gate_headers"] = decision.headers
            if decision.refused is not None:
                raise decision.refused
        return principal

    # -- the platform's own addresses -----------------------------------------------------------

    async def _healthz(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await reply(scope, send, 200, b'{"status":"alive"}', [_JSON])

    async def _readyz(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        engines = dict(await self._readiness()) if self._readiness else {}
        ready = not any(engines.values())
        body = msgspec.json.encode(
            {
                "status": "ready" if ready else "not_ready",
                "engines": {k: v or "ok" for k, v in engines.items()},
            }
        )
        headers = [_JSON] if ready else [_JSON, (b"retry-after", b"1")]
        await reply(scope, send, 200 if ready else 503, body, headers)

    async def _send_metrics(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        body = await self._metrics() if self._metrics else b""
        await reply(scope, send, 200, body, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])

    @cached_property
    def description(self) -> dict[str, Any]:
        """The API's description, OpenAPI 3.1."""
        return describe(self.api)

    async def _send_description(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await reply(scope, send, 200, msgspec.json.encode(self.description), [_JSON])

    async def _send_docs(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", POLICY.encode()),
        ]
        await reply(scope, send, 200, page(self.description), headers)

    async def _send_style(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await reply(scope, send, 200, STYLE.encode(), [(b"content-type", b"text/css; charset=utf-8")])


async def reply(
    scope: Mapping[str, Any], send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """A whole response to GET or HEAD; other methods are refused."""
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowedError(hint="it answers to GET and HEAD", allow="GET, HEAD")
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, *SECURITY_HEADERS, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def reply_options(send: Any, methods: str) -> None:
    """What an address answers to (RFC 9110 §9.3.7)."""
    headers = [(b"allow", methods.encode()), *SECURITY_HEADERS]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _redirect(target: str) -> AsgiApp:
    async def answer(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await reply(scope, send, 302, b"", [(b"location", target.encode())])

    return answer


async def _not_found(_scope: Any, _receive: Any, _send: Any) -> None:
    raise NotFoundError


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
