"""Signature tokens of YOURLS clients in PostgreSQL."""

from collections.abc import Sequence

from twelvefold.engines.database import Database
from twelvefold.kernel.tenancy import TenantId


class SignatureStore:
    """Queries about tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, token: str, tenant: TenantId, key_id: int) -> None:
        """Remember a token; the same again changes nothing."""
        await self._database.execute(
            "INSERT INTO links.yourls_token (token, tenant_id, key_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            token,
            tenant,
            key_id,
        )

    async def tokens(self) -> Sequence[str]:
        """Up to a thousand tokens, newest first."""
        rows = await self._database.fetch(
            "SELECT token FROM links.yourls_token ORDER BY created_at DESC LIMIT 1000"
        )
        return [row["token"] for row in rows]

    async def key_of(self, token: str) -> int | None:
        """The key that a token belongs to."""
        key_id: int | None = await self._database.fetch_value(
            "SELECT key_id FROM links.yourls_token WHERE token = $1", token
        )
        return key_id
