"""Domains whose paths are codes, hosts that nobody may link to, and complaints about links."""

import msgspec

from twelvefold.engines.database import Database
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import Domain, DomainTakenError, Report
from twelvefold.systems.links.store.links import CHANNEL


class DomainStore:
    """Queries about domains, blocked hosts and reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def domains(self) -> list[Domain]:
        """All registered domains; the redirect path keeps them in memory."""
        rows = await self._database.fetch(
            "SELECT id, tenant_id, host, ignore_case FROM links.domain ORDER BY id"
        )
        return [msgspec.convert(dict(row), Domain) for row in rows]

    async def add_domain(self, tenant: TenantId, host: str, *, ignore_case: bool) -> Domain:
        """Register a host. Raises `DomainTakenError`."""
        async with self._database.transaction() as transaction:
            domain_id = await transaction.fetch_value(
                "INSERT INTO links.domain (tenant_id, host, ignore_case) VALUES ($1, $2, $3)"
                " ON CONFLICT DO NOTHING RETURNING id",
                tenant,
                host,
                ignore_case,
            )
            if domain_id is None:
                raise DomainTakenError(field="host")
            await transaction.execute("SELECT pg_notify($1, 'd')", CHANNEL)
        return Domain(id=domain_id, tenant_id=tenant, host=host, ignore_case=ignore_case)

    async def blocked_hosts(self, tenant: TenantId) -> frozenset[str]:
        """Hosts that this tenant's links may not point to."""
        rows = await self._database.fetch("SELECT host FROM links.blocked_host WHERE tenant_id = $1", tenant)
        return frozenset(row["host"] for row in rows)

    async def block_host(self, tenant: TenantId, host: str) -> None:
        """Block a host and what is below it, for links made from now on."""
        await self._database.execute(
            "INSERT INTO links.blocked_host (tenant_id, host) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            tenant,
            host,
        )

    async def unblock_host(self, tenant: TenantId, host: str) -> None:
        """Take a host off the list."""
        await self._database.execute(
            "DELETE FROM links.blocked_host WHERE tenant_id = $1 AND host = $2", tenant, host
        )

    async def add_report(
        self, tenant: TenantId, report_id: int, link_id: int, reason: str, now_ms: int
    ) -> None:
        """Keep a complaint, at most 100 a link."""
        await self._database.execute(
            """INSERT INTO links.report SELECT $2, $1, $3, $4, $5
               WHERE (SELECT count(*) FROM links.report WHERE link_id = $3) < 100""",
            tenant,
            report_id,
            link_id,
            reason,
            now_ms,
        )

    async def reports(self, tenant: TenantId, limit: int) -> list[Report]:
        """Complaints about the tenant's links, newest first."""
        rows = await self._database.fetch(
            """SELECT r.id, l.code, r.reason, r.reported_at_ms FROM links.report r JOIN links.link l ON l.id = r.link_id
               WHERE r.tenant_id = $1 ORDER BY r.id DESC LIMIT $2""",
            tenant,
            limit,
        )
        return [msgspec.convert(dict(row), Report) for row in rows]
