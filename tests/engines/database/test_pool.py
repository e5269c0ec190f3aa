"""The pool: bounded, refusing early, never lending a doubtful connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from twelvefold.engines.database import Database
from twelvefold.engines.database import pool as pool_module
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError

Eventually = Callable[[Callable[[], Any]], Awaitable[None]]

HOLD = "SELECT pg_sleep(0.05)"
SLEEPERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url, name="small", min_size=0, max_size=2) as database:
        yield database


async def backends(database: Database) -> int:
    return int(
        await database.fetch_value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    )


async def test_never_more_than_the_maximum_is_open(small: Database) -> None:
    async with asyncio.TaskGroup() as group:
        seen = [group.create_task(backends(small)) for _ in range(60)]
    assert max(task.result() for task in seen) <= 2
    assert small.connections <= 2


async def test_all_who_wait_get_their_turn(small: Database) -> None:
    async with asyncio.TaskGroup() as group:
        numbers = [group.create_task(small.fetch_value("SELECT $1::int", n)) for n in range(90)]
    assert [task.result() for task in numbers] == list(range(90))
    assert small.waiting == 0


async def test_a_queue_that_is_full_refuses_at_once(small: Database) -> None:
    small._pool._max_waiters = 3
    async with small.transaction(), small.transaction():
        waiting = [asyncio.create_task(small.fetch("SELECT 1")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await small.fetch("SELECT 1")
        assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1.0)
        assert small.waiting == 3
    await asyncio.gather(*waiting)


async def test_waiting_has_a_bound(small: Database) -> None:
    small._pool._acquire_seconds = 0.05
    async with small.transaction(), small.transaction():
        with pytest.raises(OverloadedError, match="all 2 database connections were busy"):
            await small.fetch("SELECT 1")
        assert small.waiting == 0
    assert await small.fetch_value("SELECT 1") == 1


async def test_a_waiter_that_gives_up_at_the_moment_of_its_turn_loses_nothing(small: Database) -> None:
    async with small.transaction():
        second = small.transaction()
        await second.__aenter__()
        waiter = asyncio.create_task(small.fetch("SELECT 1"))
        await asyncio.sleep(0)
        assert small.waiting == 1
        connection, second._connection = second._connection, None
        assert connection is not None
        small._pool.release(connection)  # hands the connection to the waiter …
        waiter.cancel()  # … which is cancelled before it runs
        with pytest.raises(asyncio.CancelledError):
            await waiter
        async with asyncio.timeout(5):
            assert await small.fetch_value("SELECT 1") == 1


async def test_a_cancelled_statement_stops_on_the_server_and_frees_its_place(
    small: Database, eventually: Eventually
) -> None:
    async def busy() -> bool:
        return bool(await small.fetch_value(SLEEPERS))

    async def idle() -> bool:
        return not await busy()

    for _ in range(6):
        task = asyncio.create_task(small.execute("SELECT pg_sleep(60)"))
        await eventually(busy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await eventually(idle)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(small.execute(HOLD))
    assert small.connections <= 2


async def test_connections_killed_by_the_server_are_replaced(small: Database, eventually: Eventually) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(small.execute(HOLD))
    await small.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await eventually(lambda: all(connection.is_closed() for connection, _ in small._pool._idle[:-1]))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(small.execute(HOLD))
    assert small.connections <= 2


async def test_unused_connections_are_closed_down_to_the_minimum(
    database_url: str, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.0)
    async with await Database.open(database_url, name="test", min_size=1, max_size=4) as database:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(database.execute(HOLD))
        await eventually(lambda: database.connections == 1)
        assert await backends(database) == 1


async def test_close_waits_for_what_runs(database_url: str) -> None:
    database = await Database.open(database_url, name="test")
    await database.execute("CREATE TABLE t (n int)")
    started = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            started.set()
            await tx.execute(HOLD)

    task = asyncio.create_task(work())
    await started.wait()
    await database.close()
    await task
    async with await Database.open(database_url, name="test") as again:
        assert await again.fetch_value("SELECT n FROM t") == 1


async def test_close_cuts_what_does_not_end(database_url: str) -> None:
    database = await Database.open(database_url, name="test")
    transaction = database.transaction()
    tx = await transaction.__aenter__()
    await database.close(deadline_seconds=0.05)
    with pytest.raises(Exception, match="does not answer"):
        await tx.execute("SELECT 1")


@pytest.mark.parametrize(("least", "most"), [(2, 1), (-1, 1), (0, 0)])
async def test_impossible_sizes_are_an_error(database_url: str, least: int, most: int) -> None:
    with pytest.raises(ValueError, match="a pool needs"):
        await Database.open(database_url, name="test", min_size=least, max_size=most)


async def test_while_the_server_is_away_a_crowd_is_refused_at_once_and_few_knock(
    small: Database, eventually: Eventually
) -> None:
    attempts = 0
    away = True
    gate = asyncio.Event()
    connect = small._pool._connect

    async def knock() -> object:
        nonlocal attempts
        attempts += 1
        if away:
            await gate.wait()
            raise EngineUnavailableError("database", "it is away")
        return await connect()

    small._pool._connect = knock  # type: ignore[assignment]
    for connection, _ in small._pool._idle:
        connection.terminate()
    crowd = [asyncio.create_task(small.fetch("SELECT 1")) for _ in range(80)]
    await asyncio.sleep(0)
    gate.set()
    told = await asyncio.gather(*crowd, return_exceptions=True)
    assert {str(error) for error in told} == {"database does not answer: it is away"}
    assert attempts <= 3
    away = False

    async def answers() -> bool:
        try:
            return bool(await small.fetch_value("SELECT true"))
        except EngineUnavailableError:
            return False

    await eventually(answers)
    assert small.connections == 1
