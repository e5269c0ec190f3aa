"""The timeline's contract, on every form there is. What is stored is dense, ordered, once, and provable."""

import asyncio
import os

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twelvefold.engines.database import Database
from twelvefold.engines.timeline import NewEntry, PostgresTimeline, Timeline, digest_of

DAY = 86_400_000
NOW = 1_800_000_000_000


@pytest.fixture
async def timeline(database: Database) -> PostgresTimeline:
    made = await PostgresTimeline.open(database, "test", bucket_days=1)
    await made.create(range(1, 9), epoch="e1")
    return made


def entry(stream: int = 1, number: int = 1, *, data: bytes = b"hello", **given) -> NewEntry:
    plain = {"kind": 1, "author": "ann", "key": number.to_bytes(16, "big"), "body": data[:16], "fence": 1}
    return NewEntry(stream_id=stream, id=number, data=data, **{**plain, **given})


async def seqs(timeline: Timeline, stream: int = 1) -> list[int]:
    return [found.seq for found in await timeline.read(stream, after_seq=0, limit=10_000)]


async def test_entries_of_many_streams_get_dense_sequences_in_their_order(timeline: Timeline):
    placed = await timeline.append([entry(1 + n % 3, n) for n in range(1, 31)], at_ms=NOW)
    assert [one.outcome for one in placed] == ["stored"] * 30
    assert [one.seq for one in placed] == [(n - 1) // 3 + 1 for n in range(1, 31)]
    assert [found.id for found in await timeline.read(1, after_seq=0, limit=99)] == [*range(3, 31, 3)]


async def test_writers_at_once_leave_no_gap_and_no_double(timeline: Timeline):
    async def write(writer: int) -> list[int]:
        got = []
        for turn in range(12):
            numbers = [writer * 1000 + turn * 10 + n for n in range(10)]
            placed = await timeline.append([entry(1 + n % 2, n) for n in numbers], at_ms=NOW)
            got += [(1 + n % 2, one.seq) for n, one in zip(numbers, placed, strict=True)]
        return got

    written = await asyncio.gather(*(write(writer) for writer in range(8)))
    placed = [one for some in written for one in some]
    assert len(set(placed)) == 960
    for stream in (1, 2):
        assert await seqs(timeline, stream) == [*range(1, 481)]
        assert (await timeline.audit(stream)).faults == ()


async def test_the_same_key_again_gives_the_same_entry(timeline: Timeline):
    (first,) = await timeline.append([entry(number=7)], at_ms=NOW)
    (again,) = await timeline.append([entry(number=7)], at_ms=NOW + 40 * DAY)
    assert (again.outcome, again.seq, again.id) == ("existed", first.seq, first.id)
    assert await seqs(timeline) == [1]


async def test_the_same_key_with_another_body_is_a_conflict_and_stores_nothing(timeline: Timeline):
    await timeline.append([entry(number=7)], at_ms=NOW)
    other = entry(number=7, data=b"something else")
    before, conflict, after = await timeline.append([entry(number=8), other, entry(number=9)], at_ms=NOW)
    assert (before.outcome, conflict.outcome, after.outcome) == ("stored", "conflict", "stored")
    assert await seqs(timeline) == [1, 2, 3]


async def test_a_writer_who_slept_through_a_raised_fence_cannot_append(timeline: Timeline):
    await timeline.append([entry(number=1, raises=True)], at_ms=NOW)
    late, forced = await timeline.append([entry(number=2), entry(number=3, fence=-1)], at_ms=NOW)
    assert (late.outcome, forced.outcome, forced.seq) == ("stale", "stored", 2)
    (informed,) = await timeline.append([entry(number=2, fence=2)], at_ms=NOW)
    assert (informed.outcome, informed.seq) == ("stored", 3)


async def test_a_raising_entry_must_be_the_last_of_its_stream(timeline: Timeline):
    with pytest.raises(ValueError, match="last"):
        await timeline.append([entry(number=1, raises=True), entry(number=2)], at_ms=NOW)


async def test_an_entry_alone_is_judged_as_one_among_many(timeline: Timeline):
    """Alone it is stored by a statement of its own; what becomes of it is the same."""
    script = [
        entry(1, 1), entry(1, 1), entry(1, 1, data=b"another"), entry(1, 2, fence=9), entry(1, 3, fence=-1, counts=False),
        entry(50, 4), entry(1, 5, raises=True), entry(1, 6), entry(1, 7, fence=2),
    ]  # fmt: skip
    for turn, said in enumerate(script):
        (alone,) = await timeline.append([said], at_ms=NOW)
        twin = msgspec.structs.replace(said, stream_id=said.stream_id + 1)
        among, _ = await timeline.append([twin, entry(3, 100 + turn)], at_ms=NOW)
        assert alone == among, said
    one, two = [await timeline.read(stream, after_seq=0, limit=99) for stream in (1, 2)]
    assert one == [msgspec.structs.replace(found, stream_id=1) for found in two]
    assert [found.id for found in one] == [1, 3, 5, 7]
    assert [(await timeline.audit(stream)).faults for stream in (1, 2)] == [(), ()]


async def test_of_many_who_use_one_key_at_once_one_is_stored(timeline: Timeline, database: Database):
    """They all look before any of them has stored: the stream's row is held until they wait for it."""
    await timeline.append([entry(number=100)], at_ms=NOW)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group, database.transaction() as holder:
        await holder.execute("SELECT FROM timeline_test.stream WHERE id = 1 FOR UPDATE")
        said = [entry(number=number, key=b"one key", body=b"the same") for number in range(1, 5)]
        tasks = [group.create_task(timeline.append([one], at_ms=NOW)) for one in said]
        while await holder.fetch_value("SELECT count(*) FROM pg_locks WHERE NOT granted") < len(tasks):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    placed = [task.result()[0] for task in tasks]
    assert sorted(one.outcome for one in placed) == ["existed"] * 3 + ["stored"]
    assert len({(one.seq, one.id) for one in placed}) == 1
    assert await seqs(timeline) == [1, 2]


async def test_a_server_of_the_version_before_can_still_append(
    timeline: PostgresTimeline, database: Database
):
    await timeline.append([entry(number=1)], at_ms=NOW)
    data = digest_of(2, 1, "ann", b"hello") + bytes(16) + b"hello"
    row = await database.fetch_row(
        """SELECT outcome, found_seq FROM timeline_test.append(ARRAY[1]::bigint[], ARRAY[2]::bigint[], ARRAY[1]::smallint[],
               ARRAY['ann'], ARRAY[1], ARRAY[1]::bigint[], ARRAY[true], ARRAY[false], $1, ARRAY[1], ARRAY[16], ARRAY[0],
               ARRAY[5], $2)""",
        data, timeline.bucket_of(NOW),
    )  # fmt: skip
    assert tuple(row) == (b"n", 2)
    assert (await timeline.audit(1)).faults == ()


async def test_an_unknown_stream_is_missing_and_harms_nobody(timeline: Timeline):
    missing, stored = await timeline.append([entry(99, 1), entry(1, 2)], at_ms=NOW)
    assert (missing.outcome, stored.outcome) == ("missing", "stored")


async def test_a_clock_that_goes_back_changes_neither_order_nor_bucket(timeline: Timeline):
    await timeline.append([entry(number=1)], at_ms=NOW)
    await timeline.append([entry(number=2)], at_ms=NOW - 30 * DAY)
    await timeline.append([entry(number=3)], at_ms=NOW + DAY)
    assert [found.id for found in await timeline.read(1, after_seq=0, limit=9)] == [1, 2, 3]
    assert (await timeline.audit(1)).faults == ()


async def test_paging_crosses_buckets_and_the_empty_ones_between(timeline: Timeline):
    for number, day in enumerate((0, 0, 1, 400, 2000, 2000), start=1):
        await timeline.append([entry(number=number)], at_ms=NOW + day * DAY)
    forwards, after = [], 0
    while page := await timeline.read(1, after_seq=after, limit=2):
        forwards += [found.seq for found in page]
        after = page[-1].seq
    backwards, before = [], 7
    while page := await timeline.read_back(1, before_seq=before, limit=4):
        backwards += [found.seq for found in page]
        before = page[-1].seq
    assert forwards == [1, 2, 3, 4, 5, 6]
    assert backwards == [6, 5, 4, 3, 2, 1]
    assert [found.seq for found in await timeline.pick(1, [6, 1, 4, 77])] == [1, 4, 6]


async def test_retention_drops_whole_buckets_and_the_sequence_goes_on(
    timeline: PostgresTimeline, database: Database
):
    for number, day in enumerate((0, 1, 1, 5), start=1):
        await timeline.append([entry(number=number)], at_ms=NOW + day * DAY)
    await timeline.append([entry(2, 90)], at_ms=NOW)
    assert await timeline.retain(since_ms=NOW + 4 * DAY) == 2
    assert await seqs(timeline) == [4]
    heads = await timeline.heads([1, 2])
    assert (heads[1].first_seq, heads[1].last_seq) == (4, 4)
    assert (heads[2].first_seq, heads[2].last_seq) == (2, 1)
    (following, revived) = await timeline.append([entry(number=5), entry(2, 91)], at_ms=NOW + 6 * DAY)
    assert (following.seq, revived.seq) == (5, 2)
    assert (await timeline.audit(1)).faults == ()
    assert (await timeline.audit(2)).faults == ()
    left = await database.fetch_value("SELECT count(*) FROM timeline_test.entry_key")
    assert left == 3, "keys go with their bucket"


async def test_an_amended_entry_forgets_its_text_and_its_key_still_names_it(
    timeline: PostgresTimeline, database: Database
):
    await timeline.append([entry(number=1, data=b"a secret")], at_ms=NOW)
    assert await timeline.amend(1, 1, b"")
    assert not await timeline.amend(1, 5, b"")
    (found,) = await timeline.read(1, after_seq=0, limit=1)
    assert (found.data, found.amended) == (b"", True)
    (again,) = await timeline.append([entry(number=1, data=b"a secret")], at_ms=NOW)
    assert (again.outcome, again.seq) == ("existed", 1)
    audit = await timeline.audit(1)
    assert (audit.amended, audit.faults) == (1, ())
    for table in ("entry", "entry_key"):
        text = await database.fetch(f"SELECT t::text FROM timeline_test.{table} t")
        assert b"a secret".hex() not in str(text)


@pytest.mark.parametrize(
    ("tampering", "word"),
    [
        ("UPDATE timeline_test.entry SET data = 'forged' WHERE seq = 3", "not what was written"),
        ("UPDATE timeline_test.entry SET author = 'bob' WHERE seq = 3", "not what was written"),
        ("DELETE FROM timeline_test.entry WHERE seq = 3", "after 2 comes 4"),
        ("DELETE FROM timeline_test.entry WHERE seq = 5", "its entries end at 4"),
        ("UPDATE timeline_test.entry SET digest = sha256('x'), amended = true WHERE seq = 2", "chain"),
    ],
)
async def test_the_auditor_finds_what_was_tampered_with(
    timeline: Timeline, database: Database, tampering: str, word: str
):
    await timeline.append([entry(number=n) for n in (1, 2)], at_ms=NOW)
    await timeline.append([entry(number=n) for n in (3, 4, 5)], at_ms=NOW)
    assert (await timeline.audit(1)).faults == ()
    await database.execute(tampering)
    assert any(word in fault for fault in (await timeline.audit(1)).faults)


async def test_each_append_is_news_to_exactly_one_reader(timeline: PostgresTimeline, database: Database):
    await timeline.append([entry(1, 1), entry(2, 2)], at_ms=NOW)
    await timeline.append([entry(1, 3)], at_ms=NOW)
    async with database.transaction() as one, database.transaction() as two:
        first = await timeline.take_news(one, 1)
        second = await timeline.take_news(two, 9)
    assert (first, second) == ([(1, 1), (2, 1)], [(1, 2)])

    async def undone() -> None:
        async with database.transaction() as transaction:
            await timeline.append([entry(1, 4)], at_ms=NOW, within=transaction)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await undone()
    async with database.transaction() as transaction:
        assert await timeline.take_news(transaction, 9) == []
    assert await seqs(timeline) == [1, 2]


async def test_an_entry_of_any_bytes_comes_back_as_it_was(timeline: Timeline):
    data = os.urandom(1 << 20)
    await timeline.append([entry(data=data)], at_ms=NOW)
    (found,) = await timeline.read(1, after_seq=0, limit=1)
    assert found.data == data


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(0, 1)), min_size=1, max_size=6),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=8,
)


@given(script=steps)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_appended_the_timeline_is_the_model(database: Database, script):
    """The model: lists and a dict. Keys repeat, bodies differ, days pass, fences rise."""
    timeline = await PostgresTimeline.open(database, "model", bucket_days=1)
    base = (await database.fetch_value("SELECT coalesce(max(id), 0) FROM timeline_model.stream")) + 1
    await timeline.create([base, base + 1, base + 2], epoch="m")
    model: dict[int, list[int]] = {n: [] for n in (base, base + 1, base + 2)}
    keys: dict[tuple[int, int], tuple[int, int]] = {}
    fences = dict.fromkeys(model, 1)
    number = base * 1000
    for wanted, day, raising in script:
        batch, expected, seen = [], [], set()
        for stream, key, body in wanted:
            if (stream, key) in seen:
                continue
            seen.add((stream, key))
            number += 1
            place = base + stream - 1
            stale = fences[place] if body else 1
            batch.append(
                entry(place, number, key=key.to_bytes(16, "big"), body=bytes([65 + body]), fence=stale)
            )
            if (place, key) in keys:
                known = keys[place, key]
                expected.append(("existed" if known[1] == body else "conflict", known[0]))
            elif stale != fences[place]:
                expected.append(("stale", 0))
            else:
                model[place].append(number)
                keys[place, key] = (len(model[place]), body)
                expected.append(("stored", len(model[place])))
        placed = await timeline.append(batch, at_ms=NOW + day * DAY)
        assert [(one.outcome, one.seq) for one in placed] == expected
        if raising:
            number += 1
            raised = entry(base, number, key=number.to_bytes(16, "big"), fence=-1, raises=True)
            await timeline.append([raised], at_ms=NOW)
            model[base].append(number)
            fences[base] += 1
    for place, ids in model.items():
        found = await timeline.read(place, after_seq=0, limit=1000)
        assert [(one.seq, one.id) for one in found] == [*enumerate(ids, start=1)]
        assert (await timeline.audit(place)).faults == ()
