"""Transactions: all or nothing, and never a leaked connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from twelvefold.engines.database import (
    ConstraintError,
    ContendedError,
    Database,
    StatementError,
    StatementTimeoutError,
    Transaction,
)

Eventually = Callable[[Callable[[], Any]], Awaitable[None]]


@pytest.fixture
async def table(database: Database) -> Database:
    await database.execute("CREATE TABLE t (n int PRIMARY KEY)")
    return database


async def rows(database: Database) -> list[int]:
    return [n for (n,) in await database.fetch("SELECT n FROM t ORDER BY n")]


async def test_the_end_of_the_block_commits(table: Database) -> None:
    async with table.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (1)")
        await tx.execute_many("INSERT INTO t VALUES ($1)", [(2,)])
        await tx.copy("public", "t", ["n"], [(3,)])
        assert await rows(table) == []
    assert await rows(table) == [1, 2, 3]


async def test_an_error_rolls_back_and_passes_through(table: Database) -> None:
    async def work() -> None:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await rows(table) == []
    assert table.connections == 1


async def test_a_swallowed_failure_is_not_a_silent_rollback(table: Database) -> None:
    async def work() -> None:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(ConstraintError):
                await tx.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(StatementError, match="the whole was rolled back"):
        await work()
    assert await rows(table) == []


async def test_a_savepoint_undoes_only_its_own(table: Database) -> None:
    async def fail(tx: Transaction) -> None:
        async with tx.savepoint():
            await tx.execute("INSERT INTO t VALUES (2)")
            async with tx.savepoint():
                await tx.execute("INSERT INTO t VALUES (1)")

    async with table.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(ConstraintError):
            await fail(tx)
        async with tx.savepoint():
            await tx.execute("INSERT INTO t VALUES (3)")
    assert await rows(table) == [1, 3]


@pytest.mark.parametrize("where", ["in a statement", "between statements", "before the first"])
async def test_cancellation_rolls_back_and_leaks_nothing(table: Database, where: str) -> None:
    reached = asyncio.Event()

    async def work() -> None:
        async with table.transaction() as tx:
            if where != "before the first":
                await tx.execute("INSERT INTO t VALUES (1)")
                await tx.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            reached.set()
            if where == "in a statement":
                await tx.execute("SELECT pg_sleep(60)")
            await asyncio.Event().wait()

    for _ in range(12):  # more often than the pool has connections
        reached.clear()
        task = asyncio.create_task(work())
        await reached.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(10):
        assert await rows(table) == []
        await table.execute("INSERT INTO t VALUES (1)")


async def test_cancellation_while_committing_or_beginning_leaks_nothing(
    table: Database, eventually: Eventually
) -> None:
    async def work(n: int) -> None:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES ($1)", n)

    for turns in range(1, 40):
        task = asyncio.create_task(work(turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(table.fetch("SELECT pg_sleep(0.01)"))

    async def none_left_open() -> bool:
        return not await table.fetch_value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%'"
        )

    await eventually(none_left_open)


async def test_read_only_refuses_changes(table: Database) -> None:
    with pytest.raises(Exception, match="read-only"):
        async with table.transaction(read_only=True) as tx:
            await tx.execute("INSERT INTO t VALUES (1)")


async def test_a_deadline_of_its_own_ends_with_it(table: Database) -> None:
    with pytest.raises(StatementTimeoutError):
        async with table.transaction(deadline_seconds=0.1) as tx:
            await tx.execute("SELECT pg_sleep(60)")
    assert await table.fetch_value("SHOW statement_timeout") == "5s"


async def test_after_its_end_it_is_refused(table: Database) -> None:
    async with table.transaction() as tx:
        pass
    with pytest.raises(StatementError, match="has ended"):
        await tx.fetch("SELECT 1")


async def test_run_tries_again_until_no_increment_is_lost(table: Database) -> None:
    await table.execute("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
    attempts = 0

    async def increment(tx: Transaction) -> int:
        nonlocal attempts
        attempts += 1
        n = int(await tx.fetch_value("SELECT n FROM counter"))
        await asyncio.sleep(0)
        await tx.execute("UPDATE counter SET n = $1", n + 1)
        return n

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(table.run(increment, attempts=60))
    assert await table.fetch_value("SELECT n FROM counter") == 8
    assert attempts > 8


async def test_run_gives_up_in_the_end(table: Database) -> None:
    attempts = 0

    async def lose(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.execute("DO $$ BEGIN RAISE serialization_failure; END $$")

    with pytest.raises(ContendedError) as caught:
        await table.run(lose, attempts=3)
    assert attempts == 3
    assert caught.value.status == 503


async def test_a_deadlock_is_contention(table: Database) -> None:
    await table.execute("INSERT INTO t VALUES (1), (2)")
    both = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with table.transaction() as tx:
            await tx.execute("SELECT 1 FROM t WHERE n = $1 FOR UPDATE", first)
            await both.wait()
            await tx.execute("SELECT 1 FROM t WHERE n = $1 FOR UPDATE", second)

    results = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ContendedError", "NoneType"]
