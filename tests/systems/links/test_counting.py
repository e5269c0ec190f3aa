"""Counting behind the redirects, in this process: an outage is no batch's fault, and two workers are no loss."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from tests.conftest import administer

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.database import Database, migrate
from twelvefold.engines.embedded import EngineUrls
from twelvefold.engines.events import ParquetEvents
from twelvefold.engines.log import TopicLimits, ValkeyStreams
from twelvefold.engines.realtime import ValkeyPubSub
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import SystemClock
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.systems.links.click_batches import key_of_day
from twelvefold.systems.links.click_codec import encode
from twelvefold.systems.links.click_enrichment import Enriched, Enricher
from twelvefold.systems.links.service.live import Watches
from twelvefold.systems.links.store.clicks import ClickStore
from twelvefold.systems.links.store.facts import FACTS
from twelvefold.systems.links.store.watches import WatchStore
from twelvefold.systems.links.visits import Countries, VisitReader
from twelvefold.systems.links.workers import GROUP, TOPIC, ClickWorker

LINK = 7
CLICKS = 10
MAX_DELIVERIES = 2
Workers = Callable[..., ClickWorker]


class Browser(msgspec.Struct, frozen=True):
    client: str = "127.0.0.1"
    tail: bytes = b" HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Mozilla/5.0 Firefox/140.0\r\n\r\n"


class Interrupted(Enricher):
    """Something happens at a bad moment: while the first batches are in a worker's hand, and not counted."""

    def __init__(self, *args: Any, by: Callable[[], None]) -> None:
        super().__init__(*args)
        self._by: Callable[[], None] | None = by

    def enrich(self, *args: Any) -> Enriched:
        by, self._by = self._by, None
        if by is not None:
            by()
        return super().enrich(*args)


@pytest.fixture
async def log(log_url: str) -> AsyncIterator[ValkeyStreams]:
    log = await ValkeyStreams.open(log_url, limits=TopicLimits(max_deliveries=MAX_DELIVERIES))
    yield log
    await log.close()


@pytest.fixture
async def workers(
    database: Database, valkey_url: str, log: ValkeyStreams, tmp_path: Path
) -> AsyncIterator[Workers]:
    await migrate(database, "links", files("twelvefold.systems.links") / "schema")
    async with AsyncExitStack() as stack:
        valkey = await Valkey.open(valkey_url)
        stack.push_async_callback(valkey.close)
        realtime = await ValkeyPubSub.open(valkey)
        stack.push_async_callback(realtime.close)
        clock = SystemClock()
        events = ParquetEvents(
            open_blobs((tmp_path / "blobs").as_uri()), [FACTS], clock, scratch=tmp_path / "scratch"
        )
        stack.push_async_callback(events.close)
        countries = Countries(Path(str(files("twelvefold.systems.links"))) / "data" / "country.mmdb")

        def make(name: str, *, interrupted_by: Callable[[], None] = lambda: None) -> ClickWorker:
            return ClickWorker(
                make_consumer=lambda: log.consumer(TOPIC, GROUP, name),
                store=ClickStore(database, events),
                enricher=Interrupted(VisitReader(countries), key_of_day(b"secret"), by=interrupted_by),
                watches=Watches(WatchStore(valkey, realtime), clock),
                clock=clock,
            )

        yield make


class Connections:
    """To the test's database: it can be told to end them all and take no more."""

    def __init__(self, administration: str, database: str) -> None:
        self._url = administration
        self._name = database.partition("?")[0].rpartition("/")[2]

    def end(self) -> None:
        administer(self._url, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        whose = f"FROM pg_stat_activity WHERE datname = '{self._name}'"
        administer(self._url, f"SELECT pg_terminate_backend(pid) {whose}")

    def allow(self) -> None:
        administer(self._url, f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")


@pytest.fixture
def connections(embedded: EngineUrls, database_url: str) -> Connections:
    return Connections(embedded.database, database_url)


async def publish(log: ValkeyStreams, batches: int) -> None:
    now = time.time()
    for _ in range(batches):
        await log.publish(TOPIC, [encode([(now, LINK, Browser())] * CLICKS)])


async def counted(database: Database) -> int:
    return int(await database.fetch_value("SELECT coalesce(sum(clicks), 0)::bigint FROM links.click_hour"))


async def test_a_database_that_is_away_for_long_costs_no_click(
    workers: Workers, log: ValkeyStreams, database: Database, connections: Connections, eventually: Any
) -> None:
    await publish(log, 3)
    with structlog.testing.capture_logs() as said:
        running = asyncio.create_task(workers("work", interrupted_by=connections.end).run())
        attempts = 2 * MAX_DELIVERIES
        await eventually(lambda: sum(one["event"] == "links.count.delayed" for one in said) >= attempts)
        await publish(log, 2)
    connections.allow()

    async def all_there() -> bool:
        try:
            return await counted(database) == 5 * CLICKS
        except EngineUnavailableError:
            return False

    await eventually(all_there)
    assert await log.dead_letters(TOPIC) == []
    running.cancel()
    await asyncio.wait({running})


async def test_two_workers_with_some_of_the_same_batches_count_each_once_and_leave_none(
    workers: Workers, log: ValkeyStreams, database: Database
) -> None:
    await publish(log, 3)
    consumer = log.consumer(TOPIC, GROUP, "one")
    entries = await consumer.fetch(10, 1.0)
    assert len(entries) == 3
    loop = asyncio.get_running_loop()
    other = workers("other")

    def overtaken() -> None:
        asyncio.run_coroutine_threadsafe(other.count(entries[:1]), loop).result(10)

    await workers("one", interrupted_by=overtaken).count(entries)
    assert await counted(database) == 3 * CLICKS
    assert await consumer.lag() == 0
    await consumer.close()
