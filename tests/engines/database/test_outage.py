"""The database dies or falls silent under load; callers are told, and nothing acknowledged is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import psutil
import pytest

from twelvefold.engines.database import Database, OutcomeUnknownError
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError

Eventually = Callable[[Callable[[], Any]], Awaitable[None]]

DEADLINE = 30


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """A server of this file's own, to be killed."""
    with DataFolder.open(tmp_path_factory.mktemp("outage") / "data") as folder:
        supervisor = Supervisor(folder, frozenset({"database"}), MemoryLimits.for_total(1 << 30))
        supervisor.start()
        yield supervisor
        supervisor.stop()


@pytest.fixture
async def database(own: Supervisor) -> AsyncIterator[Database]:
    async with await Database.open(own.urls.database, name="outage", deadline_seconds=1.0) as database:
        await database.execute("DROP TABLE IF EXISTS written; CREATE TABLE written (n bigint PRIMARY KEY)")
        yield database


async def answers(database: Database) -> bool:
    try:
        await database.fetch("SELECT 1")
    except (EngineUnavailableError, OverloadedError):
        return False
    return True


class Writers:
    """Concurrent writers that keep books of what they were told."""

    def __init__(self, database: Database) -> None:
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.refused: set[int] = set()
        self.stop = False
        self._database = database

    async def write(self, writer: int) -> None:
        n = writer
        while not self.stop:
            n += 1000
            try:
                await self._insert(n)
                self.acknowledged.add(n)
            except OutcomeUnknownError:
                self.unknown.add(n)
            except (EngineUnavailableError, OverloadedError):
                self.refused.add(n)
                await asyncio.sleep(0.01)

    async def _insert(self, n: int) -> None:
        if n % 2:
            await self._database.execute("INSERT INTO written VALUES ($1)", n)
            return
        async with self._database.transaction() as tx:
            await tx.execute("INSERT INTO written VALUES ($1)", n)


@pytest.mark.drill
async def test_killed_under_concurrent_writes_loses_nothing_acknowledged(
    own: Supervisor, database: Database, eventually: Eventually
) -> None:
    writers = Writers(database)
    async with asyncio.TaskGroup() as group:
        for writer in range(24):
            group.create_task(writers.write(writer))
        for _ in range(3):
            enough = len(writers.acknowledged) + 100
            await eventually(lambda enough=enough: len(writers.acknowledged) >= enough)
            told = len(writers.refused)
            os.kill(own.pids()["database"], signal.SIGKILL)
            await eventually(lambda told=told: len(writers.refused) > told)
        enough = len(writers.acknowledged) + 100
        await eventually(lambda: len(writers.acknowledged) >= enough)
        writers.stop = True

    present = {n for (n,) in await database.fetch("SELECT n FROM written")}
    assert writers.acknowledged <= present
    assert not writers.refused & present
    assert present <= writers.acknowledged | writers.unknown
    assert database.connections <= 10


@pytest.mark.drill
async def test_a_stopped_server_answers_nobody_and_yet_everyone_is_answered(
    own: Supervisor, database: Database, eventually: Eventually
) -> None:
    postmaster = psutil.Process(own.pids()["database"])
    everyone = [*postmaster.children(recursive=True), postmaster]
    for process in everyone:
        process.suspend()
    try:
        async with asyncio.timeout(DEADLINE):
            told = await asyncio.gather(
                *(database.execute("INSERT INTO written VALUES ($1)", n) for n in range(40)),
                return_exceptions=True,
            )
    finally:
        for process in everyone:
            process.resume()
    assert {type(answer) for answer in told} <= {
        EngineUnavailableError,
        OutcomeUnknownError,
        OverloadedError,
    }
    await eventually(lambda: answers(database))
    await database.execute("INSERT INTO written VALUES (99)")


@pytest.mark.drill
async def test_a_listener_comes_back_with_a_gap(
    own: Supervisor, database: Database, eventually: Eventually
) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    await database.listen("news", seen.put_nowait, on_gap=lambda: seen.put_nowait("gap"))
    async with asyncio.timeout(DEADLINE):
        assert await seen.get() == "gap"
        os.kill(own.pids()["database"], signal.SIGKILL)
        assert await seen.get() == "gap"
        await eventually(lambda: answers(database))
        await database.execute("SELECT pg_notify('news', 'hello')")
        assert await seen.get() == "hello"


@pytest.mark.drill
async def test_a_transaction_cut_before_its_commit_is_known_not_to_have_happened(
    own: Supervisor, database: Database, eventually: Eventually
) -> None:
    async def work() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO written VALUES (1)")
            os.kill(own.pids()["database"], signal.SIGKILL)
            async with asyncio.timeout(DEADLINE):
                while True:
                    await tx.execute("SELECT 1")

    with pytest.raises(EngineUnavailableError) as caught:
        await work()
    assert not isinstance(caught.value, OutcomeUnknownError)
    await eventually(lambda: answers(database))
    assert await database.fetch("SELECT n FROM written") == []


@pytest.mark.drill
async def test_an_answer_that_did_not_come_is_told_as_unknown_because_it_may_have_been_done(
    database: Database, eventually: Eventually
) -> None:
    """The server falls silent with the change in its hands, and makes it after the caller was told."""
    backend = "SELECT pg_backend_pid()"

    async def commit() -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO written VALUES (1)")
            suspended.append(int(await tx.fetch_value(backend)))
            os.kill(suspended[-1], signal.SIGSTOP)

    suspended: list[int] = []
    try:
        with pytest.raises(OutcomeUnknownError) as caught:
            await commit()
    finally:
        for pid in suspended:
            os.kill(pid, signal.SIGCONT)
    assert (caught.value.status, caught.value.code) == (503, "outcome_unknown")

    async def done() -> bool:
        return await database.fetch("SELECT n FROM written") != []

    await eventually(done)


@pytest.mark.drill
async def test_a_killed_backend_takes_all_connections_along_and_all_come_back(
    database: Database, eventually: Eventually
) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(database.execute("SELECT pg_sleep(0.05)"))
    victim = int(await database.fetch_value("SELECT pg_backend_pid()"))
    connections = [connection for connection, _ in database._pool._idle]
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: all(connection.is_closed() for connection in connections))
    await eventually(lambda: answers(database))
    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(database.execute("INSERT INTO written VALUES ($1)", n))
    assert database.connections <= 10
