"""The log on Valkey Streams: the acknowledged is kept, the committed is gone, the rest waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.engines.valkey_server import ValkeyServer

from twelvefold.engines.log import (
    BatchId,
    Capability,
    Entry,
    TopicFullError,
    TopicLimits,
    ValkeyStreams,
    require,
)
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import EngineUnavailableError, RefusedError, TooLargeError

DURABLY = ("--appendonly", "yes", "--appendfsync", "always")
LIMITS = TopicLimits(
    max_records=100, max_bytes=10_000, max_record_bytes=1_000, max_deliveries=2, max_dead_letters=3
)


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer(*DURABLY).start()
    yield await server.answering()
    server.close()


@pytest.fixture
async def log(server: ValkeyServer) -> AsyncIterator[ValkeyStreams]:
    log = await ValkeyStreams.open(server.url, deadline_seconds=1.0, limits=LIMITS)
    yield log
    await log.close()


async def outcome(call: Any) -> Any:
    try:
        return await call
    except EngineUnavailableError as error:
        return error


def data(entries: list[Entry]) -> list[bytes]:
    return [entry.data for entry in entries]


# Publishing


async def test_records_keep_their_order_and_ascending_positions(log: ValkeyStreams) -> None:
    positions = await log.publish("t", [b"1", b"", b"3\r\n"])
    positions += await log.publish("t", [b"4"])
    entries = await log.consumer("t", "g", "c").fetch(10, 0)
    assert data(entries) == [b"1", b"", b"3\r\n", b"4"]
    assert [entry.position for entry in entries] == positions
    assert {entry.deliveries for entry in entries} == {1}
    assert await log.publish("t", []) == []


async def test_all_publishes_of_a_turn_share_one_fsync_wait(log: ValkeyStreams) -> None:
    await asyncio.gather(*(log.publish(f"t{n % 3}", [b"x"]) for n in range(50)))
    stats = (await log._valkey.call("INFO", "commandstats")).decode()
    assert "cmdstat_waitaof:calls=1," in stats
    assert "cmdstat_xadd:calls=50," in stats


@pytest.mark.drill
async def test_kill_9_loses_nothing_that_was_acknowledged() -> None:
    server = ValkeyServer(*DURABLY).start()
    try:
        log = await ValkeyStreams.open((await server.answering()).url)
        acknowledged: set[bytes] = set()
        enough = asyncio.Event()

        async def write(writer: int) -> None:
            n = 0
            while True:
                record = b"%d:%d" % (writer, n)
                if isinstance(await outcome(log.publish("t", [record])), Exception):
                    return
                acknowledged.add(record)
                n += 1
                if len(acknowledged) > 500:
                    enough.set()

        async with asyncio.TaskGroup() as group:
            for writer in range(20):
                group.create_task(write(writer))
            await enough.wait()
            server.kill()
        await server.start().answering()
        await log._valkey.wait_connected(5)
        kept = data(await log.consumer("t", "g", "c").fetch(10_000, 0))
        assert acknowledged <= set(kept)
        assert len(kept) == len(set(kept)) <= len(acknowledged) + 20
        await log.close()
    finally:
        server.close()


async def test_a_server_without_append_only_file_is_refused_in_a_sentence() -> None:
    server = ValkeyServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").start()
    try:
        log = await ValkeyStreams.open((await server.answering()).url)
        with pytest.raises(RefusedError, match=r"append-only file.*; this log does not .*evicts"):
            require(log, Capability.DURABLE, Capability.RETAINS, Capability.ERASES)
        with pytest.raises(RefusedError, match="append-only"):
            await log.publish("t", [b"x"])
        assert len(await log.publish("t", [b"x"], durable=False)) == 1
        await log.close()
    finally:
        server.close()


async def test_an_append_only_file_turned_off_later_is_an_error_not_a_success(log: ValkeyStreams) -> None:
    require(log, *Capability)
    await log._valkey.call("CONFIG", "SET", "appendonly", "no")
    with pytest.raises(EngineUnavailableError, match="cannot fsync"):
        await log.publish("t", [b"x"])


async def test_a_file_that_is_not_fsynced_in_time_is_an_error_not_a_success(log: ValkeyStreams) -> None:
    await log._valkey.call("CONFIG", "SET", "appendfsync", "no")
    log._fsync_ms = 20
    with pytest.raises(EngineUnavailableError, match="not fsynced in time"):
        await log.publish("t", [b"x"])
    assert log.connected


async def test_a_forgotten_script_is_sent_again_and_fsynced_all_the_same(log: ValkeyStreams) -> None:
    await log._valkey.call("SCRIPT", "FLUSH")
    assert len(await log.publish("t", [b"x", b"y"])) == 2
    stats = (await log._valkey.call("INFO", "commandstats")).decode()
    assert "cmdstat_waitaof:calls=2," in stats
    assert "cmdstat_xadd:calls=2," in stats


async def test_a_full_topic_refuses_all_or_nothing_until_readers_commit(log: ValkeyStreams) -> None:
    await log.publish("t", [b"x"] * 99)
    with pytest.raises(TopicFullError, match="99 records"):
        await log.publish("t", [b"y", b"y"])
    await log.publish("t", [b"z"])
    with pytest.raises(TopicFullError):
        await log.publish("t", [b"y"])
    consumer = log.consumer("t", "g", "c")
    await consumer.commit(await consumer.fetch(1, 0))
    await log.publish("t", [b"y"])
    assert await log._valkey.call("XLEN", b"log:{t}") == 100


async def test_a_topic_is_bounded_in_bytes_too(log: ValkeyStreams) -> None:
    await log.publish("t", [b"x" * 1000] * 10)
    with pytest.raises(TopicFullError, match="10000 bytes"):
        await log.publish("t", [b"y"])
    with pytest.raises(TooLargeError):
        await log.publish("t", [b"y" * 1001])
    consumer = log.consumer("t", "g", "c")
    await consumer.commit(await consumer.fetch(10, 0))
    await log.publish("t", [b"x" * 1000] * 10)


async def test_a_batch_published_twice_is_there_once(log: ValkeyStreams) -> None:
    first, second = BatchId("web-1", 1), BatchId("web-1", 2)
    assert len(await log.publish("t", [b"a", b"b"], batch=first)) == 2
    assert await log.publish("t", [b"a", b"b"], batch=first) == []
    assert len(await log.publish("t", [b"c"], batch=second)) == 1
    assert await log.publish("t", [b"a", b"b"], batch=first) == []
    assert len(await log.publish("t", [b"d"], batch=BatchId("web-2", 1))) == 1
    assert data(await log.consumer("t", "g", "c").fetch(10, 0)) == [b"a", b"b", b"c", b"d"]
    with pytest.raises(ValueError, match="1 or more"):
        await log.publish("t", [b"e"], batch=BatchId("web-1", 0))


async def test_a_stopped_server_answers_publishers_in_time(server: ValkeyServer) -> None:
    log = await ValkeyStreams.open(server.url, deadline_seconds=0.2)
    server.pause()
    async with asyncio.timeout(2):
        with pytest.raises(EngineUnavailableError):
            await log.publish("t", [b"x"], batch=BatchId("p", 1))
    with pytest.raises(EngineUnavailableError):
        await log.publish("t", [b"y"])
    server.resume()
    await log._valkey.wait_connected(5)
    await log.publish("t", [b"x"], batch=BatchId("p", 1))
    assert data(await log.consumer("t", "g", "c").fetch(10, 0)) == [b"x"], "the late one counted once"
    await log.close()


@pytest.mark.parametrize("topic", ["", "a{b", "a}b"])
async def test_topics_that_would_break_the_keys_are_refused(log: ValkeyStreams, topic: str) -> None:
    with pytest.raises(ValueError, match="braces"):
        await log.publish(topic, [b"x"])


# Reading


async def test_a_waiting_fetch_is_woken_and_stalls_nobody(log: ValkeyStreams) -> None:
    waiting = asyncio.create_task(log.consumer("t", "g", "c").fetch(10, 30))
    while not (await log._valkey.call("CLIENT", "LIST")).count(b"flags=b"):  # noqa: ASYNC110 until it blocks
        await asyncio.sleep(0.001)
    assert await log._valkey.ping() < 1
    await log.publish("t", [b"x"])
    async with asyncio.timeout(5):
        assert data(await waiting) == [b"x"]


async def test_a_fetch_gives_nothing_after_its_wait(log: ValkeyStreams) -> None:
    consumer = log.consumer("t", "g", "c")
    assert await consumer.fetch(10, 0) == []
    assert await consumer.fetch(10, 0.01) == []


async def test_a_cancelled_fetch_loses_nothing(log: ValkeyStreams) -> None:
    consumer = log.consumer("t", "g", "c")
    assert await consumer.fetch(10, 0) == []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await consumer.fetch(10, 30)
    await log.publish("t", [b"x"])
    assert data(await consumer.fetch(10, 30)) == [b"x"]


async def test_a_group_shares_the_records_and_every_group_gets_all(log: ValkeyStreams) -> None:
    await log.publish("t", [b"1", b"2"])
    one, two = log.consumer("t", "g", "one"), log.consumer("t", "g", "two")
    other = log.consumer("t", "h", "one")
    assert data(await one.fetch(1, 0) + await two.fetch(5, 0)) == [b"1", b"2"]
    assert data(await other.fetch(5, 0)) == [b"1", b"2"]


async def test_what_all_groups_have_committed_is_erased_and_not_before(log: ValkeyStreams) -> None:
    await log.publish("t", [b"203.0.113.7", b"203.0.113.8"])
    one, two = log.consumer("t", "g", "c"), log.consumer("t", "h", "c")
    entries = await one.fetch(5, 0)
    assert await two.fetch(0 + 1, 0)
    await one.commit(entries)
    assert await log._valkey.call("XLEN", b"log:{t}") == 2, "h has one pending and one unread"
    await two.commit(entries[:1])
    assert await log._valkey.call("XLEN", b"log:{t}") == 1
    await two.commit(await two.fetch(5, 0))
    await one.commit(entries)
    assert await log._valkey.call("XLEN", b"log:{t}") == 0
    assert await log._valkey.call("EXISTS", b"log:{t}:size") == 0


async def test_the_size_of_a_topic_is_kept_through_commits_in_any_order(log: ValkeyStreams) -> None:
    await log.publish("t", [b"x" * n for n in range(1, 50)])
    consumer = log.consumer("t", "g", "c")
    entries = await consumer.fetch(100, 0)
    await consumer.commit([*entries[::3], *entries[::2]])
    left = await log._valkey.call("XRANGE", b"log:{t}", "-", "+")
    assert int(await log._valkey.call("GET", b"log:{t}:size")) == sum(len(pairs[1]) for _, pairs in left)


async def test_a_restarted_consumer_gets_its_uncommitted_records_first_each_once(log: ValkeyStreams) -> None:
    await log.publish("t", [b"%d" % n for n in range(7)])
    before = log.consumer("t", "g", "worker-1")
    entries = await before.fetch(5, 0)
    await before.commit(entries[:1])
    after = log.consumer("t", "g", "worker-1")
    seen = [await after.fetch(3, 0) for _ in range(3)]
    assert [data(entries) for entries in seen] == [[b"1", b"2", b"3"], [b"4"], [b"5", b"6"]]
    assert [entry.deliveries for entry in seen[0]] == [2, 2, 2]


async def test_the_records_of_a_dead_consumer_are_claimed_and_only_when_idle(log: ValkeyStreams) -> None:
    await log.publish("t", [b"1", b"2"])
    dead, alive = log.consumer("t", "g", "dead"), log.consumer("t", "g", "alive")
    await dead.fetch(5, 0)
    assert await alive.fetch(5, 0) == []
    assert await alive.claim(3600) == []
    claimed = await alive.claim(0)
    assert [(entry.data, entry.deliveries) for entry in claimed] == [(b"1", 2), (b"2", 2)]
    await alive.commit(claimed)
    assert await alive.lag() == 0


async def test_a_record_delivered_too_often_is_set_aside_with_where_it_came_from(log: ValkeyStreams) -> None:
    await log.publish("t", [b"poison", b"fine"])
    consumer = log.consumer("t", "g", "c")
    entries = await consumer.fetch(5, 0)
    await consumer.commit(entries[1:])
    assert [entry.deliveries for entry in await consumer.claim(0)] == [2]
    assert await consumer.claim(0) == []
    (letter,) = await log.dead_letters("t")
    assert (letter.data, letter.group, letter.origin, letter.deliveries) == (
        b"poison",
        "g",
        entries[0].position,
        2,
    )
    assert await consumer.lag() == 0
    assert await log._valkey.call("XLEN", b"log:{t}") == 0, "it is not in the topic any longer"
    await log.discard_dead_letters("t", [letter])
    assert await log.dead_letters("t") == []


async def test_dead_letters_without_room_stay_in_the_topic(log: ValkeyStreams) -> None:
    await log.publish("t", [b"%d" % n for n in range(5)])
    consumer = log.consumer("t", "g", "c")
    await consumer.fetch(5, 0)
    await consumer.claim(0)
    await consumer.claim(0)
    letters = await log.dead_letters("t")
    assert [letter.data for letter in letters] == [b"0", b"1", b"2"]
    assert await consumer.lag() == 2
    await log.discard_dead_letters("t", letters)
    await consumer.claim(0)
    assert [letter.data for letter in await log.dead_letters("t")] == [b"3", b"4"]


async def test_lag_counts_what_is_not_committed(log: ValkeyStreams) -> None:
    consumer = log.consumer("t", "g", "c")
    assert await consumer.lag() == 0
    await log.publish("t", [b"1", b"2", b"3"])
    assert await consumer.lag() == 3
    entries = await consumer.fetch(2, 0)
    assert await consumer.lag() == 3
    await consumer.commit(entries[:1])
    assert await consumer.lag() == 2


async def test_a_topic_wiped_from_outside_does_not_stop_its_readers(log: ValkeyStreams) -> None:
    consumer = log.consumer("t", "g", "c")
    await log.publish("t", [b"1"])
    await consumer.fetch(1, 0)
    waiting = asyncio.create_task(consumer.fetch(1, 30))
    while not (await log._valkey.call("CLIENT", "LIST")).count(b"flags=b"):  # noqa: ASYNC110 until it blocks
        await asyncio.sleep(0.001)
    await log._valkey.call("FLUSHALL")
    await log.publish("t", [b"2"])
    async with asyncio.timeout(5):
        assert data(await waiting) == [b"2"]


async def test_a_consumer_that_leaves_with_nothing_pending_leaves_no_trace(log: ValkeyStreams) -> None:
    await log.publish("t", [b"1"])
    tidy, hasty = log.consumer("t", "g", "tidy"), log.consumer("t", "g", "hasty")
    await tidy.fetch(0 + 1, 0)
    await tidy.commit(await tidy.claim(0))
    await log.publish("t", [b"2"])
    await hasty.fetch(1, 0)
    await tidy.close()
    await hasty.close()
    async with await Valkey.open(log._url) as valkey:
        consumers = await valkey.call("XINFO", "CONSUMERS", b"log:{t}", "g")
    assert [consumer[b"name"] for consumer in consumers] == [b"hasty"]


async def test_a_reader_comes_back_after_its_server_was_killed(
    log: ValkeyStreams, server: ValkeyServer
) -> None:
    consumer = log.consumer("t", "g", "c")
    await log.publish("t", [b"1"])
    assert data(await consumer.fetch(1, 0)) == [b"1"]
    server.kill()
    assert isinstance(await outcome(consumer.fetch(1, 30)), EngineUnavailableError)
    await server.start().answering()
    await log._valkey.wait_connected(5)
    await log.publish("t", [b"2"])
    async with asyncio.timeout(10):
        while isinstance(entries := await outcome(consumer.fetch(1, 1)), Exception):  # noqa: ASYNC110 it reconnects
            await asyncio.sleep(0.01)
    assert data(entries) == [b"2"]
    assert data(await consumer.claim(0)) == [b"1", b"2"]
