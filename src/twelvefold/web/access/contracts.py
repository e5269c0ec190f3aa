"""What crosses the boundary of access: frozen structs and the errors. Times are milliseconds since 1970."""

from typing import Annotated, Literal

import msgspec

from twelvefold.kernel.errors import ConflictError, NotFoundError
from twelvefold.kernel.tenancy import TenantId

Tier = Literal["free", "pro", "enterprise"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Scope = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class KeyNotFoundError(NotFoundError):
    """There is no such API key."""

    code = "keys.not_found"


class KeyInUseError(ConflictError):
    """This very key makes the request; use another one to revoke it."""

    code = "keys.in_use"


class KeyNotRestorableError(ConflictError):
    """A key can be restored within ten minutes of being revoked, not later."""

    code = "keys.not_restorable"


class TenantNameTakenError(ConflictError):
    """A tenant has that name already."""

    code = "tenants.name_taken"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to make."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=64)]
    tier: Tier = "free"
    expires_at_ms: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. `public` is its first part, which may be shown and logged."""

    id: int
    tenant_id: TenantId
    public: str
    name: str
    scopes: tuple[str, ...]
    tier: Tier
    created_at_ms: int
    expires_at_ms: int | None
    last_used_at_ms: int | None
    revoked_at_ms: int | None


class MadeKey(msgspec.Struct, frozen=True):
    """A new key; `key` is the only copy of its secret."""

    record: ApiKey
    key: str


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose data nobody else sees."""

    id: TenantId
    name: str
    created_at_ms: int


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in, in words."""

    tenant_id: TenantId
    tenant_name: str
    key_id: int
    key_name: str
    scopes: tuple[str, ...]
    tier: str


class KeyPage(msgspec.Struct, frozen=True):
    """A page of keys, newest first; `next_id` begins the following one."""

    items: tuple[ApiKey, ...]
    next_id: int | None


class TenantPage(msgspec.Struct, frozen=True):
    """A page of tenants, newest first."""

    items: tuple[Tenant, ...]
    next_id: int | None
