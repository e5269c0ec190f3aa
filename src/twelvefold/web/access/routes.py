"""`/v1/session`, `/v1/keys`, `/v1/tenants`."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, JSONBody, QueryParameter

from twelvefold.kernel.clock import to_ms
from twelvefold.kernel.errors import InvalidInputError, UnauthenticatedError
from twelvefold.web.access.contracts import ApiKey, MadeKey, Name, NewKey, Scope, SessionView, Tenant, Tier
from twelvefold.web.access.rules import SESSION_SECONDS
from twelvefold.web.access.service import Access
from twelvefold.web.guard import SESSION_COOKIE, Guard, cookie_value, principal_of, requires
from twelvefold.web.moments import rfc3339, rfc3339_or_none

Ask = Request[Any, Any, Any]
Cursor = Annotated[
    int | None, QueryParameter(description="`next_cursor` of the page before.", ge=1, le=(1 << 63) - 1)
]
Limit = Annotated[int, QueryParameter(ge=1, le=500)]


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the two."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    api_key: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


class LoginLink(msgspec.Struct, frozen=True):
    """Opens one session within ten minutes."""

    token: str
    path: str


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=64)]
    tier: Tier = "free"
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class TenantRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to make. Its keys have at most this tier."""

    name: Name
    tier: Tier = "free"


class NamedView(msgspec.Struct, frozen=True):
    """Something with a name."""

    id: str
    name: str


class SessionAnswer(msgspec.Struct, frozen=True):
    """Who is logged in."""

    tenant: NamedView
    key: NamedView
    scopes: tuple[str, ...]
    tier: str

    @classmethod
    def of(cls, view: SessionView) -> "SessionAnswer":
        """From the contract."""
        return cls(
            NamedView(str(view.tenant_id), view.tenant_name),
            NamedView(str(view.key_id), view.key_name),
            view.scopes,
            view.tier,
        )


class KeyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key; `key` is there once, when it is made."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    tier: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    key: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, record: ApiKey, key: str | msgspec.UnsetType = msgspec.UNSET) -> "KeyView":
        """From the contract."""
        return cls(
            id=str(record.id),
            name=record.name,
            prefix=f"tf_{record.public}",
            scopes=record.scopes,
            tier=record.tier,
            created_at=rfc3339(record.created_at_ms),
            expires_at=rfc3339_or_none(record.expires_at_ms),
            last_used_at=rfc3339_or_none(record.last_used_at_ms),
            revoked_at=rfc3339_or_none(record.revoked_at_ms),
            key=key,
        )


class KeyList(msgspec.Struct, frozen=True):
    """A page."""

    items: list[KeyView]
    next_cursor: str | None


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant; `owner_key` is there once, when it is made."""

    id: str
    name: str
    created_at: str
    owner_key: KeyView | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, tenant: Tenant, owner: MadeKey | None = None) -> "TenantView":
        """From the contract."""
        return cls(
            id=str(tenant.id),
            name=tenant.name,
            created_at=rfc3339(tenant.created_at_ms),
            owner_key=KeyView.of(owner.record, owner.key) if owner else msgspec.UNSET,
        )


class TenantList(msgspec.Struct, frozen=True):
    """A page."""

    items: list[TenantView]
    next_cursor: str | None


def access_routes(access: Access, guard: Guard, *, secure_cookies: bool) -> tuple[Router, ...]:
    """The routers. `secure_cookies`: the public address is https, so the cookie never travels without."""
    return (_session_routes(access, guard, secure_cookies), _key_routes(access), _tenant_routes(access))


def _session_routes(access: Access, guard: Guard, secure: bool) -> Router:  # noqa: FBT001  # one caller, above
    def cookie(value: str, seconds: int) -> Cookie:
        return Cookie(
            key=SESSION_COOKIE,
            value=value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="strict",
            secure=secure,
        )

    @post("/", status_code=200, summary="Log in to the console", opt={"anonymous": True})
    async def log_in(request: Ask, data: JSONBody[LoginRequest]) -> Response[SessionAnswer]:
        if request.headers.get("origin"):
            guard.require_own_origin(request.scope)
        if data.token is not None and data.api_key is None:
            token, principal = await access.log_in_with_token(data.token)
        elif data.api_key is not None and data.token is None:
            token, principal = await access.log_in_with_key(data.api_key)
        else:
            raise InvalidInputError("send either a token or an api_key")
        view = SessionAnswer.of(await access.describe(principal))
        return Response(view, cookies=[cookie(token, SESSION_SECONDS)])

    @post("/links", status_code=201, summary="Make a link that logs in once")
    async def make_link(request: Ask) -> LoginLink:
        # The key itself, not a session: a link must not be made from a link.
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError(
                "a login link is made with an API key", hint="send 'Authorization: Bearer tf_…'"
            )
        token = await access.make_login_token(key.strip())
        return LoginLink(token, f"/console/#login={token}")

    @get("/", summary="Who is logged in")
    async def current(request: Ask) -> SessionAnswer:
        return SessionAnswer.of(await access.describe(principal_of(request)))

    @delete("/", summary="Log out", status_code=204)
    async def log_out(request: Ask) -> Response[None]:
        principal = principal_of(request)
        token = cookie_value(request.headers.get("cookie", "").encode("latin-1"), SESSION_COOKIE)
        if token:
            await access.log_out(principal.tenant_id, token)
        return Response(None, status_code=204, cookies=[cookie("", 0)])

    return Router("/v1/session", route_handlers=[log_in, make_link, current, log_out], tags=["Session"])


def _key_routes(access: Access) -> Router:
    read, write = [requires("keys:read")], [requires("keys:write")]

    @get("/", guards=read, summary="List API keys")
    async def list_keys(request: Ask, cursor: Cursor = None, limit: Limit = 50) -> KeyList:
        page = await access.list_keys(principal_of(request).tenant_id, before_id=cursor, limit=limit)
        following = None if page.next_id is None else str(page.next_id)
        return KeyList([KeyView.of(key) for key in page.items], following)

    @post("/", guards=write, summary="Make an API key")
    async def create_key(request: Ask, data: JSONBody[KeyRequest]) -> KeyView:
        new = NewKey(
            name=data.name,
            scopes=data.scopes,
            tier=data.tier,
            expires_at_ms=None if data.expires_at is None else to_ms(data.expires_at),
        )
        made = await access.create_key(principal_of(request), new)
        return KeyView.of(made.record, made.key)

    @delete("/{key_id:int}", guards=write, summary="Revoke an API key", status_code=200)
    async def revoke_key(request: Ask, key_id: FromPath[int]) -> KeyView:
        return KeyView.of(await access.revoke_key(principal_of(request), key_id))

    @post("/{key_id:int}/restore", guards=write, summary="Undo a revocation", status_code=200)
    async def restore_key(request: Ask, key_id: FromPath[int]) -> KeyView:
        return KeyView.of(await access.restore_key(principal_of(request).tenant_id, key_id))

    return Router("/v1/keys", route_handlers=[list_keys, create_key, revoke_key, restore_key], tags=["Keys"])


def _tenant_routes(access: Access) -> Router:
    @get("/", summary="List tenants")
    async def list_tenants(request: Ask, cursor: Cursor = None, limit: Limit = 50) -> TenantList:
        page = await access.list_tenants(principal_of(request), before_id=cursor, limit=limit)
        following = None if page.next_id is None else str(page.next_id)
        return TenantList([TenantView.of(tenant) for tenant in page.items], following)

    @post("/", summary="Make a tenant and the key that owns it")
    async def create_tenant(request: Ask, data: JSONBody[TenantRequest]) -> TenantView:
        tenant, owner = await access.create_tenant(principal_of(request), data.name, data.tier)
        return TenantView.of(tenant, owner)

    return Router("/v1/tenants", route_handlers=[list_tenants, create_tenant], tags=["Tenants"])
