"""The contract of `engines.events` over each blob store that this machine can run."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import (
    EventBatchIdError,
    EventColumnsError,
    EventQueryDeadlineError,
    EventQueryMemoryError,
    EventResultTooLargeError,
    EventsConfig,
    EventTable,
    ParquetEvents,
)
from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, OverloadedError

from .clicks import CLICKS, HOUR, NOON, clicks, count, keys, segments, select


class ClickToday(msgspec.Struct, frozen=True):
    ts_ms: int
    link_id: int
    country: str
    weight: float
    bot: bool
    raw: bytes | None
    city: str


@dataclass
class Coded:
    codes: np.ndarray
    values: list[str] = field(default_factory=list)


# Rows.


async def test_rows_come_back_with_their_types(events):
    await events.append(
        "clicks",
        {
            "ts_ms": np.array([NOON, NOON + 1]),
            "link_id": [-(2**63), 2**63 - 1],
            "country": Coded(np.array([1, 0], dtype=np.uint8), ["DE", "Δ"]),
            "weight": np.array([0.5, 2], dtype=np.float32),
            "bot": np.array([True, False]),
            "raw": [b"\xff\0", None],
        },
        batch_id="b",
    )
    assert await select(events, "SELECT * FROM {events} ORDER BY ts_ms") == [
        (NOON, -(2**63), "Δ", 0.5, True, b"\xff\0"),
        (NOON + 1, 2**63 - 1, "DE", 2.0, False, None),
    ]


async def test_a_table_without_rows_can_be_asked(events):
    assert await count(events) == 0
    assert await select(events, "SELECT sum(weight), max(country) FROM {events}") == [(None, None)]
    await events.append("clicks", clicks(), batch_id="nothing")
    assert await count(events) == 0


async def test_a_batch_may_touch_several_hours(events, blobs):
    rows = [(NOON - 1, 1), (NOON, 2), (NOON + 1, 3), (NOON + HOUR, 4)]
    await events.append("clicks", clicks(*rows), batch_id="b")
    assert len(await segments(blobs)) == 3
    assert await select(events) == rows


@pytest.mark.parametrize(
    ("bounds", "links"),
    [
        ({}, [1, 2, 3, 4]),
        ({"from_ms": NOON}, [2, 3, 4]),
        ({"from_ms": NOON + 1, "to_ms": NOON + HOUR}, [3]),
        ({"from_ms": NOON + 1, "to_ms": NOON + HOUR + 1}, [3, 4]),
        ({"to_ms": NOON}, [1]),
        ({"from_ms": 0, "to_ms": 2 * NOON}, [1, 2, 3, 4]),
        ({"from_ms": NOON + 5, "to_ms": NOON + 5}, []),
    ],
)
@pytest.mark.parametrize("compacted", [False, True])
async def test_bounds_cut_to_the_millisecond(events, clock, bounds, links, compacted):
    rows = [(NOON - 1, 1), (NOON, 2), (NOON + 1, 3), (NOON + HOUR, 4)]
    for n, row in enumerate(rows):
        await events.append("clicks", clicks(row), batch_id=f"b{n}")
    if compacted:
        clock.advance(ms=5 * HOUR)
        assert await events.compact("clicks") == 1  # only NOON's hour has two segments
    assert [link for _, link in await select(events, **bounds)] == links


async def test_values_are_bound_and_never_read_as_sql(events):
    columns = clicks((NOON, 1), (NOON, 2)) | {"country": ["' OR 1=1 --", "DE"]}
    await events.append("clicks", columns, batch_id="b")
    sql = "SELECT link_id FROM {events} WHERE country = "
    assert await select(events, sql + "?", ["' OR 1=1 --"]) == [(1,)]
    assert await select(events, sql + "$c", {"c": "DE"}) == [(2,)]


async def test_a_column_added_later_is_null_in_older_rows(opened, clock):
    await opened().append("clicks", clicks((NOON, 1)), batch_id="old")
    today = opened(EventTable("clicks", ClickToday))
    assert await select(today, "SELECT link_id, city FROM {events}") == [(1, None)]
    await today.append("clicks", clicks((NOON, 2)) | {"city": ["Köln"]}, batch_id="new")
    expected = [(1, None), (2, "Köln")]
    assert await select(today, "SELECT link_id, city FROM {events} ORDER BY 1") == expected
    clock.advance(ms=3 * HOUR)
    assert await today.compact("clicks") == 1
    assert await select(today, "SELECT link_id, city FROM {events} ORDER BY 1") == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"country": None}, "missing country"),
        ({"town": ["x"]}, "unknown town"),
        ({"link_id": [1, 2]}, "differ in length"),
        ({"link_id": ["1"]}, "'link_id' is not int"),
        ({"link_id": [2**63]}, "'link_id' is not int"),
        ({"link_id": np.array([2**63], dtype=np.uint64)}, "view it as int64"),
        ({"link_id": np.array([1.5])}, "ndarray of float64"),
        ({"link_id": [None]}, "'link_id' has None"),
        ({"link_id": Coded(np.array([0]), ["1"])}, "'link_id' is not int"),
        ({"country": [7]}, "'country' is not str"),
        ({"country": ["\ud800"]}, "'country' is not str"),
        ({"country": Coded(np.array([1]), ["DE"])}, "outside its 1 values"),
        ({"country": Coded(np.array([-1]), ["DE"])}, "outside its 1 values"),
        ({"country": Coded(np.array([0.0]), ["DE"])}, "codes of float64"),
        ({"bot": np.array([1])}, "'bot' is not bool"),
    ],
)
async def test_columns_that_do_not_fit_are_named_and_nothing_is_stored(events, blobs, changes, reason):
    columns = {k: v for k, v in (clicks((NOON, 1)) | changes).items() if v is not None}
    with pytest.raises(EventColumnsError, match=reason):
        await events.append("clicks", columns, batch_id="b")
    assert await keys(blobs) == []


@pytest.mark.parametrize("batch_id", ["", "a/b", "..", "a\n", "-a", "é", "x" * 121])
async def test_a_batch_id_that_is_no_name_is_refused(events, batch_id):
    with pytest.raises(EventBatchIdError):
        await events.append("clicks", clicks((NOON, 1)), batch_id=batch_id)


@pytest.mark.parametrize("batch_id", ["x" * 120, "web-1_0.b-2.parquet", "c-1-abc", "1~2@3"])
async def test_any_other_batch_id_will_do(events, clock, batch_id):
    for _ in range(2):
        await events.append("clicks", clicks((NOON, 1)), batch_id=batch_id)
    await events.append("clicks", clicks((NOON, 2)), batch_id="other")
    clock.advance(ms=3 * HOUR)
    assert await events.compact("clicks") == 1
    await events.append("clicks", clicks((NOON, 1)), batch_id=batch_id)
    assert await count(events) == 2


async def test_an_unknown_table_is_a_programming_error(events):
    with pytest.raises(ValueError, match="no table 'cliks'; known: clicks"):
        await events.append("cliks", {}, batch_id="b")
    with pytest.raises(ValueError, match="no table"):
        await events.query("SELECT 1 FROM {events}", "cliks", deadline_seconds=1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([("link_id", int)], "needs `ts_ms: int`"),
        ([("ts_ms", float)], "needs `ts_ms: int`"),
        ([("ts_ms", int), ("tags", list[str])], "cannot be stored: tags"),
        ([("ts_ms", int), ("x", int | str)], "cannot be stored: x"),
        ([("ts_ms", int), ("Ä", int)], "cannot be stored: Ä"),
    ],
)
def test_a_table_that_cannot_be_stored_is_refused_when_declared(fields, reason):
    with pytest.raises(ValueError, match=reason):
        EventTable("t", msgspec.defstruct("Row", fields))


# Queries under limits.


async def test_a_query_is_stopped_at_its_deadline_and_the_next_one_runs(events):
    await events.append("clicks", clicks(*[(NOON, n) for n in range(3000)]), batch_id="b")
    endless = "SELECT sum((a.link_id * b.link_id * c.link_id) % 7) FROM {events} a, {events} b, {events} c"
    for _ in range(3):
        with pytest.raises(EventQueryDeadlineError):
            await events.query(endless, "clicks", deadline_seconds=0.05)
    assert await count(events) == 3000


async def test_a_cancelled_query_frees_its_thread(events):
    await events.append("clicks", clicks(*[(NOON, n) for n in range(3000)]), batch_id="b")
    endless = "SELECT sum((a.link_id * b.link_id * c.link_id) % 7) FROM {events} a, {events} b, {events} c"
    for _ in range(3):
        task = asyncio.create_task(events.query(endless, "clicks", deadline_seconds=60))
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await count(events) == 3000


async def test_closing_stops_queries(opened):
    events = opened()
    await events.append("clicks", clicks(*[(NOON, n) for n in range(3000)]), batch_id="b")
    endless = "SELECT sum((a.link_id * b.link_id * c.link_id) % 7) FROM {events} a, {events} b, {events} c"
    task = asyncio.create_task(events.query(endless, "clicks", deadline_seconds=60))
    await asyncio.wait([task], timeout=0.2)
    await events.close()
    assert isinstance(task.exception(), EngineUnavailableError)


async def test_a_query_that_needs_too_much_memory_is_refused_clearly(opened):
    events = opened(config=EventsConfig(memory_limit_mb=32))
    await events.append("clicks", clicks(*[(NOON, n) for n in range(1000)]), batch_id="b")
    with pytest.raises(EventQueryMemoryError):
        await select(events, "SELECT list(a.country || b.link_id) FROM {events} a, {events} b")
    assert await count(events) == 1000


async def test_a_result_is_bounded(events, monkeypatch):
    monkeypatch.setattr("twelvefold.engines.events.reader.MAX_RESULT_ROWS", 10)
    await events.append("clicks", clicks(*[(NOON, n) for n in range(11)]), batch_id="b")
    assert len(await select(events, "SELECT * FROM {events} LIMIT 10")) == 10
    with pytest.raises(EventResultTooLargeError):
        await select(events)


async def test_a_query_reads_nothing_but_segments(events, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    await events.append("clicks", clicks((NOON, 1)), batch_id="b")
    assert await count(events) == 1
    with pytest.raises(Exception, match="disabled by configuration"):
        await select(events, f"SELECT * FROM read_csv('{secret}'), {{events}}")
    with pytest.raises(Exception, match="disabled by configuration"):
        await select(events, f"COPY (SELECT * FROM {{events}}) TO '{tmp_path}/out.csv'")


async def test_a_folder_that_duckdb_would_take_for_a_pattern_is_refused(tmp_path):
    store = open_blobs(f"file://{tmp_path}/a[1]")
    with pytest.raises(ConfigurationError, match="pattern"):
        ParquetEvents(store, [CLICKS], ManualClock(), scratch=tmp_path)
    await store.close()


async def test_more_batches_at_once_than_can_be_stored_are_refused_at_once(opened, blobs):
    release = asyncio.Event()

    class Slow:
        """The same store, whose puts wait."""

        def __getattr__(self, name):
            return getattr(blobs, name)

        async def put(self, key, data, *, if_absent=False):
            await release.wait()
            await blobs.put(key, data, if_absent=if_absent)

    events = opened(store=Slow())
    async with asyncio.TaskGroup() as group:
        for n in range(64):
            group.create_task(events.append("clicks", clicks((NOON, n)), batch_id=f"b{n}"))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await events.append("clicks", clicks((NOON, 64)), batch_id="one-more")
        release.set()
    assert await count(events) == 64


APPEND_ONLY = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from clicks import CLICKS, NOON, clicks
from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import ParquetEvents
from twelvefold.kernel.clock import SystemClock

async def main():
    store = open_blobs("file://" + sys.argv[1] + "/objects")
    events = ParquetEvents(store, [CLICKS], SystemClock(), scratch=Path(sys.argv[1]) / "scratch")
    await events.append("clicks", clicks((NOON, 1)), batch_id="b")
    await events.close()
    await store.close()

asyncio.run(main())
print("duckdb" in sys.modules)
"""


def test_a_process_that_only_appends_does_not_load_duckdb(tmp_path, request):
    done = subprocess.run(
        [sys.executable, "-c", APPEND_ONLY, str(tmp_path), str(request.path.parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
