"""Counted clicks: hours and totals in PostgreSQL, facts in the events engine, closed days rolled up.

Invariant: a batch of the click log is counted once, however often it is delivered, and its facts are
stored exactly when it is counted: positions, counts and the facts themselves (in an outbox) are one
transaction, and the outbox empties into the events engine, which takes a named batch only once.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from twelvefold.engines.database import Database, number_array
from twelvefold.engines.events import Events
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.click_batches import HourCount
from twelvefold.systems.links.contracts import Facet, TenantStats
from twelvefold.systems.links.store.facts import TABLE, FactColumns, pack, unpack

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
QUERY_DEADLINE_SECONDS = 10.0


class _CountedBeforeError(Exception):
    """Ends a transaction that would count a batch twice."""


class ClickStore:
    """Writes and reads counts."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events
        self._at_hand: tuple[str, FactColumns] | None = None
        """The facts that this process put into the outbox last: they need not be read back."""

    async def count(self, positions: Sequence[str], hours: Iterable[HourCount], columns: FactColumns) -> bool:
        """Add up batches and keep their facts; False when one was counted before, and nothing was changed.

        `hours` come by link, then hour: all workers lock rows in one order.
        """
        try:
            await self._count(positions, list(hours), columns)
        except _CountedBeforeError:
            return False
        return True

    async def _count(self, positions: Sequence[str], rows: Sequence[HourCount], facts: FactColumns) -> None:
        batch_id = f"c{positions[0]}"
        links, hours, clicks, bots = zip(*rows, strict=True) if rows else ((), (), (), ())
        columns = [number_array(column) for column in (links, hours, clicks, bots)]
        async with self._database.transaction() as transaction:
            fresh = await transaction.fetch(
                "INSERT INTO links.counted_batch (position) SELECT unnest($1::text[])"
                " ON CONFLICT DO NOTHING RETURNING 1",
                list(positions),
            )
            if len(fresh) != len(positions):
                raise _CountedBeforeError
            await transaction.execute(
                """INSERT INTO links.click_hour AS h (link_id, hour, clicks, bots)
                   SELECT * FROM unnest($1::text::bigint[], $2::text::integer[], $3::text::integer[], $4::text::integer[])
                   ON CONFLICT (link_id, hour) DO UPDATE
                   SET clicks = h.clicks + excluded.clicks, bots = h.bots + excluded.bots""",
                *columns,
            )
            await transaction.execute(
                """INSERT INTO links.click_total AS t (link_id, tenant_id, clicks, bots)
                   SELECT n.link_id, l.tenant_id, sum(n.clicks), sum(n.bots)
                   FROM unnest($1::text::bigint[], $2::text::integer[], $3::text::integer[]) AS n (link_id, clicks, bots)
                   JOIN links.link l ON l.id = n.link_id GROUP BY n.link_id, l.tenant_id ORDER BY n.link_id
                   ON CONFLICT (link_id) DO UPDATE SET clicks = t.clicks + excluded.clicks, bots = t.bots + excluded.bots""",
                columns[0],
                columns[2],
                columns[3],
            )
            await transaction.execute("INSERT INTO links.fact_outbox VALUES ($1, $2)", batch_id, pack(facts))
            # A batch that was held up may belong to a day that is rolled up already: roll it again.
            await transaction.execute(
                "DELETE FROM links.rolled_day WHERE day = ANY($1::integer[])",
                sorted({hour // 24 for hour in hours}),
            )
        self._at_hand = batch_id, facts

    async def pass_on_facts(self) -> int:
        """Empty the outbox into the events engine; returns how many batches went. May be repeated at any time."""
        passed = 0
        while True:
            async with self._database.transaction() as transaction:
                row = await transaction.fetch_row(
                    "SELECT batch_id FROM links.fact_outbox ORDER BY batch_id LIMIT 1 FOR UPDATE SKIP LOCKED"
                )
                if row is None:
                    return passed
                batch_id: str = row["batch_id"]
                at_hand, self._at_hand = self._at_hand, None
                if at_hand is None or at_hand[0] != batch_id:
                    packed = await transaction.fetch_value(
                        "SELECT facts FROM links.fact_outbox WHERE batch_id = $1", batch_id
                    )
                    at_hand = batch_id, unpack(packed)
                await self._events.append(TABLE, at_hand[1], batch_id=batch_id)
                await transaction.execute("DELETE FROM links.fact_outbox WHERE batch_id = $1", batch_id)
            passed += 1

    async def answers(self) -> None:
        """Whether batches can be counted now: raises `EngineUnavailableError` or `OverloadedError` if not."""
        await self._database.ping()

    async def counted(self, positions: Sequence[str]) -> set[str]:
        """Which of these batches were counted before."""
        rows = await self._database.fetch(
            "SELECT position FROM links.counted_batch WHERE position = ANY($1::text[])", list(positions)
        )
        return {row["position"] for row in rows}

    async def forget_batches(self, older_than_seconds: float) -> None:
        """Drop the names of batches that can not be delivered again."""
        await self._database.execute(
            "DELETE FROM links.counted_batch WHERE counted_at < now() - $1 * interval '1 second'",
            older_than_seconds,
        )

    async def tidy_facts(self) -> None:
        """Merge small segments of facts into larger ones."""
        await self._events.compact(TABLE)

    async def forget_facts(self, before_ms: int) -> None:
        """Drop facts of days that are closed long since; their counts stay."""
        await self._events.forget(TABLE, before_ms)

    # Reading

    async def hours(self, link_id: int, first_hour: int, end_hour: int) -> list[tuple[int, int, int]]:
        """`(hour, clicks, bots)` of the hours in [first, end) that have any."""
        rows = await self._database.fetch(
            "SELECT hour, clicks, bots FROM links.click_hour WHERE link_id = $1 AND hour >= $2 AND hour < $3 ORDER BY hour",
            link_id,
            first_hour,
            end_hour,
        )
        return [(row["hour"], row["clicks"], row["bots"]) for row in rows]

    async def rolled_days(self, first_day: int, end_day: int) -> frozenset[int]:
        """The days in [first, end) whose facets and visitors stand in PostgreSQL."""
        rows = await self._database.fetch(
            "SELECT day FROM links.rolled_day WHERE day >= $1 AND day < $2", first_day, end_day
        )
        return frozenset(row["day"] for row in rows)

    async def rolled_facets(self, link_id: int, days: Iterable[int], facet: Facet) -> list[tuple[str, int]]:
        """`(value, clicks)` over closed days."""
        rows = await self._database.fetch(
            """SELECT value, sum(clicks)::bigint AS clicks FROM links.click_day_facet
               WHERE link_id = $1 AND day = ANY($2::integer[]) AND facet = $3 GROUP BY value""",
            link_id,
            list(days),
            facet,
        )
        return [(row["value"], row["clicks"]) for row in rows]

    async def rolled_sketches(self, link_id: int, days: Iterable[int]) -> list[bytes]:
        """The visitor sketches of closed days."""
        rows = await self._database.fetch(
            "SELECT visitors FROM links.click_day WHERE link_id = $1 AND day = ANY($2::integer[])",
            link_id,
            list(days),
        )
        return [row["visitors"] for row in rows]

    async def fresh_facets(
        self, link_id: int, from_ms: int, to_ms: int, but_days: frozenset[int], facet: Facet
    ) -> list[tuple[str, int]]:
        """`(value, clicks)` from the facts, without the days that are rolled up."""
        rows = await self._fresh(f"SELECT {facet}, count(*)", link_id, from_ms, to_ms, but_days)
        return [(str(value), int(clicks)) for value, clicks in rows]

    async def fresh_visitors(self, link_id: int, from_ms: int, to_ms: int, but_days: frozenset[int]) -> int:
        """Distinct visitors of the days that are not rolled up; the key changes daily, so days add up."""
        rows = await self._fresh("SELECT count(DISTINCT visitor)", link_id, from_ms, to_ms, but_days)
        return int(rows[0][0]) if rows else 0

    async def _fresh(
        self, select: str, link_id: int, from_ms: int, to_ms: int, but_days: frozenset[int]
    ) -> list[tuple[Any, ...]]:
        return await self._events.query(
            f"{select} FROM {{events}} WHERE link_id = $link AND NOT (bot OR preview)"
            f" AND NOT list_contains($days, ts_ms // {DAY_MS})" + (" GROUP BY 1" if "," in select else ""),
            TABLE,
            {"link": link_id, "days": sorted(but_days) or [-1]},
            deadline_seconds=QUERY_DEADLINE_SECONDS,
            from_ms=from_ms,
            to_ms=to_ms,
        )

    async def tenant_stats(self, tenant: TenantId, now_ms: int) -> TenantStats:
        """A tenant's links, clicks, clicks since midnight UTC, and its ten most clicked."""
        row = await self._database.fetch_row(
            """SELECT (SELECT count(*) FROM links.link WHERE tenant_id = $1 AND kind = 'l' AND state <> 'd') AS links,
                      (SELECT coalesce(sum(clicks), 0)::bigint FROM links.click_total WHERE tenant_id = $1) AS clicks,
                      (SELECT coalesce(sum(h.clicks), 0)::bigint FROM links.click_hour h
                       JOIN links.click_total t USING (link_id) WHERE t.tenant_id = $1 AND h.hour >= $2) AS today""",
            tenant,
            now_ms // DAY_MS * 24,
        )
        top = await self._database.fetch(
            """SELECT l.code, t.clicks FROM links.click_total t JOIN links.link l ON l.id = t.link_id
               WHERE t.tenant_id = $1 AND l.state <> 'd' AND l.kind = 'l' ORDER BY t.clicks DESC LIMIT 10""",
            tenant,
        )
        assert row is not None
        return TenantStats(
            links=row["links"],
            clicks=row["clicks"],
            clicks_today=row["today"],
            top=tuple((entry["code"], entry["clicks"]) for entry in top),
        )
