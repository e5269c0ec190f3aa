"""Abuse: hosts that nobody may link to, and what visitors complain about."""

from collections.abc import Sequence

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import Report
from twelvefold.systems.links.rules.targets import checked_host
from twelvefold.systems.links.store.domains import DomainStore
from twelvefold.systems.links.store.links import LinkStore


class Abuse:
    """Blocked hosts and reports."""

    def __init__(self, domains: DomainStore, links: LinkStore, ids: SnowflakeGenerator, clock: Clock) -> None:
        self._domains = domains
        self._links = links
        self._ids = ids
        self._clock = clock

    async def blocked(self, tenant: TenantId) -> frozenset[str]:
        """Hosts that the tenant's links may not lead to; what is below them is meant too."""
        return await self._domains.blocked_hosts(tenant)

    async def block(self, tenant: TenantId, host: str) -> str:
        """Refuse links to a host from now on; returns the host as it was understood."""
        try:
            name = checked_host(host)
        except ValueError as error:
            raise InvalidInputError(str(error), field="host") from error
        await self._domains.block_host(tenant, name)
        return name

    async def unblock(self, tenant: TenantId, host: str) -> None:
        """Allow links to a host again."""
        await self._domains.unblock_host(tenant, host.lower())

    async def report(self, link_id: int, reason: str) -> None:
        """Take a visitor's complaint; at most 100 a link are kept."""
        tenant = await self._links.tenant_of(link_id)
        await self._domains.add_report(tenant, self._ids.make(), link_id, reason, self._clock.now_ms())

    async def reports(self, tenant: TenantId, limit: int = 100) -> Sequence[Report]:
        """Complaints about the tenant's links, newest first."""
        return await self._domains.reports(tenant, limit)
