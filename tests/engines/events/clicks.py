"""A table of clicks, and short ways to fill it and to look at it."""

import msgspec

from twelvefold.engines.events import EventTable, layout

HOUR = layout.HOUR_MS
NOON = 1_800_000_000_000 // HOUR * HOUR


class Click(msgspec.Struct, frozen=True):
    ts_ms: int
    link_id: int
    country: str
    weight: float
    bot: bool
    raw: bytes | None


CLICKS = EventTable("clicks", Click, order_by=("link_id", "ts_ms"), nearly_unique=("raw",))


def clicks(*rows):
    """Columns from `(ts_ms, link_id)` pairs."""
    return {
        "ts_ms": [ts for ts, _ in rows],
        "link_id": [link for _, link in rows],
        "country": ["DE"] * len(rows),
        "weight": [1.0] * len(rows),
        "bot": [False] * len(rows),
        "raw": [None] * len(rows),
    }


async def select(events, sql="SELECT ts_ms, link_id FROM {events} ORDER BY ALL", params=(), **bounds):
    return await events.query(sql, "clicks", params, deadline_seconds=20, **bounds)


async def count(events, **bounds):
    [(rows,)] = await select(events, "SELECT count(*) FROM {events}", **bounds)
    return rows


async def keys(blobs):
    return sorted([info.key async for info in blobs.list()])


async def segments(blobs):
    return [key for key in await keys(blobs) if "/segments/" in key]
