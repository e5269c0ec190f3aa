"""Merging, forgetting and dying: no order of steps gives a gap or a double, and no garbage stays.

Processes are separate engines over one store. A process that dies is one whose store stops taking its
writes from some step on.
"""

import asyncio

import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import EventsConfig, ParquetEvents, layout
from twelvefold.kernel.clock import ManualClock

from .clicks import CLICKS, HOUR, NOON, clicks, count, keys, segments, select
from .interrupted import DiedError, Interrupted


async def fill(events, batches, *, start=0, ts_ms=NOON):
    for n in range(start, start + batches):
        await events.append("clicks", clicks((ts_ms, n), (ts_ms + 1, n)), batch_id=f"b{n}")


async def test_an_open_hour_is_merged_when_enough_batches_came(opened, blobs):
    events = opened()
    await fill(events, layout.FAN_IN - 1)
    assert await events.compact("clicks") == 0
    await fill(events, 1, start=layout.FAN_IN - 1)
    assert await events.compact("clicks") == 1
    assert await events.compact("clicks") == 0
    assert await count(events) == 2 * layout.FAN_IN


async def test_a_closed_hour_becomes_one_segment(opened, blobs, clock):
    events = opened()
    await fill(events, layout.FAN_IN + 3)
    await events.compact("clicks")
    await fill(events, 5, start=100)
    clock.advance(ms=2 * HOUR)
    assert await events.compact("clicks") == 1
    clock.advance(ms=2 * HOUR)
    assert await events.compact("clicks") == 0
    assert len(await segments(blobs)) == 1
    assert await count(events) == 2 * (layout.FAN_IN + 8)


async def test_a_late_batch_rewrites_a_closed_hour_only_after_a_while(opened, clock):
    events = opened()
    await fill(events, 3)
    clock.advance(ms=2 * HOUR)
    assert await events.compact("clicks") == 1
    await fill(events, 1, start=50)
    assert await events.compact("clicks") == 0
    assert await count(events) == 8
    clock.advance(ms=layout.SETTLE_MS)
    assert await events.compact("clicks") == 1
    assert await count(events) == 8


async def test_merged_rows_are_sorted_for_the_queries_to_come(opened, blobs, clock):
    events = opened()
    await events.append("clicks", clicks((NOON, 3), (NOON, 1)), batch_id="a")
    await events.append("clicks", clicks((NOON + 5, 1), (NOON, 2)), batch_id="b")
    clock.advance(ms=2 * HOUR)
    await events.compact("clicks")
    rows = await select(events, "SELECT link_id, ts_ms FROM {events}")
    assert rows == [(1, NOON), (1, NOON + 5), (2, NOON), (3, NOON)]


async def test_merged_segments_are_merged_again_level_by_level(opened, blobs, clock, monkeypatch):
    monkeypatch.setattr(layout, "FAN_IN", 3)
    events = opened()
    for n in range(9):
        await fill(events, 3, start=3 * n)
        assert await events.compact("clicks") == 1
        await events.compact("clicks")
        await events.compact("clicks")
    assert await count(events) == 54
    [hour] = await events._hours("clicks", None, None)
    assert [segment.level for segment in hour.manifest.segments] == [3]


@pytest.mark.parametrize("when", ["before", "after merging", "after cleaning"])
async def test_a_batch_that_is_delivered_again_counts_once(opened, blobs, clock, when):
    events = opened()
    await fill(events, layout.FAN_IN)
    if when != "before":
        assert await events.compact("clicks") == 1
    if when == "after cleaning":
        clock.advance(ms=layout.GRACE_MS)
        await events.compact("clicks")
        assert len(await segments(blobs)) == 1
    await fill(opened(), layout.FAN_IN)
    assert await count(events) == 2 * layout.FAN_IN
    for _ in range(2):
        clock.advance(ms=3 * HOUR)
        await events.compact("clicks")
        assert await count(events) == 2 * layout.FAN_IN
    assert len(await segments(blobs)) == 1


async def test_replaced_segments_stay_for_those_who_read_them_and_then_go(opened, blobs, clock):
    events = opened()
    await fill(events, layout.FAN_IN)
    await events.compact("clicks")
    clock.advance(ms=layout.GRACE_MS - 1)
    await events.compact("clicks")
    assert len(await segments(blobs)) == layout.FAN_IN + 1
    clock.advance(ms=1)
    await events.compact("clicks")
    assert len(await segments(blobs)) == 1


async def test_nothing_is_removed_while_a_merged_segment_is_missing(opened, blobs, clock):
    events = opened()
    await fill(events, layout.FAN_IN)
    await events.compact("clicks")
    merged = [key for key in await segments(blobs) if "-c-" in key]
    await blobs.delete(merged)
    clock.advance(ms=3 * HOUR)
    await opened().compact("clicks")
    assert len(await segments(blobs)) == layout.FAN_IN


async def test_of_two_merges_at_once_one_counts(opened, blobs, clock):
    one, two = opened(), opened()
    await fill(one, layout.FAN_IN)
    merges = await asyncio.gather(one.compact("clicks"), two.compact("clicks"))
    assert sum(merges) == 1
    assert await count(one) == await count(two) == 2 * layout.FAN_IN
    clock.advance(ms=layout.GRACE_MS + layout.ORPHAN_MS)
    await one.compact("clicks")
    assert len(await segments(blobs)) == 1


@pytest.mark.parametrize("write", range(8))
async def test_a_process_may_die_at_any_write_of_a_merge(opened, blobs, clock, write):
    """Writes: the segment, the manifest, then (a minute later) the deletions one by one."""
    await fill(opened(), layout.FAN_IN)
    store = Interrupted(blobs, writes=write)
    dying = opened(store=store)
    try:
        await dying.compact("clicks")
        clock.advance(ms=layout.GRACE_MS)
        await dying.compact("clicks")
    except DiedError:
        pass
    assert store.writes < 0

    survivor = opened()
    assert await count(survivor) == 2 * layout.FAN_IN
    await survivor.compact("clicks")
    assert await count(survivor) == 2 * layout.FAN_IN
    clock.advance(ms=layout.ORPHAN_MS + layout.GRACE_MS + layout.SETTLE_MS)
    for _ in range(2):
        await survivor.compact("clicks")
        clock.advance(ms=layout.ORPHAN_MS)
    await survivor.compact("clicks")
    assert len(await segments(blobs)) == 1, "garbage stays"
    assert await count(survivor) == 2 * layout.FAN_IN


async def test_a_query_whose_segments_vanish_plans_again(opened, blobs, clock, monkeypatch):
    events = opened()
    await fill(events, layout.FAN_IN)
    reader = opened()
    real = reader._files.paths

    async def late(wanted):
        monkeypatch.undo()
        paths = await real(wanted)
        await events.compact("clicks")
        clock.advance(ms=layout.GRACE_MS)
        await events.compact("clicks")
        for path in paths:  # downloaded copies can be evicted, too
            path.unlink(missing_ok=True)
        return paths

    monkeypatch.setattr(reader._files, "paths", late)
    assert await count(reader) == 2 * layout.FAN_IN


@pytest.mark.parametrize("listing", range(3))
async def test_others_may_merge_and_clean_between_any_two_listings_of_a_query(opened, blobs, clock, listing):
    others = opened()
    await fill(others, layout.FAN_IN)
    listings = 0

    async def disturb():
        nonlocal listings
        listings += 1
        if listings == listing + 1:
            assert await others.compact("clicks") == 1
            clock.advance(ms=layout.GRACE_MS)
            await others.compact("clicks")

    # Its own clock: for this process all of it took no time.
    store = Interrupted(blobs, after_listing=disturb)
    reader = opened(store=store, clock=ManualClock(clock.now_ms()))
    assert await count(reader) == 2 * layout.FAN_IN
    assert listings > listing


async def test_downloads_are_kept_within_their_limit(clock, tmp_path):
    store = open_blobs("memory://")
    scratch = tmp_path / "scratch"
    events = ParquetEvents(store, [CLICKS], clock, scratch=scratch, config=EventsConfig(cache_mb=0))
    for n in range(3):
        await fill(events, 1, start=n, ts_ms=NOON + n * HOUR)
    for n in range(3):
        start = NOON + n * HOUR
        assert await count(events, from_ms=start, to_ms=start + HOUR) == 2
        assert len(list((scratch / "segments").iterdir())) == 1
    assert await count(events) == 6
    await events.close()


# Forgetting.


async def test_forgetting_removes_whole_hours_and_only_those(opened, blobs, clock):
    events = opened()
    for hour in range(4):
        await fill(events, 2, start=10 * hour, ts_ms=NOON + hour * HOUR)
    clock.advance(ms=2 * HOUR)
    await events.compact("clicks")
    assert await events.forget("clicks", NOON + 2 * HOUR + 1) > 0
    for engine in (events, opened()):
        assert {ts for ts, _ in await select(engine)} == {NOON + n * HOUR + m for n in (2, 3) for m in (0, 1)}
    left = [key for key in await keys(blobs) if layout.parse_segment(key) or layout.parse_manifest(key)]
    assert all(f"/{hour:02}-" in key for key in left for hour in [int(key.split("/")[-1][:2])])
    assert {layout.parse_segment(key).hour_ms for key in left if layout.parse_segment(key)} == {
        NOON + 2 * HOUR,
        NOON + 3 * HOUR,
    }


async def test_what_was_forgotten_does_not_come_back(opened, blobs):
    events = opened()
    await fill(events, 2)
    await events.forget("clicks", NOON + HOUR)
    await fill(events, 2)
    assert await count(events) == 0
    await events.compact("clicks")
    assert await count(opened()) == 0
    assert await events.forget("clicks", NOON + HOUR) == 2
    assert await segments(blobs) == []
    await events.forget("clicks", NOON - 5 * HOUR)
    await fill(events, 2)
    assert await count(events) == 0


@pytest.mark.parametrize("write", range(5))
async def test_a_process_may_die_at_any_write_of_forgetting(opened, blobs, clock, write):
    events = opened()
    await fill(events, 2)
    clock.advance(ms=2 * HOUR)
    await events.compact("clicks")
    await fill(events, 1, start=9, ts_ms=NOON + HOUR)
    with pytest.raises(DiedError):
        await opened(store=Interrupted(blobs, writes=write)).forget("clicks", NOON + HOUR)
    assert await count(events) == (6 if write == 0 else 2)
    await events.forget("clicks", NOON + HOUR)
    assert await count(events) == 2
    assert len(await segments(blobs)) == 1
