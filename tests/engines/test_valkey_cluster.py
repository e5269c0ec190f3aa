"""The Valkey client, the log and channels on a real cluster: three nodes, moving slots, a lost node."""

import asyncio
import binascii
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.valkey_server import ValkeyServer, free_port, free_ports

from twelvefold.engines.log import BatchId, ValkeyStreams
from twelvefold.engines.realtime import ValkeyPubSub
from twelvefold.engines.valkey import CrossSlotError, ReplyError, Valkey
from twelvefold.engines.valkey.slots import SLOTS, KeyFinder, key_slot
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError

CLUSTERED = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "no"),
    *("--repl-diskless-sync-delay", "0"),
)
SHARE = SLOTS // 3
DURABLY = ("--appendonly", "yes", "--appendfsync", "always")


class Cluster:
    """Three primaries that share the slots evenly, and one replica of the first."""

    def __init__(self) -> None:
        ports = free_ports(8)
        self.bus_ports = ports[4:]
        self.servers = [
            ValkeyServer(*CLUSTERED, *DURABLY, "--cluster-port", str(bus_port), port=port)
            for port, bus_port in zip(ports, self.bus_ports, strict=False)
        ]
        self.ids: list[str] = []

    @property
    def url(self) -> str:
        return f"{self.servers[0].url}?cluster=true"

    async def do(self, node: int, *args: Any) -> Any:
        """One command at one node, not redirected."""
        async with await Valkey.open(f"unix://{self.servers[node].path}", deadline_seconds=10) as valkey:
            return await valkey.call(*args)

    async def start(self) -> "Cluster":
        for server in self.servers:
            server.start()
        for server in self.servers:
            await server.answering()
        self.ids = [(await self.do(n, "CLUSTER", "MYID")).decode() for n in range(4)]
        for n in range(3):
            last = SLOTS - 1 if n == 2 else (n + 1) * SHARE - 1
            await self.do(n, "CLUSTER", "ADDSLOTSRANGE", n * SHARE, last)
            await self.do(n, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for server, bus_port in zip(self.servers[1:], self.bus_ports[1:], strict=True):
            await self.do(0, "CLUSTER", "MEET", "127.0.0.1", server.port, bus_port)
        for n in range(4):
            await self.until_said(n, "cluster_known_nodes:4", "CLUSTER", "INFO")
        await self.do(3, "CLUSTER", "REPLICATE", self.ids[0])
        for n in range(4):
            await self.until_said(n, "cluster_state:ok", "CLUSTER", "INFO")
            await self.until_said(n, "cluster_slots_assigned:16384", "CLUSTER", "INFO")
        await self.until_said(3, "master_link_status:up", "INFO", "replication")
        return self

    async def until_said(self, node: int, fact: str, *args: str) -> None:
        async with asyncio.timeout(40):
            while fact not in (await self.do(node, *args)).decode():  # noqa: ASYNC110 only the node knows
                await asyncio.sleep(0.02)

    def server_at(self, port: int) -> ValkeyServer:
        return next(server for server in self.servers if server.port == port)

    def stop(self) -> None:
        for server in self.servers:
            server.close()

    async def begin_move(self, slot: int) -> None:
        source, target = slot // SHARE, (slot // SHARE + 1) % 3
        await self.do(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        await self.do(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])

    async def move_keys(self, slot: int, count: int = 1000) -> int:
        source, target = slot // SHARE, (slot // SHARE + 1) % 3
        keys = await self.do(source, "CLUSTER", "GETKEYSINSLOT", slot, count)
        if keys:
            where = ("127.0.0.1", self.servers[target].port, "", 0, 5000)
            await self.do(source, "MIGRATE", *where, "KEYS", *keys)
        return len(keys)

    async def end_move(self, slot: int) -> None:
        source, target = slot // SHARE, (slot // SHARE + 1) % 3
        for n in (target, source, (target + 1) % 3):
            await self.do(n, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One for all tests that lose no node; each moves slots of its own."""
    cluster = Cluster()
    try:
        yield asyncio.run(cluster.start())
    finally:
        cluster.stop()


@pytest.fixture
async def doomed() -> AsyncIterator[Cluster]:
    """One for a test that kills nodes."""
    cluster = Cluster()
    try:
        yield await cluster.start()
    finally:
        cluster.stop()


@pytest.fixture
async def valkey(cluster: Cluster) -> AsyncIterator[Valkey]:
    async with await Valkey.open(cluster.url, deadline_seconds=2) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 several sources, no common event
            await asyncio.sleep(0.005)


def keys_of_each_node(prefix: str) -> list[str]:
    """One key for each primary, as the slots were at the start."""
    named = [f"{prefix}:{n}" for n in range(1000)]
    return [next(key for key in named if key_slot(key.encode()) // SHARE == node) for node in range(3)]


FIRST, SECOND, THIRD = keys_of_each_node("key")


async def test_commands_reach_the_nodes_of_their_keys(valkey: Valkey, cluster: Cluster) -> None:
    await asyncio.gather(*(valkey.call("SET", f"k{n}", n) for n in range(300)))
    assert await asyncio.gather(*(valkey.call("GET", b"k%d" % n) for n in range(300))) == [
        b"%d" % n for n in range(300)
    ]
    assert min([await cluster.do(n, "DBSIZE") for n in range(3)]) > 50
    assert await valkey.call("MGET", "{t}1", "{t}2") == [None, None]
    assert await valkey.call("EVAL", "return KEYS[1]", 1, THIRD) == THIRD.encode()
    assert await valkey.call("PING") == b"PONG"


async def test_keys_of_different_slots_are_refused_by_name(valkey: Valkey) -> None:
    with pytest.raises(CrossSlotError, match=f"'{FIRST}', '{SECOND}'"):
        await valkey.call("DEL", FIRST, SECOND)


async def test_a_server_that_is_no_cluster_is_a_configuration_error() -> None:
    server = ValkeyServer(port=free_port()).start()
    try:
        await server.answering()
        with pytest.raises(ConfigurationError, match="is not a cluster"):
            await Valkey.open(f"{server.url}?cluster=true")
    finally:
        server.close()


async def test_counting_stays_exact_while_the_slot_moves_under_load(valkey: Valkey, cluster: Cluster) -> None:
    """Every INCR is acknowledged once and ran once: through ASK while keys move, through MOVED afterwards."""
    slot = key_slot(b"counted")
    counts = dict.fromkeys((b"{counted}%d" % n for n in range(200)), 0)
    await asyncio.gather(*(valkey.call("SET", key, 0) for key in list(counts)[:100]))
    is_over = False

    async def count(key: bytes) -> None:
        while not is_over:
            assert await valkey.call("INCR", key) == counts[key] + 1
            counts[key] += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for key in counts:
            group.create_task(count(key))
        await cluster.begin_move(slot)
        while await cluster.move_keys(slot, count=7):
            pass
        await cluster.end_move(slot)
        settled = sum(counts.values())
        await until(lambda: sum(counts.values()) > settled + 2000)
        is_over = True
    kept = await asyncio.gather(*(valkey.call("GET", key) for key in counts))
    assert [int(value) for value in kept] == list(counts.values())
    errors = (await cluster.do(slot // SHARE, "INFO", "errorstats")).decode()
    assert "errorstat_ASK" in errors
    assert "errorstat_MOVED" in errors


async def test_scripts_follow_a_slot_that_moves(valkey: Valkey, cluster: Cluster) -> None:
    slot = key_slot(b"scripted")
    script = valkey.script("return redis.call('INCR', KEYS[1])", keys=1)
    assert await script(keys=["{scripted}n"]) == 1
    await cluster.begin_move(slot)
    await cluster.move_keys(slot)
    assert await script(keys=["{scripted}n"]) == 2
    await cluster.end_move(slot)
    assert await asyncio.gather(*(script(keys=["{scripted}n"]) for _ in range(3))) == [3, 4, 5]


async def test_a_deadline_of_its_own_follows_redirects_too(valkey: Valkey, cluster: Cluster) -> None:
    slot = key_slot(b"timed")
    await cluster.begin_move(slot)
    assert await valkey.call("INCR", "{timed}n", deadline_seconds=5) == 1
    await cluster.end_move(slot)
    assert await valkey.call("INCR", "{timed}n", deadline_seconds=5) == 2


@pytest.mark.drill
async def test_a_lost_node_fails_its_own_slots_at_once_and_its_successor_is_found(doomed: Cluster) -> None:
    async with await Valkey.open(doomed.url) as valkey:
        await valkey.call("SET", FIRST, "kept")
        await doomed.do(0, "WAIT", 1, 1000)
        doomed.servers[0].kill()
        await until(lambda: not valkey.connected)
        with pytest.raises(EngineUnavailableError):
            await valkey.call("GET", FIRST)
        assert await valkey.call("SET", SECOND, "x") == b"OK"
        await doomed.do(3, "CLUSTER", "FAILOVER", "TAKEOVER")
        await valkey.wait_connected(20)
        assert await valkey.call("GET", FIRST) == b"kept"


async def test_the_log_is_durable_on_a_cluster_and_follows_its_topics(cluster: Cluster) -> None:
    log = await ValkeyStreams.open(cluster.url)
    await asyncio.gather(*(log.publish(f"t{n}", [b"before"]) for n in range(12)))
    slot = key_slot(b"log:{t3}")
    await cluster.begin_move(slot)
    await cluster.move_keys(slot)
    await cluster.end_move(slot)
    batch = BatchId("p", 1)
    await log.publish("t3", [b"after"], batch=batch)
    assert await log.publish("t3", [b"after"], batch=batch) == []
    consumer = log.consumer("t3", "g", "c")
    entries = await consumer.fetch(10, 0.05)
    assert [entry.data for entry in entries] == [b"before", b"after"]
    await consumer.commit(entries)
    assert await consumer.lag() == 0
    await log.close()


@pytest.mark.parametrize("sharded", [True, False])
async def test_channels_arrive_and_follow_their_slots(
    valkey: Valkey, cluster: Cluster, *, sharded: bool
) -> None:
    realtime = await ValkeyPubSub.open(valkey, sharded=sharded)
    inbox: list[tuple[str, bytes]] = []
    gaps: list[str] = []

    def listen(channel: str) -> Any:
        return realtime.subscribe(
            channel.encode(),
            lambda payload: inbox.append((channel, payload)),
            on_gap=lambda: gaps.append(channel),
        )

    channels = keys_of_each_node(f"channel {sharded}")
    for channel in channels:
        await listen(channel)
        realtime.publish(channel.encode(), b"1")
    await until(lambda: len(inbox) == 3)
    moving = channels[1]
    await cluster.begin_move(key_slot(moving.encode()))
    await cluster.end_move(key_slot(moving.encode()))
    if sharded:
        await until(lambda: moving in gaps and realtime.connected)
    realtime.publish(moving.encode(), b"2")
    await until(lambda: (moving, b"2") in inbox)
    await realtime.close()


@pytest.mark.drill
@pytest.mark.parametrize("sharded", [True, False])
async def test_channels_of_a_lost_node_move_to_another(doomed: Cluster, *, sharded: bool) -> None:
    async with await Valkey.open(doomed.url) as valkey:
        realtime = await ValkeyPubSub.open(valkey, sharded=sharded)
        inbox: list[bytes] = []
        gaps: list[str] = []
        await realtime.subscribe(FIRST.encode(), inbox.append, on_gap=lambda: gaps.append("gap"))
        (port,) = {connection.address.port for connection in realtime._listening._connections.values()}
        doomed.server_at(port).kill()
        await until(lambda: not realtime.connected)
        if port == doomed.servers[0].port:
            await doomed.do(3, "CLUSTER", "FAILOVER", "TAKEOVER")
        await until(lambda: bool(gaps))
        async with asyncio.timeout(40):
            while not inbox:
                with contextlib.suppress(EngineUnavailableError):
                    realtime.publish(FIRST.encode(), b"x")
                await asyncio.sleep(0.01)
        await realtime.close()


# Slots


@pytest.fixture(scope="module")
def finder() -> Iterator[tuple[KeyFinder, Any]]:
    server = ValkeyServer().start()

    async def commands() -> Any:
        await server.answering()
        async with await Valkey.open(server.url) as valkey:
            return await valkey.call("COMMAND")

    yield KeyFinder(asyncio.run(commands())), server
    server.close()


@pytest.mark.parametrize(
    "command",
    ["GET a", "get a", "MSET a 1 b 2", "DEL a b c", "EVAL script 2 a b x", "EVALSHA hash 0 x", "BLPOP a b 0",
     "XREAD COUNT 2 STREAMS a b 0 0", "XREADGROUP GROUP g c STREAMS a >", "XINFO STREAM a",
     "ZUNIONSTORE d 2 a b", "OBJECT ENCODING a", "BITOP AND d a b", "XGROUP CREATE a g 0", "RENAME a b",
     "SINTERCARD 2 a b LIMIT 1", "SINTERSTORE d a b", "SORT a", "LMPOP 2 a b LEFT"],
)  # fmt: skip
async def test_keys_are_found_where_the_server_finds_them(
    finder: tuple[KeyFinder, ValkeyServer], command: str
) -> None:
    keys, server = finder
    args = command.split()
    async with await Valkey.open(server.url) as valkey:
        try:
            expected = await valkey.call("COMMAND", "GETKEYS", *args)
        except ReplyError:  # it names no key
            expected = []
    assert sorted(keys.keys(tuple(args))) == sorted(expected)


@pytest.mark.parametrize(
    "args", [("PING",), ("INFO",), ("SCRIPT", "LOAD", "x"), ("PUBLISH", "c", "x"), ("EVAL", "x")]
)
def test_commands_without_keys_belong_to_no_slot(finder: tuple[KeyFinder, ValkeyServer], args: Any) -> None:
    assert finder[0].slot(args) is None


@given(st.binary(max_size=30))
def test_slots_follow_the_specification(key: bytes) -> None:
    register = 0
    tag = key
    if b"{" in key:
        inside, closed, _ = key.split(b"{", 1)[1].partition(b"}")
        tag = inside if closed and inside else key
    for byte in tag:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ 0x1021) & 0xFFFF if register & 0x8000 else register << 1
    assert key_slot(key) == register % SLOTS
    assert binascii.crc_hqx(b"123456789", 0) == 0x31C3
