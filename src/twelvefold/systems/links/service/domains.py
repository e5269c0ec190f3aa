"""Domains: hosts whose paths are codes. The server's own host is shared; any other belongs to one tenant."""

from collections.abc import Sequence

import can_ada

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import Domain, DomainRefusedError
from twelvefold.systems.links.rules.codes import folded
from twelvefold.systems.links.rules.targets import checked_host
from twelvefold.systems.links.service.resolver import SERVERS_OWN, Resolver
from twelvefold.systems.links.store.domains import DomainStore


class Domains:
    """Registers hosts and says where a code stands.

    Args:
        base_url: what the server's own short URLs begin with.
    """

    def __init__(self, store: DomainStore, resolver: Resolver, base_url: str) -> None:
        self._store = store
        self._resolver = resolver
        self._base_url = base_url.rstrip("/")
        self._own_host: str = can_ada.parse(self._base_url).host
        self._scheme = self._base_url.partition("://")[0]

    @property
    def own_hosts(self) -> frozenset[str]:
        """Hosts that lead back to this server."""
        return frozenset((self._own_host, *self._resolver.hosts()))

    async def add(self, tenant: TenantId, host: str, *, ignore_case: bool = False) -> Domain:
        """Serve codes under a host of the tenant's own. Raises `DomainRefusedError`, `DomainTakenError`."""
        try:
            name = checked_host(host)
        except ValueError as error:
            raise DomainRefusedError(str(error), field="host") from error
        if name == self._own_host:
            raise DomainRefusedError("this host is the server's own already", field="host")
        domain = await self._store.add_domain(tenant, name, ignore_case=ignore_case)
        await self._resolver.reload_domains()
        return domain

    async def list(self, tenant: TenantId) -> Sequence[Domain]:
        """The tenant's own hosts."""
        return [domain for domain in await self._store.domains() if domain.tenant_id == tenant]

    def find(self, tenant: TenantId, host: str | None) -> Domain:
        """The domain a caller names; none is the server's own. Raises `DomainRefusedError`."""
        if not host or host == self._own_host:
            return SERVERS_OWN
        domain = self._resolver.domain_of(host)
        if domain.id and domain.tenant_id == tenant:
            return domain
        raise DomainRefusedError(
            f"'{host}' is not one of your domains", field="domain", hint="add it with POST /v1/links/domains"
        )

    def place(self, tenant: TenantId, code: str, host: str | None) -> tuple[int, str]:
        """Where a code of the tenant's stands."""
        domain = self.find(tenant, host)
        return domain.id, folded(code, ignore_case=domain.ignore_case)

    def short_url(self, host: str, code: str) -> str:
        """The address to give away; an empty host is the server's own."""
        return f"{self._scheme}://{host}/{code}" if host else f"{self._base_url}/{code}"
