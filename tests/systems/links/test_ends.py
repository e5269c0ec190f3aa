"""The sweep behind the redirects: what has expired becomes a tombstone, and an old tombstone goes with its counts."""

from importlib.resources import files

import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.database import migrate
from twelvefold.engines.events import ParquetEvents
from twelvefold.kernel.clock import ManualClock
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.systems.links.store.clicks import DAY_MS, ClickStore
from twelvefold.systems.links.store.ends import BATCH, EndStore
from twelvefold.systems.links.store.facts import FACTS
from twelvefold.systems.links.store.rollup import DayRollup
from twelvefold.systems.links.workers import EndWorker

DAYS = 30


@pytest.fixture
async def clock():
    return ManualClock()


@pytest.fixture
async def worker(database, tmp_path, clock):
    await migrate(database, "links", files("twelvefold.systems.links") / "schema")
    blobs = open_blobs((tmp_path / "blobs").as_uri())
    events = ParquetEvents(blobs, [FACTS], clock, scratch=tmp_path / "scratch")
    yield EndWorker(
        ends=EndStore(database),
        clicks=ClickStore(database, events),
        rollup=DayRollup(database, events),
        clock=clock,
        settings=LinksSettings(tombstone_days=DAYS),
    )
    await events.close()


async def make(database, first, count, expires_at_ms):
    await database.execute(
        """INSERT INTO links.link (id, tenant_id, domain_id, folded, code, url, created_at_ms, updated_at_ms, expires_at_ms)
           SELECT n, 1, 0, 'c' || n, 'c' || n, 'https://example.com/', 0, 0, $3
           FROM generate_series($1::bigint, $1 + $2 - 1) AS n""",
        first,
        count,
        expires_at_ms,
    )
    await database.execute(
        "INSERT INTO links.click_total (link_id, tenant_id, clicks, bots) VALUES ($1, 1, 5, 0)", first
    )


async def states(database):
    rows = await database.fetch("SELECT state::text, count(*) AS links FROM links.link GROUP BY 1")
    return {row["state"]: row["links"] for row in rows}


async def test_all_that_has_expired_ends_in_one_turn_and_nothing_else(worker, database, clock):
    await make(database, 1, BATCH * 2 + 3, clock.now_ms())
    await make(database, 100_000, 2, clock.now_ms() + 1)
    await make(database, 200_000, 2, None)
    await worker.turn()
    assert await states(database) == {"e": BATCH * 2 + 3, "a": 4}
    ended = await database.fetch_value("SELECT DISTINCT ended_at_ms FROM links.link WHERE state = 'e'")
    assert ended == clock.now_ms()


async def test_a_tombstone_stays_its_days_and_then_goes_with_its_counts(worker, database, clock):
    await make(database, 1, 1, clock.now_ms())
    await worker.turn()
    clock.advance(ms=DAYS * DAY_MS)
    await worker.turn()
    assert await states(database) == {"e": 1}
    clock.advance(ms=1)
    await worker.turn()
    assert await states(database) == {}
    assert await database.fetch_value("SELECT count(*) FROM links.click_total") == 0


async def test_days_are_closed_by_one_worker_at_a_time(worker, database):
    ends = EndStore(database)
    async with ends.alone("links.rollup") as first, ends.alone("links.rollup") as second:
        assert (first, second) == (True, False)
        await worker.turn()  # does the rest, and leaves the closing to who has it
    async with ends.alone("links.rollup") as again:
        assert again
