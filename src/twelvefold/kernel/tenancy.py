"""Who is asking, and for whom.

Every row and every key belongs to a tenant. A `Principal` is what the guard made of a request's
credentials; a store takes the tenant from it as its first argument and can not be called without.
"""

from typing import NewType

import msgspec

TenantId = NewType("TenantId", int)

DEFAULT_TENANT = TenantId(1)
"""The tenant that exists from the first start on."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller."""

    tenant_id: TenantId
    key_id: int
    scopes: frozenset[str]
    tier: str

    def may(self, scope: str) -> bool:
        """Whether `scope` (`links:write`) is granted, by itself, by its system (`links:*`) or by `*`."""
        system = scope.partition(":")[0]
        return scope in self.scopes or f"{system}:*" in self.scopes or "*" in self.scopes
