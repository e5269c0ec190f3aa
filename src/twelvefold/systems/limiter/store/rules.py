"""Rules, tiers, endpoint limits and Envoy domains in PostgreSQL; a NOTIFY tells every process of a change."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from twelvefold.engines.database import Database
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import EndpointRule, Rule, RuleConflictError, StoredRule, Tier

CHANNEL: Final = "limiter_rules"
"""Payload: `rules:<tenant>`, `envoy:<tenant>` or `gateway`."""
MAX_RULES: Final = 1000
MAX_SOURCE_BYTES: Final = 1_000_000


class RuleStore:
    """Queries about what is limited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tenants(self) -> list[TenantId]:
        """Who has rules."""
        rows = await self._database.fetch("SELECT DISTINCT tenant_id FROM limiter.rule ORDER BY tenant_id")
        return [TenantId(row["tenant_id"]) for row in rows]

    async def rules(self, tenant: TenantId) -> list[StoredRule]:
        """All rules of a tenant by name."""
        rows = await self._database.fetch(
            "SELECT body, version, previous, created_at_ms, updated_at_ms FROM limiter.rule"
            " WHERE tenant_id = $1 ORDER BY name",
            tenant,
        )
        return [_stored(row) for row in rows]

    async def rule(self, tenant: TenantId, name: str) -> StoredRule | None:
        """One rule."""
        row = await self._database.fetch_row(
            "SELECT body, version, previous, created_at_ms, updated_at_ms FROM limiter.rule"
            " WHERE tenant_id = $1 AND name = $2",
            tenant,
            name,
        )
        return None if row is None else _stored(row)

    async def put(self, tenant: TenantId, stored: StoredRule, *, expected_version: int) -> None:
        """Write the next version. Raises `RuleConflictError` when another came first, or there are too many."""
        async with self._database.transaction() as transaction:
            if expected_version == 0:
                count = await transaction.fetch_value(
                    "SELECT count(*) FROM limiter.rule WHERE tenant_id = $1", tenant
                )
                if count >= MAX_RULES:
                    raise RuleConflictError(f"a tenant has at most {MAX_RULES} rules")
                done = await transaction.fetch_value(
                    "INSERT INTO limiter.rule (tenant_id, name, version, body, previous, created_at_ms, updated_at_ms)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING version",
                    *_columns(tenant, stored),
                )
            else:
                done = await transaction.fetch_value(
                    "UPDATE limiter.rule SET version = $3, body = $4, previous = $5, created_at_ms = $6,"
                    " updated_at_ms = $7 WHERE tenant_id = $1 AND name = $2 AND version = $8 RETURNING version",
                    *_columns(tenant, stored),
                    expected_version,
                )
            if done is None:
                raise RuleConflictError
            await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, f"rules:{tenant}")

    async def delete(self, tenant: TenantId, name: str) -> bool:
        """Whether there was such a rule."""
        async with self._database.transaction() as transaction:
            gone = await transaction.fetch_value(
                "DELETE FROM limiter.rule WHERE tenant_id = $1 AND name = $2 RETURNING version", tenant, name
            )
            await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, f"rules:{tenant}")
        return gone is not None

    async def tiers(self) -> list[Tier]:
        """The tiers that were edited; the others are as they come."""
        rows = await self._database.fetch("SELECT name, rules FROM limiter.tier ORDER BY name")
        return [msgspec.convert({"name": row["name"], "rules": row["rules"]}, Tier) for row in rows]

    async def put_tier(self, tier: Tier, now_ms: int) -> None:
        """Replace a tier."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO limiter.tier VALUES ($1, $2, $3) ON CONFLICT (name)"
                " DO UPDATE SET rules = excluded.rules, updated_at_ms = excluded.updated_at_ms",
                tier.name,
                msgspec.to_builtins(tier.rules),
                now_ms,
            )
            await transaction.execute("SELECT pg_notify($1, 'gateway')", CHANNEL)

    async def endpoints(self) -> list[EndpointRule]:
        """Limits for parts of the API."""
        rows = await self._database.fetch(
            "SELECT method, path, rule FROM limiter.endpoint ORDER BY path, method"
        )
        return [msgspec.convert(dict(row), EndpointRule) for row in rows]

    async def put_endpoints(self, endpoints: Sequence[EndpointRule], now_ms: int) -> None:
        """Replace all of them at once."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM limiter.endpoint")
            for each in endpoints:
                await transaction.execute(
                    "INSERT INTO limiter.endpoint VALUES ($1, $2, $3, $4)",
                    each.method,
                    each.path,
                    msgspec.to_builtins(each.rule),
                    now_ms,
                )
            await transaction.execute("SELECT pg_notify($1, 'gateway')", CHANNEL)

    async def domains(self, tenant: TenantId | None = None) -> list[tuple[TenantId, str, str]]:
        """Envoy domains with their YAML, of one tenant or of all."""
        rows = await self._database.fetch(
            "SELECT tenant_id, domain, source FROM limiter.envoy_domain"
            " WHERE $1::bigint IS NULL OR tenant_id = $1 ORDER BY tenant_id, domain",
            tenant,
        )
        return [(TenantId(row["tenant_id"]), row["domain"], row["source"]) for row in rows]

    async def put_domain(self, tenant: TenantId, domain: str, source: str, now_ms: int) -> None:
        """Replace a domain's YAML."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO limiter.envoy_domain VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, domain)"
                " DO UPDATE SET source = excluded.source, updated_at_ms = excluded.updated_at_ms",
                tenant,
                domain,
                source,
                now_ms,
            )
            await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, f"envoy:{tenant}")

    async def delete_domain(self, tenant: TenantId, domain: str) -> bool:
        """Whether there was such a domain."""
        async with self._database.transaction() as transaction:
            gone = await transaction.fetch_value(
                "DELETE FROM limiter.envoy_domain WHERE tenant_id = $1 AND domain = $2 RETURNING domain",
                tenant,
                domain,
            )
            await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, f"envoy:{tenant}")
        return gone is not None


def _stored(row: Any) -> StoredRule:
    return StoredRule(
        rule=msgspec.convert(row["body"], Rule),
        version=row["version"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
        previous=tuple((msgspec.convert(rule, Rule), until_ms) for rule, until_ms in row["previous"]),
    )


def _columns(tenant: TenantId, stored: StoredRule) -> tuple[Any, ...]:
    return (
        tenant,
        stored.rule.name,
        stored.version,
        msgspec.to_builtins(stored.rule),
        [[msgspec.to_builtins(rule), until_ms] for rule, until_ms in stored.previous],
        stored.created_at_ms,
        stored.updated_at_ms,
    )
