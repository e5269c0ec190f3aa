"""Pastes in PostgreSQL: texts under codes of the same space as the links."""

import msgspec

from twelvefold.engines.database import Database
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.store.links import CHANNEL, Place


class PasteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A paste as stored."""

    id: int
    code: str
    syntax: str
    body: str
    created_at_ms: int
    expires_at_ms: int | None
    burn: bool


class PasteStore:
    """Queries about pastes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, tenant: TenantId, place: Place, row: PasteRow) -> bool:
        """Store a paste; False when its code is taken. Burning is a limit of one click."""
        async with self._database.transaction() as transaction:
            made = await transaction.fetch_value(
                """INSERT INTO links.link (id, tenant_id, domain_id, folded, code, kind, url, created_at_ms,
                       updated_at_ms, expires_at_ms, max_clicks)
                   VALUES ($1, $2, $3, $4, $5, 'p', '', $6, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING id""",
                row.id,
                tenant,
                *place,
                row.code,
                row.created_at_ms,
                row.expires_at_ms,
                1 if row.burn else None,
            )
            if made is None:
                return False
            await transaction.execute(
                "INSERT INTO links.paste VALUES ($1, $2, $3)", row.id, row.syntax, row.body
            )
            await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, f"c {place[0]} {place[1]} 1")
        return True

    async def read(self, link_id: int) -> PasteRow | None:
        """A paste by its link's id; whether it may be read is decided before."""
        row = await self._database.fetch_row(
            """SELECT l.id, l.code, p.syntax, p.body, l.created_at_ms, l.expires_at_ms, l.max_clicks IS NOT NULL AS burn
               FROM links.link l JOIN links.paste p ON p.link_id = l.id WHERE l.id = $1""",
            link_id,
        )
        return msgspec.convert(dict(row), PasteRow) if row is not None else None

    async def erase(self, link_id: int) -> None:
        """Delete the text of a paste that was burnt; the tombstone stays."""
        await self._database.execute("DELETE FROM links.paste WHERE link_id = $1", link_id)
