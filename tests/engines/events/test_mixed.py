"""Writers, mergers, readers and killed processes on one table: no order of steps gives a gap or a double."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import ParquetEvents, layout
from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import EngineUnavailableError

from .clicks import CLICKS, NOON, clicks, count, select
from .interrupted import Interrupted


@pytest.mark.parametrize("seed", range(12))
async def test_no_mix_of_writers_mergers_and_readers_shows_a_gap_or_a_double(seed, tmp_path, clock):
    """Two writers (with deliveries repeated), two mergers and a reader; the steps mix at random.

    The mergers' clock runs ahead, so that they clean up under the reader's feet.
    """
    chance = random.Random(seed)
    store = Interrupted(open_blobs("memory://"), chance=chance)
    still = ManualClock(clock.now_ms())
    engines = [
        ParquetEvents(store, [CLICKS], clock if n in (2, 3) else still, scratch=tmp_path / f"{n}")
        for n in range(5)
    ]
    started, stored = set(), set()
    writing = 2

    async def write(events, first):
        nonlocal writing
        for n in range(first, first + 60):
            for batch in {n, chance.randrange(first, n + 1)}:
                started.add(batch)
                await events.append("clicks", clicks((NOON, batch), (NOON, batch)), batch_id=f"b{batch}")
                stored.add(batch)
        writing -= 1

    async def merge(events):
        while writing:
            with suppress(EngineUnavailableError):  # the other's leap in time makes this listing too slow
                await events.compact("clicks")
            clock.advance(ms=chance.choice([0, 1000, layout.GRACE_MS]))

    async def read(events):
        while writing:
            before = set(stored)
            rows = await select(events, "SELECT link_id, count(*) FROM {events} GROUP BY ALL")
            seen = dict(rows)
            assert set(seen.values()) <= {2}, "a double, or half a batch"
            assert before <= seen.keys() <= started, "a gap, or a row from nowhere"

    async with asyncio.TaskGroup() as group:
        group.create_task(write(engines[0], 0))
        group.create_task(write(engines[1], 1000))
        group.create_task(merge(engines[2]))
        group.create_task(merge(engines[3]))
        group.create_task(read(engines[4]))
    assert await count(engines[4]) == 240
    for engine in engines:
        await engine.close()


PROCESS = """
import asyncio, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from clicks import CLICKS, NOON, clicks
from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import ParquetEvents
from twelvefold.kernel.clock import SystemClock

async def main():
    folder, role = Path(sys.argv[1]), sys.argv[2]
    store = open_blobs(f"file://{folder}/objects")
    events = ParquetEvents(store, [CLICKS], SystemClock(), scratch=folder / role)
    if role == "merge":
        while True:
            await events.compact("clicks")
            print("round", flush=True)
    for n in range(150):
        own = f"{role}-{n}" if n % 3 else f"both-{n}"
        await events.append("clicks", clicks((NOON, n)), batch_id=own)
        print(own, flush=True)
    await events.close()
    await store.close()

asyncio.run(main())
"""


async def test_processes_write_and_merge_one_table_and_may_be_killed(tmp_path):
    async def start(role):
        here = str(Path(__file__).parent)
        command = [sys.executable, "-c", PROCESS, str(tmp_path), role, here]
        return await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)

    store = open_blobs(f"file://{tmp_path}/objects")
    events = ParquetEvents(store, [CLICKS], ManualClock(NOON + 60_000), scratch=tmp_path / "reader")
    writers = [await start("one"), await start("two")]
    merging = [await start("merge") for _ in range(2)]
    killed = 0
    async with asyncio.timeout(120):
        while any(writer.returncode is None for writer in writers):
            await merging[0].stdout.readline()
            os.kill(merging[0].pid, signal.SIGKILL)
            await merging[0].communicate()
            merging[0] = await start("merge")
            killed += 1
            shares = dict(await select(events, "SELECT link_id, count(*) FROM {events} GROUP BY ALL"))
            assert all(rows <= (2 if n % 3 else 1) for n, rows in shares.items())
            await asyncio.wait([asyncio.create_task(writer.wait()) for writer in writers], timeout=0.2)
    acknowledged = {line for w in writers for line in (await w.stdout.read()).split()}
    for process in merging:
        process.kill()
        await process.communicate()
    assert killed > 0
    assert len(acknowledged) == 250  # 100 of each writer's own and 50 of both
    assert await count(events) == 250
    await events.close()
    await store.close()
