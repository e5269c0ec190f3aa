"""Who is asking: API keys, the console's cookie, scopes, and the gate that a limiter closes.

Invariant: a request reaches a system only with the principal that its credentials prove, or none; a
cookie alone never changes anything unless the page that sent it is ours (same-origin `Origin`, which
a browser cannot be made to forge). A verified credential is believed for at most a second without
asking again, so a revoked key is dead within that second in every process. Who guesses is slowed by the
gate: an address with too many failures has no stranger's credential looked at.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import ForbiddenError, TwelvefoldError, UnauthenticatedError
from twelvefold.kernel.tenancy import Principal
from twelvefold.web.proxies import client_of

SESSION_COOKIE: Final = "twelvefold_session"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CACHE_SECONDS: Final = 1.0
_CACHE_ENTRIES: Final = 10_000
_MAX_CREDENTIAL_CHARACTERS: Final = 256


class Verifier(Protocol):
    """Turns a secret into who holds it."""

    async def principal_of_key(self, key: str) -> Principal | None:
        """Who holds this API key; None if nobody, or it has expired or been revoked."""

    async def principal_of_session(self, token: str) -> Principal | None:
        """Who logged in with this session token; None if nobody, or it has ended."""


class RequestFacts(msgspec.Struct, frozen=True):
    """What a gate may know about a request. `client` is an address without port."""

    method: str
    path: str
    client: str


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Headers for the response either way; `refused` says why the request stops here, if it does."""

    headers: tuple[tuple[str, str], ...] = ()
    refused: TwelvefoldError | None = None


class Gate(Protocol):
    """Asked for each API request after authentication; the limiter implements it."""

    async def admit(self, principal: Principal | None, facts: RequestFacts) -> GateDecision:
        """Decide within a few milliseconds, whatever state its engine is in."""

    def barred(self, client: str) -> TwelvefoldError | None:
        """Why credentials that are new from this address are not looked at now; None: they are."""

    async def failed(self, client: str) -> TwelvefoldError | None:
        """Credentials from this address proved nothing. The error to say so with, if there were too many."""


class Guard:
    """Authenticates requests of one process.

    Args:
        verifier: who holds a key or a session.
        clock: for the cache of verified credentials.
        public_origins: origins that are ours besides the one a request was sent to
            (`https://short.example`).
    """

    def __init__(
        self, verifier: Verifier, clock: Clock, *, public_origins: frozenset[str] = frozenset()
    ) -> None:
        self._verifier = verifier
        self._clock = clock
        self._public_origins = public_origins
        self._cache: dict[bytes, tuple[float, Principal | None]] = {}

    async def identify(
        self, scope: Mapping[str, Any], *, client: str = "", gate: Gate | None = None
    ) -> Principal | None:
        """The principal of a request; None if it shows no credentials.

        Args:
            scope: of the request; its headers, and what it does.
            client: the address that guesses count against.
            gate: counts them; None: nobody does.

        Raises:
            TwelvefoldError: what the gate says to an address that has guessed too often (429).
            UnauthenticatedError: credentials that are not valid (any more).
            ForbiddenError: a cookie that came with an unsafe request from a page that is not ours.
        """
        authorization = cookie = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"cookie":
                cookie = cookie + b"; " + value if cookie else value
        if authorization:
            return await self._by_key(authorization, client, gate)
        token = cookie_value(cookie, SESSION_COOKIE)
        return await self._by_session(token, scope, client, gate) if token else None

    async def still_knows(self, scope: Mapping[str, Any]) -> bool:
        """Whether the credentials of an open WebSocket are still valid; engine trouble is raised, not an answer."""
        try:
            return await self.identify(scope) is not None
        except UnauthenticatedError:
            return False

    def forget(self) -> None:
        """Believe nothing without asking again; called when this process changes keys or sessions."""
        self._cache.clear()

    async def _by_key(self, authorization: bytes, client: str, gate: Gate | None) -> Principal:
        key = _key_in(authorization)
        if not key or len(key) > _MAX_CREDENTIAL_CHARACTERS or not key.isascii():
            raise UnauthenticatedError(
                "the Authorization header is not a bearer key", hint="send 'Authorization: Bearer tf_…'"
            )
        principal = await self.holder(
            f"key:{key}", lambda: self._verifier.principal_of_key(key), client, gate
        )
        if principal is None:
            raise UnauthenticatedError(
                "this API key is not known, has expired or was revoked",
                hint="make a key with `twelvefold keys create`, or in the console under Keys",
            )
        return principal

    async def _by_session(
        self, token: str, scope: Mapping[str, Any], client: str, gate: Gate | None
    ) -> Principal:
        if len(token) > _MAX_CREDENTIAL_CHARACTERS:
            raise UnauthenticatedError("the session cookie is not one of ours")
        principal = await self.holder(
            f"session:{token}", lambda: self._verifier.principal_of_session(token), client, gate
        )
        if principal is None:
            raise UnauthenticatedError("this session has ended", hint="log in to the console again")
        # A WebSocket is opened by a GET, but it is as good as a POST: no other rule of browsers protects it.
        if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
            self.require_own_origin(scope)
        return principal

    def require_own_origin(self, scope: Mapping[str, Any]) -> None:
        """Raise `ForbiddenError` unless the page that sent this was served from here."""
        origin = host = ""
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
        if origin and (origin in self._public_origins or urlsplit(origin).netloc == host):
            return
        raise ForbiddenError(
            "a session cookie may only be used from the console's own pages",
            hint="programs send 'Authorization: Bearer tf_…' instead",
        )

    async def holder(
        self, secret: str, ask: Callable[[], Awaitable[Principal | None]], client: str, gate: Gate | None
    ) -> Principal | None:
        """Who holds a secret that came in a protocol's own way, and not as `identify` reads it; None: nobody.

        Args:
            secret: with its kind before it (`key:…`), so that one kind never passes for another.
            ask: who knows; asked at most once a second.
            client: the address that guesses count against.
            gate: counts them; None: nobody does.

        Raises:
            TwelvefoldError: what the gate says to an address that has guessed too often (429).
        """
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        now = self._clock.monotonic()
        known = self._cache.get(digest)
        # What was good when last asked is no guess, even beside somebody who guesses from the same address.
        if gate is not None and (known is None or known[1] is None):
            barred = gate.barred(client)
            if barred is not None:
                raise barred
        if known is not None and known[0] > now:
            principal = known[1]
        else:
            principal = await ask()
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            self._cache[digest] = (now + _CACHE_SECONDS, principal)
        if principal is None and gate is not None:
            too_many = await gate.failed(client)
            if too_many is not None:
                raise too_many
        return principal


def _key_in(authorization: bytes) -> str:
    """The API key in an `Authorization` header; "" if it is none.

    Basic carries it as the password, or as the user with no password: all that a program can say for which
    credentials are part of an address (Traefik's forwardAuth). We never ask for Basic, so no browser keeps any.
    """
    scheme, _, said = authorization.decode("latin-1").partition(" ")
    said = said.strip()
    if scheme.lower() == "bearer":
        return said
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, password = base64.b64decode(said, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password or user


def requires(scope: str) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """A Litestar guard: the principal must have `scope` (`links:write`)."""

    def check(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        require(principal_in(connection.scope), scope)

    return check


def require(principal: Principal | None, scope: str) -> Principal:
    """`principal`, if it is there and has `scope`. Raises `UnauthenticatedError`, `ForbiddenError`."""
    if principal is None:
        raise UnauthenticatedError(hint="send 'Authorization: Bearer tf_…'")
    if not principal.may(scope):
        raise ForbiddenError(f"this needs the scope '{scope}', which the key does not have", scope=scope)
    return principal


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Who is asking, in a handler. Raises `UnauthenticatedError` for nobody."""
    principal = principal_in(connection.scope)
    if principal is None:
        raise UnauthenticatedError(hint="send 'Authorization: Bearer tf_…'")
    return principal


def principal_in(scope: Mapping[str, Any]) -> Principal | None:
    """Who was found to be asking, as the dispatcher noted it."""
    found = scope.get("state", {}).get("principal")
    return found if isinstance(found, Principal) else None


def cookie_value(header: bytes, name: str) -> str:
    """The value of one cookie in a `Cookie` header; empty if it is not there or not plain ASCII."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name.encode():
            return value.decode("ascii", "ignore")
    return ""


class ForeignDoor:
    """The guard as doors use it whose secrets come in a protocol's own way (`X-API-Key`, YOURLS's signatures).

    Args:
        guard: believes for a second what it was told.
        gate: counts guesses, with those at all other doors; None: nobody does.
        trusted_proxies: as in `web.application.Application`.
    """

    def __init__(self, guard: Guard, gate: Gate | None, *, trusted_proxies: int) -> None:
        self._guard = guard
        self._gate = gate
        self._trusted_proxies = trusted_proxies

    async def holder(
        self, scope: Mapping[str, Any], secret: str, ask: Callable[[], Awaitable[Principal | None]]
    ) -> Principal | None:
        """See `Guard.holder`; the request's `scope` says where it came from."""
        return await self._guard.holder(secret, ask, client_of(scope, self._trusted_proxies), self._gate)
