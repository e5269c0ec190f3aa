"""Worker ids: held by one at a time, and no two ids equal whatever happens to clocks and processes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from twelvefold.engines.database import Database
from twelvefold.engines.identity import WorkerLease
from twelvefold.engines.identity.store import LeaseStore
from twelvefold.kernel.clock import ManualClock, SystemClock
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.kernel.ids import LeaseExpiredError, decode

Eventually = Callable[[Callable[[], Any]], Awaitable[None]]


async def held(database: Database, clock: ManualClock, holder: str = "node") -> WorkerLease:
    return await WorkerLease.acquire(
        database, clock, holder=holder, lease_seconds=30, wait=lambda ms: clock.advance(ms=int(ms))
    )


async def die(lease: WorkerLease) -> None:
    """What SIGKILL leaves: nothing is renewed, nothing is given back."""
    assert lease._task is not None
    lease._task.cancel()
    await asyncio.gather(lease._task, return_exceptions=True)
    assert lease._revoke is not None
    lease._revoke.cancel()


async def expire(database: Database) -> None:
    await database.execute(
        "UPDATE identity.worker_lease SET expires_at = clock_timestamp() - interval '1 second'"
    )


async def test_holders_at_one_time_have_different_worker_ids(database: Database) -> None:
    leases = await asyncio.gather(*(held(database, ManualClock(), f"node {n}") for n in range(20)))
    assert sorted(lease.worker_id for lease in leases) == list(range(20))
    for lease in leases:
        await lease.release()


async def test_a_released_worker_id_is_used_again_at_once(database: Database) -> None:
    clock = ManualClock()
    first = await held(database, clock)
    made = first.ids.make_many(5000)
    await first.release()
    clock.advance(ms=1)
    second = await held(database, clock)
    assert (second.worker_id, second.fence) == (first.worker_id, first.fence + 1)
    assert second.ids.make() > made[-1]
    await second.release()


async def test_after_release_no_id_is_made(database: Database) -> None:
    lease = await held(database, ManualClock())
    await lease.release()
    await lease.release()
    with pytest.raises(LeaseExpiredError):
        lease.ids.make()


async def test_a_killed_holders_ids_never_come_again_with_the_clock_set_back(database: Database) -> None:
    clock = ManualClock()
    first = await held(database, clock)
    made = set(first.ids.make_many(10_000))
    await die(first)
    clock.step_back(ms=10_000)
    second = await held(database, clock)
    for _ in range(11_000):  # past the moment of the kill, millisecond by millisecond
        clock.advance(ms=1)
        snowflake = second.ids.make()
        assert snowflake not in made
        made.add(snowflake)
    await second.release()


async def test_an_expired_worker_id_is_taken_over_above_its_high_water_mark(database: Database) -> None:
    clock = ManualClock()
    first = await held(database, clock)
    last = first.ids.make()
    await die(first)
    await expire(database)
    early = await held(database, clock)
    assert early.worker_id != first.worker_id  # its marks reach 30 s ahead; another one is free now
    await die(early)
    clock.advance(ms=30_001)
    second = await held(database, clock)
    assert second.worker_id == first.worker_id
    assert decode(second.ids.make()).timestamp_ms > decode(last).timestamp_ms + 30_000
    await second.release()


async def test_a_holder_that_wakes_up_after_its_lease_cannot_make_its_successors_ids(
    database: Database,
) -> None:
    clock = ManualClock()
    sleeper = await held(database, clock)
    sleeper.ids.make()
    await die(sleeper)  # paused: its generator is alive
    await expire(database)
    clock.advance(ms=30_001)
    successor = await held(database, clock)
    assert successor.worker_id == sleeper.worker_id
    with pytest.raises(LeaseExpiredError):
        sleeper.ids.make()
    clock.step_back(ms=10_000)  # even with a clock that says its lease still holds
    made = {sleeper.ids.make() for _ in range(1000)}
    clock.advance(ms=10_001)
    assert not made & {successor.ids.make() for _ in range(1000)}
    await successor.release()


async def test_a_renewal_that_finds_someone_else_takes_another_worker_id(database: Database) -> None:
    clock = ManualClock()
    first = await held(database, clock, "first")
    made = first.ids.make_many(10)
    await expire(database)
    clock.advance(ms=30_001)
    thief = await held(database, clock, "thief")
    assert thief.worker_id == first.worker_id == 0
    await first.renew()
    assert first.worker_id != thief.worker_id
    assert first.ids.worker_id == first.worker_id
    assert first.ids.make() > made[-1]
    await first.release()
    await thief.release()


async def test_a_renewal_lets_ids_go_on_and_carries_the_mark(database: Database) -> None:
    clock = ManualClock()
    lease = await held(database, clock)
    clock.advance(ms=30_001)
    with pytest.raises(LeaseExpiredError):
        lease.ids.make()
    await lease.renew()
    lease.ids.make()
    mark = await database.fetch_value("SELECT high_water_ms FROM identity.worker_lease")
    assert mark == clock.now_ms() + 30_000
    clock.step_back(ms=20_000)
    await lease.renew()
    assert await database.fetch_value("SELECT high_water_ms FROM identity.worker_lease") == mark
    await lease.release()


async def test_it_renews_itself(database: Database, eventually: Eventually) -> None:
    lease = await WorkerLease.acquire(database, SystemClock(), holder="node", lease_seconds=0.3)
    mark = "SELECT high_water_ms FROM identity.worker_lease"
    first = await database.fetch_value(mark)

    async def moved_on() -> bool:
        return int(await database.fetch_value(mark)) > first + 300

    await eventually(moved_on)
    lease.ids.make()
    await lease.release()


async def test_with_the_database_away_it_is_revoked_and_comes_back_with_it(
    database: Database, database_url: str, eventually: Eventually
) -> None:
    other = await Database.open(database_url, name="lease")
    lease = await WorkerLease.acquire(other, SystemClock(), holder="node", lease_seconds=0.3)
    lease.ids.make()
    await other.close()

    def refuses() -> bool:
        try:
            lease.ids.make()
        except LeaseExpiredError:
            return True
        return False

    await eventually(refuses)
    lease._store = LeaseStore(database)
    await eventually(lambda: not refuses())
    await lease.release()


async def test_all_worker_ids_taken_is_refused(database: Database) -> None:
    clock = ManualClock()
    lease = await held(database, clock)
    await database.execute(
        "INSERT INTO identity.worker_lease SELECT n, 'x', 1, clock_timestamp() + interval '1 hour', 0"
        " FROM generate_series(0, 1023) n ON CONFLICT DO NOTHING"
    )
    with pytest.raises(EngineUnavailableError, match="none of the 1024 worker ids is free"):
        await held(database, clock)
    await lease.release()


async def test_a_release_without_a_database_is_no_error(database_url: str) -> None:
    other = await Database.open(database_url, name="lease")
    lease = await held(other, ManualClock())
    await other.close()
    await lease.release()
