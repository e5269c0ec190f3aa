"""Ends of links in PostgreSQL: expired rows become tombstones, old tombstones go, both in small batches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twelvefold.engines.database import Database

BATCH = 500
"""Rows a transaction: a few milliseconds of locks."""


class EndStore:
    """Queries of the expiry worker; they go over all tenants, and change nothing but states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expire(self, now_ms: int) -> int:
        """Turn up to `BATCH` expired links into tombstones; returns how many."""
        return int(
            await self._database.fetch_value(
                """WITH due AS (SELECT id FROM links.link WHERE state = 'a' AND expires_at_ms <= $1
                                ORDER BY expires_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED),
                        ended AS (UPDATE links.link l SET state = 'e', ended_at_ms = l.expires_at_ms, dedupe_key = NULL,
                                         version = nextval('links.version')
                                  FROM due WHERE l.id = due.id RETURNING 1)
                   SELECT count(*) FROM ended""",
                now_ms,
                BATCH,
            )
        )

    async def drop(self, ended_before_ms: int) -> int:
        """Delete up to `BATCH` tombstones, so that their codes are free again; returns how many."""
        return int(
            await self._database.fetch_value(
                """WITH old AS (SELECT id FROM links.link WHERE ended_at_ms < $1 AND state <> 'a'
                                ORDER BY ended_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED),
                        counts AS (DELETE FROM links.click_total t USING old WHERE t.link_id = old.id),
                        hours AS (DELETE FROM links.click_hour h USING old WHERE h.link_id = old.id),
                        dropped AS (DELETE FROM links.link l USING old WHERE l.id = old.id RETURNING 1)
                   SELECT count(*) FROM dropped""",
                ended_before_ms,
                BATCH,
            )
        )

    @asynccontextmanager
    async def alone(self, job: str) -> AsyncIterator[bool]:
        """True for one worker at a time; the others get False and go on."""
        async with self._database.transaction() as transaction:
            yield bool(
                await transaction.fetch_value(
                    "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", job
                )
            )
