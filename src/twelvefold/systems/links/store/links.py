"""Links in PostgreSQL. Every method takes the tenant, except the two that serve the public redirect.

Invariant: a change, its revision and the news of it (NOTIFY) are one transaction; whoever remembers
the code hears of it or loses the connection on which it would have heard.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from twelvefold.engines.database import Database, Transaction
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import (
    Destination,
    Link,
    LinkNotFoundError,
    Revision,
    State,
    VersionConflictError,
)
from twelvefold.systems.links.store.cache import DestinationCache
from twelvefold.systems.links.store.rows import (
    COPY_COLUMNS,
    INSERT,
    LETTERS,
    LINK_COLUMNS,
    LINK_SOURCE,
    RANKINGS,
    STATES,
    NewRow,
    link_of,
    rules_of,
)

CHANNEL = "links_changed"
Place = tuple[int, str]
"""A domain's id and the folded code: where a link stands."""


class LinkStore:
    """Queries about links."""

    def __init__(self, database: Database, cache: DestinationCache) -> None:
        self._database = database
        self._cache = cache
        self.on_commit: Callable[[str], None] = _ignore
        """Told the news of this process's own changes at once; the others hear them from the database."""

    async def insert(self, tenant: TenantId, row: NewRow) -> bool:
        """Store a link; False when its code or its dedupe key is taken."""
        async with self._database.transaction() as transaction:
            made = await transaction.fetch_value(INSERT, *row.values(tenant))
            if made is None:
                return False
            news = await self._announce(transaction, f"c {row.domain_id} {row.folded} 1")
        self.on_commit(news)
        return True

    async def insert_many(self, tenant: TenantId, rows: Sequence[NewRow]) -> set[int]:
        """Store many links in one transaction; returns the ids that were stored, the rest was taken."""
        plain = [row for row in rows if row.dedupe_key is None]
        keyed = [row for row in rows if row.dedupe_key is not None]
        async with self._database.transaction() as transaction:
            stored = await self._copy(transaction, tenant, plain)
            for row in keyed:
                if await transaction.fetch_value(INSERT, *row.values(tenant)) is not None:
                    stored.add(row.id)
            news = await self._announce(transaction, "n")
        self.on_commit(news)
        return stored

    async def _copy(self, transaction: Transaction, tenant: TenantId, rows: Sequence[NewRow]) -> set[int]:
        if not rows:
            return set()
        taken = await transaction.fetch(
            """SELECT l.domain_id, l.folded FROM links.link l
               JOIN unnest($1::integer[], $2::text[]) AS wanted (domain_id, folded) USING (domain_id, folded)""",
            [row.domain_id for row in rows],
            [row.folded for row in rows],
        )
        refused = {(record["domain_id"], record["folded"]) for record in taken}
        free: dict[tuple[int, str], NewRow] = {}
        for row in rows:
            place = (row.domain_id, row.folded)
            if place not in refused:
                free.setdefault(place, row)
        await transaction.copy("links", "link", COPY_COLUMNS, (row.values(tenant) for row in free.values()))
        return {row.id for row in free.values()}

    async def lease_counters(self, space: str, count: int) -> int:
        """The first of `count` counters that nobody else gets, ever."""
        end = await self._database.fetch_value(
            "UPDATE links.code_counter SET next = next + $2 WHERE space = $1 RETURNING next", space, count
        )
        return int(end) - count

    async def find(self, tenant: TenantId, place: Place) -> Link:
        """One of the tenant's links. Raises `LinkNotFoundError`."""
        row = await self._database.fetch_row(
            f"SELECT {LINK_COLUMNS} FROM {LINK_SOURCE} WHERE l.tenant_id = $1 AND l.domain_id = $2"
            " AND l.folded = $3 AND l.kind = 'l'",
            tenant,
            *place,
        )
        if row is None:
            raise LinkNotFoundError(field="code")
        return link_of(row)

    async def find_by_dedupe_key(
        self, tenant: TenantId, domain_id: int, key: bytes, now_ms: int
    ) -> Link | None:
        """The tenant's live link for a target; a link that has ended gives its claim up."""
        await self._database.execute(
            """UPDATE links.link SET dedupe_key = NULL
               WHERE tenant_id = $1 AND domain_id = $2 AND dedupe_key = $3 AND (state <> 'a' OR expires_at_ms <= $4)""",
            tenant,
            domain_id,
            key,
            now_ms,
        )
        row = await self._database.fetch_row(
            f"SELECT {LINK_COLUMNS} FROM {LINK_SOURCE}"
            " WHERE l.tenant_id = $1 AND l.domain_id = $2 AND l.dedupe_key = $3",
            tenant,
            domain_id,
            key,
        )
        return link_of(row) if row is not None else None

    async def page(
        self,
        tenant: TenantId,
        *,
        before_id: int | None,
        limit: int,
        text: str | None,
        tag: str | None,
        state: State | None,
        now_ms: int,
    ) -> list[Link]:
        """The tenant's links, newest first, below an id."""
        rows = await self._database.fetch(
            f"""SELECT {LINK_COLUMNS} FROM {LINK_SOURCE}
                WHERE l.tenant_id = $1 AND l.kind = 'l' AND ($2::bigint IS NULL OR l.id < $2)
                  AND ($3::text IS NULL OR l.url ILIKE $3 OR l.code ILIKE $3 OR l.note ILIKE $3 OR l.title ILIKE $3)
                  AND ($4::text IS NULL OR l.tags @> ARRAY[$4])
                  AND CASE $5::text
                        WHEN '' THEN l.state <> 'd'
                        WHEN 'e' THEN l.state = 'e' OR (l.state = 'a' AND l.expires_at_ms <= $6)
                        WHEN 'a' THEN l.state = 'a' AND (l.expires_at_ms IS NULL OR l.expires_at_ms > $6)
                        ELSE l.state = $5::"char" END
                ORDER BY l.id DESC LIMIT $7""",
            tenant,
            before_id,
            _like(text) if text else None,
            tag,
            LETTERS[state].decode() if state else "",
            now_ms,
            limit,
        )
        return [link_of(row) for row in rows]

    async def ranked(self, tenant: TenantId, order: str, limit: int, start: int) -> list[Link]:
        """The tenant's links by an order of `RANKINGS`."""
        rows = await self._database.fetch(
            f"""SELECT {LINK_COLUMNS} FROM {LINK_SOURCE} WHERE l.tenant_id = $1 AND l.kind = 'l' AND l.state <> 'd'
                ORDER BY {RANKINGS[order]} LIMIT $2 OFFSET $3""",
            tenant,
            limit,
            start,
        )
        return [link_of(row) for row in rows]

    async def change(
        self, tenant: TenantId, place: Place, values: dict[str, Any], *, version: int | None, now_ms: int
    ) -> Link:
        """Apply column `values` under the row's lock. Raises not found or `VersionConflictError`."""
        async with self._database.transaction() as transaction:
            before = await self._locked(transaction, tenant, place, "kind = 'l' AND state <> 'd'")
            if version is not None and version != before["version"]:
                raise VersionConflictError(field="version", current_version=str(before["version"]))
            await self._update(transaction, before, values, "edited", now_ms)
            news = await self._supersede(transaction, place, before["id"])
        self.on_commit(news)
        return await self.find(tenant, place)

    async def end(self, tenant: TenantId, place: Place, now_ms: int) -> None:
        """Turn a link or a paste into a tombstone."""
        values = {"state": LETTERS["deleted"], "ended_at_ms": now_ms, "dedupe_key": None}
        async with self._database.transaction() as transaction:
            before = await self._locked(transaction, tenant, place, "state <> 'd'")
            await self._update(transaction, before, values, "deleted", now_ms)
            news = await self._supersede(transaction, place, before["id"])
        self.on_commit(news)

    async def restore(self, tenant: TenantId, place: Place, now_ms: int) -> Link:
        """Bring a deleted link back. Raises `LinkNotFoundError` when there is no tombstone."""
        values = {"state": LETTERS["active"], "ended_at_ms": None}
        async with self._database.transaction() as transaction:
            before = await self._locked(transaction, tenant, place, "kind = 'l' AND state = 'd'")
            await self._update(transaction, before, values, "restored", now_ms)
            news = await self._supersede(transaction, place, before["id"])
        self.on_commit(news)
        return await self.find(tenant, place)

    async def _locked(self, transaction: Transaction, tenant: TenantId, place: Place, condition: str) -> Any:
        row = await transaction.fetch_row(
            "SELECT id, url, version, created_at_ms FROM links.link WHERE tenant_id = $1 AND domain_id = $2"
            f" AND folded = $3 AND {condition} FOR UPDATE",
            tenant,
            *place,
        )
        if row is None:
            raise LinkNotFoundError(field="code")
        return row

    async def _update(
        self, transaction: Transaction, before: Any, values: dict[str, Any], change: str, now_ms: int
    ) -> None:
        # The first change also writes down how the link began, so that creating one costs no second row.
        await transaction.execute(
            "INSERT INTO links.revision VALUES ($1, $2, $3, $4, 'created') ON CONFLICT DO NOTHING",
            before["id"],
            0,
            before["url"],
            before["created_at_ms"],
        )
        columns = [*values, "updated_at_ms"]
        assignments = ", ".join(f"{column} = ${place}" for place, column in enumerate(columns, start=2))
        row = await transaction.fetch_row(
            f"UPDATE links.link SET {assignments}, version = nextval('links.version') WHERE id = $1"
            " RETURNING version, url",
            before["id"],
            *values.values(),
            now_ms,
        )
        assert row is not None
        await transaction.execute(
            "INSERT INTO links.revision VALUES ($1, $2, $3, $4, $5)",
            before["id"],
            row["version"],
            row["url"],
            now_ms,
            change,
        )

    async def _supersede(self, transaction: Transaction, place: Place, link_id: int) -> str:
        domain_id, folded = place
        version = await transaction.fetch_value("SELECT version FROM links.link WHERE id = $1", link_id)
        news = f"c {domain_id} {folded} {version}"
        if not await self._cache.raise_floor(domain_id, folded, version):
            epoch = await transaction.fetch_value(
                "UPDATE links.cache_epoch SET epoch = epoch + 1 RETURNING epoch"
            )
            news += f"\ne {epoch}"
        return await self._announce(transaction, news)

    async def _announce(self, transaction: Transaction, news: str) -> str:
        await transaction.execute("SELECT pg_notify($1, $2)", CHANNEL, news)
        return news

    async def set_title(self, tenant: TenantId, link_id: int, title: str) -> None:
        """Keep the title of the page that a link leads to."""
        await self._database.execute(
            "UPDATE links.link SET title = $3 WHERE tenant_id = $1 AND id = $2", tenant, link_id, title
        )

    async def history(self, tenant: TenantId, place: Place) -> list[Revision]:
        """What a code pointed to, oldest first."""
        link = await self._database.fetch_row(
            "SELECT id, url, created_at_ms FROM links.link WHERE tenant_id = $1 AND domain_id = $2 AND folded = $3"
            " AND kind = 'l'",
            tenant,
            *place,
        )
        if link is None:
            raise LinkNotFoundError(field="code")
        rows = await self._database.fetch(
            "SELECT version, url, changed_at_ms, change FROM links.revision WHERE link_id = $1 ORDER BY version",
            link["id"],
        )
        if not rows:
            return [
                Revision(version=0, url=link["url"], changed_at_ms=link["created_at_ms"], change="created")
            ]
        return [msgspec.convert(dict(row), Revision) for row in rows]

    # The public redirect: no tenant is known here, a code belongs to whoever made it.

    async def destination(self, place: Place) -> Destination | None:
        """What a code leads to, tombstones included; None if there never was one, or no more."""
        row = await self._database.fetch_row(
            """SELECT id, version, kind, state, url, redirect, expires_at_ms, max_clicks IS NOT NULL AS limited,
                      password_hash, rules FROM links.link WHERE domain_id = $1 AND folded = $2""",
            *place,
        )
        if row is None:
            return None
        return Destination(
            link_id=row["id"],
            version=row["version"],
            kind="paste" if row["kind"] == b"p" else "link",
            state=STATES[row["state"]],
            url=row["url"],
            redirect=row["redirect"],
            expires_at_ms=row["expires_at_ms"],
            limited=row["limited"],
            password_hash=row["password_hash"],
            rules=rules_of(row["rules"]),
        )

    async def epoch(self) -> int:
        """The cache epoch that counts now."""
        return int(await self._database.fetch_value("SELECT epoch FROM links.cache_epoch"))

    async def take_clicks(self, link_id: int, wanted: int, now_ms: int) -> int:
        """Use up to `wanted` of a limited link's clicks; returns how many were granted, exactly."""
        async with self._database.transaction() as transaction:
            row = await transaction.fetch_row(
                """SELECT domain_id, folded, max_clicks, used_clicks FROM links.link
                   WHERE id = $1 AND state = 'a' AND (expires_at_ms IS NULL OR expires_at_ms > $2) FOR UPDATE""",
                link_id,
                now_ms,
            )
            if row is None:
                return 0
            if row["max_clicks"] is None:
                return wanted
            granted = max(0, min(wanted, row["max_clicks"] - row["used_clicks"]))
            spent = row["used_clicks"] + granted >= row["max_clicks"]
            await transaction.execute(
                """UPDATE links.link SET used_clicks = used_clicks + $2, state = CASE WHEN $3 THEN 'u' ELSE state END,
                       ended_at_ms = CASE WHEN $3 THEN $4 ELSE ended_at_ms END,
                       dedupe_key = CASE WHEN $3 THEN NULL ELSE dedupe_key END,
                       version = CASE WHEN $3 THEN nextval('links.version') ELSE version END
                   WHERE id = $1""",
                link_id,
                granted,
                spent,
                now_ms,
            )
            if spent:
                await self._supersede(transaction, (row["domain_id"], row["folded"]), link_id)
        return int(granted)

    async def tenant_of(self, link_id: int) -> TenantId:
        """Whose link this is; for what the public does to it (a report)."""
        tenant = await self._database.fetch_value("SELECT tenant_id FROM links.link WHERE id = $1", link_id)
        if tenant is None:
            raise LinkNotFoundError
        return TenantId(tenant)

    async def public_counts(self, link_id: int) -> tuple[int, int]:
        """`(clicks, created_at_ms)` for the page behind `code+`."""
        row = await self._database.fetch_row(
            """SELECT coalesce(t.clicks, 0) AS clicks, l.created_at_ms FROM links.link l
               LEFT JOIN links.click_total t ON t.link_id = l.id WHERE l.id = $1""",
            link_id,
        )
        return (row["clicks"], row["created_at_ms"]) if row is not None else (0, 0)


def _ignore(news: str) -> None:
    del news


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
