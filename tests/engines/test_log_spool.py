"""The spooled publisher: nothing acknowledged is lost, nothing is there twice, whatever happens."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.engines.valkey_server import ValkeyServer

from twelvefold.engines.log import SpooledPublisher, SpoolLimits, TopicLimits, ValkeyStreams, pack, unpack
from twelvefold.kernel.errors import RefusedError

DURABLY = ("--appendonly", "yes", "--appendfsync", "always")
LIMITS = SpoolLimits(flush_ms=5, publish_seconds=0.2)


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer(*DURABLY).start()
    yield await server.answering()
    server.close()


@pytest.fixture
async def log(server: ValkeyServer) -> AsyncIterator[ValkeyStreams]:
    log = await ValkeyStreams.open(server.url, deadline_seconds=1.0)
    yield log
    await log.close()


async def until(condition: Callable[[], bool], deadline_seconds: float = 15) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():  # noqa: ASYNC110 several sources, no common event
            await asyncio.sleep(0.002)


async def everything(log: ValkeyStreams, topic: str = "clicks") -> list[bytes]:
    """All records of a topic, in order."""
    found = await log._valkey.call("XRANGE", b"log:{%b}" % topic.encode(), "-", "+", deadline_seconds=10)
    return [record for _, pairs in found for record in unpack(pairs[1])]


def numbered(*numbers: int) -> list[bytes]:
    return [b"%d" % n for n in range(*numbers)]


async def test_records_of_a_window_are_packed_into_few_entries_in_order(
    log: ValkeyStreams, tmp_path: Path
) -> None:
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    for record in numbered(5000):
        publisher.append(record)
    await publisher.flush()
    assert await everything(log) == numbered(5000)
    assert await log._valkey.call("XLEN", b"log:{clicks}") == 1
    assert (publisher.stats.acknowledged, publisher.stats.published, publisher.stats.spooled) == (
        5000,
        5000,
        0,
    )
    await publisher.close()
    assert list((tmp_path / "clicks").iterdir()) == []


async def test_close_flushes_what_was_appended_and_then_refuses(log: ValkeyStreams, tmp_path: Path) -> None:
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, encode=pack)
    publisher.append(b"last")
    await publisher.close()
    assert await everything(log) == [b"last"]
    with pytest.raises(RuntimeError, match="closed"):
        publisher.append(b"later")


async def test_objects_are_encoded_when_flushed_and_bad_ones_do_not_hold_up_the_rest(
    log: ValkeyStreams, tmp_path: Path
) -> None:
    def encode(records: list[int]) -> list[bytes]:
        return [b",".join(b"%d" % (100 // record) for record in records)]

    publisher = await SpooledPublisher.open(log, "sums", tmp_path, encode=encode, limits=LIMITS)
    for record in (1, 2, 0, 4, 5):
        publisher.append(record)
    await publisher.flush()
    found = await log._valkey.call("XRANGE", b"log:{sums}", "-", "+")
    assert b",".join(pairs[1] for _, pairs in found) == b"100,50,25,20"
    assert publisher.stats.dropped == 1
    await publisher.close()


async def test_a_record_larger_than_the_log_takes_is_dropped_alone(
    server: ValkeyServer, tmp_path: Path
) -> None:
    log = await ValkeyStreams.open(server.url, limits=TopicLimits(max_record_bytes=10_000))
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    for record in (b"a", b"x" * 20_000, b"b"):
        publisher.append(record)
    await publisher.flush()
    assert await everything(log) == [b"a", b"b"]
    assert publisher.stats.dropped == 1
    await publisher.close()
    await log.close()


async def test_a_log_that_is_not_durable_is_refused(tmp_path: Path) -> None:
    server = ValkeyServer().start()
    try:
        log = await ValkeyStreams.open((await server.answering()).url)
        with pytest.raises(RefusedError, match="append-only"):
            await SpooledPublisher.open(log, "clicks", tmp_path, encode=pack)
        await log.close()
    finally:
        server.close()


@pytest.mark.parametrize("topic", ["a/b", "../up", ".hidden", ".."])
async def test_topics_that_would_leave_the_folder_are_refused(
    log: ValkeyStreams, tmp_path: Path, topic: str
) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        await SpooledPublisher.open(log, topic, tmp_path, encode=pack)


async def append_while(publisher: SpooledPublisher[bytes], condition: Callable[[], bool], start: int) -> int:
    """Append numbers from `start` on, a few each turn, until the condition holds; the next number."""
    async with asyncio.timeout(15):
        while not condition():
            for _ in range(10):
                publisher.append(b"%d" % start)
                start += 1
            await asyncio.sleep(0.001)
    return start


@pytest.mark.drill
@pytest.mark.parametrize("trouble", ["kill", "pause"])
async def test_records_are_spooled_while_the_log_is_away_and_drained_in_order_each_once(
    server: ValkeyServer, log: ValkeyStreams, tmp_path: Path, trouble: str
) -> None:
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    stats = publisher.stats
    count = await append_while(publisher, lambda: stats.published > 100, 0)
    getattr(server, trouble)()
    count = await append_while(publisher, lambda: stats.spooled > 500, count)
    assert publisher.is_spooling
    assert publisher.spooled_bytes > 0
    if trouble == "kill":
        await server.start().answering()
    else:
        server.resume()
    count = await append_while(publisher, lambda: not publisher.is_spooling, count)
    await publisher.flush()
    assert await everything(log) == numbered(count)
    assert (stats.acknowledged, stats.dropped, publisher.spooled_bytes) == (count, 0, 0)
    await publisher.close()


async def test_a_full_topic_turns_records_to_the_spool_until_readers_catch_up(
    server: ValkeyServer, tmp_path: Path
) -> None:
    log = await ValkeyStreams.open(server.url, limits=TopicLimits(max_records=2))
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    consumer = log.consumer("clicks", "g", "c")
    for record in numbered(6):
        publisher.append(record)
        await publisher.flush()
    assert publisher.stats.spooled == 4
    seen: list[bytes] = []
    async with asyncio.timeout(15):
        while len(seen) < 6:
            entries = await consumer.fetch(2, 0.05)
            seen += [record for entry in entries for record in unpack(entry.data)]
            await consumer.commit(entries)
    assert seen == numbered(6)
    await publisher.close()
    await log.close()


async def test_a_spool_past_its_bound_drops_the_oldest_and_counts(
    server: ValkeyServer, log: ValkeyStreams, tmp_path: Path
) -> None:
    limits = SpoolLimits(flush_ms=1, publish_seconds=0.05, max_held_bytes=10_000, max_spool_bytes=50_000)
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=limits, encode=pack)
    server.pause()
    count = await append_while(publisher, lambda: publisher.stats.dropped > 1000, 0)
    await publisher.flush()
    assert publisher.spooled_bytes <= 50_000
    dropped = publisher.stats.dropped
    server.resume()
    await until(lambda: not publisher.is_spooling)
    kept = await everything(log)
    late = [record for record in kept if int(record) < dropped]
    assert kept[len(late) :] == numbered(dropped, count), "the newest, in order, without a gap"
    assert len(late) <= 200, "what the stopped server had already been sent"
    await publisher.close()


async def test_the_spool_of_a_closed_publisher_is_drained_by_the_next(
    server: ValkeyServer, log: ValkeyStreams, tmp_path: Path
) -> None:
    first = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    server.kill()
    for record in numbered(3):
        first.append(record)
    await first.close()
    await server.start().answering()
    await log._valkey.wait_connected(5)
    second = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    await until(lambda: second.spooled_bytes == 0)
    assert await everything(log) == numbered(3)
    await second.close()
    assert list((tmp_path / "clicks").iterdir()) == []


CHILD = """
import asyncio, sys
from pathlib import Path
from twelvefold.engines.log import SpooledPublisher, SpoolLimits, ValkeyStreams, pack
from twelvefold.kernel.telemetry import configure_logging

async def main():
    configure_logging("error")
    limits = SpoolLimits(publish_seconds=0.2)
    log = await ValkeyStreams.open(sys.argv[1], deadline_seconds=1.0)
    publisher = await SpooledPublisher.open(log, "clicks", Path(sys.argv[2]), limits=limits, encode=pack)
    count = 0
    while True:
        for _ in range(20):
            publisher.append(b"%d" % count)
            count += 1
        print(publisher.stats.acknowledged, publisher.stats.spooled, flush=True)
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


@pytest.mark.drill
@pytest.mark.parametrize("log_is_away", [False, True])
async def test_kill_9_of_the_process_loses_nothing_it_had_counted_as_acknowledged(
    server: ValkeyServer, log: ValkeyStreams, tmp_path: Path, *, log_is_away: bool
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, server.url, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    acknowledged = spooled = 0
    async with asyncio.timeout(30):
        while acknowledged < 2000 or (log_is_away and spooled < 1000):
            if log_is_away and acknowledged > 500 and spooled == 0:
                server.pause()
            acknowledged, spooled = map(int, (await child.stdout.readline()).split())
    child.send_signal(signal.SIGKILL)
    rest = await child.stdout.read()
    await child.wait()
    for line in rest.split(b"\n")[:-1]:
        acknowledged, spooled = map(int, line.split())
    server.resume()
    await log._valkey.wait_connected(10)
    heir = await SpooledPublisher.open(log, "clicks", tmp_path, limits=LIMITS, encode=pack)
    await until(lambda: heir.spooled_bytes == 0)
    kept = await everything(log)
    assert kept == numbered(len(kept)), "in order, each once"
    assert len(kept) >= acknowledged
    await heir.close()


async def test_a_full_disk_and_a_log_away_keep_what_memory_may_hold(
    server: ValkeyServer, log: ValkeyStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = SpoolLimits(flush_ms=1, publish_seconds=0.05, max_held_bytes=5_000, max_spool_bytes=1 << 20)
    publisher = await SpooledPublisher.open(log, "clicks", tmp_path, limits=limits, encode=pack)

    def full(_file: int, _data: bytes, _at: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("twelvefold.engines.log.spool_file._write", full)
        server.kill()
        count = await append_while(publisher, lambda: publisher.stats.dropped > 100, 0)
    await server.start().answering()
    await publisher.flush()
    await until(lambda: not publisher.is_spooling)
    kept = await everything(log)
    assert kept[-1:] == numbered(count)[-1:]
    assert len(kept) == count - publisher.stats.dropped
    assert kept == sorted(kept, key=int)
    await publisher.close()
