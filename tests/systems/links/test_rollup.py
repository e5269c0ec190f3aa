"""A day that is closed tells the same from PostgreSQL as its facts did, and again when late clicks come."""

from importlib.resources import files

import numpy as np
import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.database import migrate
from twelvefold.engines.events import ParquetEvents
from twelvefold.kernel.clock import ManualClock
from twelvefold.systems.links.click_enrichment import Coded
from twelvefold.systems.links.store.clicks import DAY_MS, ClickStore
from twelvefold.systems.links.store.facts import FACTS
from twelvefold.systems.links.store.rollup import FACETS, DayRollup
from twelvefold.systems.links.visitors import estimate_visitors

DAY = 20_000
LINK = 7


@pytest.fixture
async def stores(database, tmp_path):
    await migrate(database, "links", files("twelvefold.systems.links") / "schema")
    clock = ManualClock((DAY + 2) * DAY_MS)
    blobs = open_blobs((tmp_path / "blobs").as_uri())
    events = ParquetEvents(blobs, [FACTS], clock, scratch=tmp_path / "scratch")
    yield ClickStore(database, events), DayRollup(database, events)
    await events.close()


async def clicked(store, position, countries, visitors):
    """Clicks of one hour, one from each country; the last is a program's."""
    count = len(countries)
    names = sorted(set(countries))
    text = Coded(np.array([names.index(name) for name in countries], dtype=np.int32), names)
    same = Coded(np.zeros(count, dtype=np.int32), ["same"])
    bots = np.arange(count) == count - 1
    columns = {
        "ts_ms": np.full(count, DAY * DAY_MS + 3_600_000, dtype=np.int64),
        "link_id": np.full(count, LINK, dtype=np.int64),
        "country": text,
        **dict.fromkeys(("referrer", "device", "browser", "os", "language"), same),
        "bot": bots,
        "preview": np.zeros(count, dtype=bool),
        "visitor": np.where(bots, 0, np.array(visitors, dtype=np.int64)),
    }
    assert await store.count([position], [(LINK, DAY * 24 + 1, count - 1, 1)], columns)
    await store.pass_on_facts()


async def told(store, *, rolled):
    """Facets and visitors of the day, from where they stand."""
    if rolled:
        facets = {facet: sorted(await store.rolled_facets(LINK, [DAY], facet)) for facet in FACETS}
        return facets, estimate_visitors(await store.rolled_sketches(LINK, [DAY]))
    span = (DAY * DAY_MS, (DAY + 1) * DAY_MS, frozenset())
    facets = {facet: sorted(await store.fresh_facets(LINK, *span, facet)) for facet in FACETS}
    return facets, await store.fresh_visitors(LINK, *span)


async def test_a_closed_day_tells_what_its_facts_told(stores):
    store, rollup = stores
    await clicked(store, "1-0", ["DE", "FR", "DE", "US"], [11, 12, 11, 13])
    before = await told(store, rolled=False)
    assert before[0]["country"] == [("DE", 2), ("FR", 1)]
    assert before[1] == 2
    assert await rollup.due(DAY) == []
    assert await rollup.due(DAY + 1) == [DAY]
    await rollup.roll(DAY)
    assert await store.rolled_days(DAY, DAY + 1) == {DAY}
    assert await told(store, rolled=True) == before
    assert await rollup.due(DAY + 1) == []
    # The facts may go now; the counts stay.
    await store.forget_facts((DAY + 1) * DAY_MS)
    assert await told(store, rolled=True) == before


async def test_a_late_batch_opens_its_day_again_and_is_counted_once(stores):
    store, rollup = stores
    await clicked(store, "1-0", ["DE", "FR", "US"], [11, 12, 13])
    await rollup.roll(DAY)
    await clicked(store, "2-0", ["DE", "AT", "US"], [11, 14, 13])
    assert await store.rolled_days(DAY, DAY + 1) == frozenset()
    assert await rollup.due(DAY + 1) == [DAY]
    for _ in range(2):  # to roll a day again changes nothing
        await rollup.roll(DAY)
        facets, visitors = await told(store, rolled=True)
        assert facets["country"] == [("AT", 1), ("DE", 2), ("FR", 1)]
        assert visitors == 3
