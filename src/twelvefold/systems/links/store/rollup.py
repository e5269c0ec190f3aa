"""Closing a day: its facets and visitors move from the facts into PostgreSQL, again if late clicks come."""

from typing import Any

from twelvefold.engines.database import Database
from twelvefold.engines.events import Events
from twelvefold.systems.links.store.clicks import DAY_MS
from twelvefold.systems.links.store.facts import TABLE
from twelvefold.systems.links.visitors import sketch_of

FACETS = ("country", "referrer", "device", "browser", "os", "language")
ROLL_DEADLINE_SECONDS = 120.0
LINKS_A_QUERY = 1000
"""An answer of the events engine has a bound of rows; a link has tens of values."""


class DayRollup:
    """Rolls days up; idempotent."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    async def roll(self, day: int) -> None:
        """Replace a day's rows by what the facts say now."""
        links = int((await self._facts("SELECT count(DISTINCT link_id) FROM {events}", day))[0][0])
        parts = links // LINKS_A_QUERY + 1
        facets: list[tuple[Any, ...]] = []
        sketches: list[tuple[Any, ...]] = []
        for part in range(parts):
            rows, visitors = await self._part(day, part, parts)
            facets += rows
            sketches += [(link_id, day, sketch_of(keys)) for link_id, keys in visitors]
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM links.click_day_facet WHERE day = $1", day)
            await transaction.execute("DELETE FROM links.click_day WHERE day = $1", day)
            await transaction.copy(
                "links", "click_day_facet", ("link_id", "day", "facet", "value", "clicks"), facets
            )
            await transaction.copy("links", "click_day", ("link_id", "day", "visitors"), sketches)
            await transaction.execute(
                "INSERT INTO links.rolled_day (day) VALUES ($1) ON CONFLICT DO NOTHING", day
            )

    async def _part(
        self, day: int, part: int, parts: int
    ) -> tuple[list[tuple[Any, ...]], list[tuple[int, list[int]]]]:
        where = f"FROM {{events}} WHERE NOT (bot OR preview) AND link_id % {parts} = {part}"
        rows: list[tuple[Any, ...]] = []
        for facet in FACETS:
            counts = await self._facts(f"SELECT link_id, {facet}, count(*) {where} GROUP BY 1, 2", day)
            rows += [(link_id, day, facet, value, clicks) for link_id, value, clicks in counts]
        visitors = await self._facts(f"SELECT link_id, list(DISTINCT visitor) {where} GROUP BY 1", day)
        return rows, [(link_id, keys) for link_id, keys in visitors]

    async def _facts(self, sql: str, day: int) -> list[tuple[Any, ...]]:
        return await self._events.query(
            sql,
            TABLE,
            deadline_seconds=ROLL_DEADLINE_SECONDS,
            from_ms=day * DAY_MS,
            to_ms=(day + 1) * DAY_MS,
        )

    async def due(self, before_day: int) -> list[int]:
        """Days before `before_day` that have clicks and are not rolled up, oldest first."""
        rows = await self._database.fetch(
            """SELECT DISTINCT hour / 24 AS day FROM links.click_hour WHERE hour < $1 * 24
               AND NOT EXISTS (SELECT 1 FROM links.rolled_day r WHERE r.day = hour / 24) ORDER BY 1 LIMIT 31""",
            before_day,
        )
        return [row["day"] for row in rows]
