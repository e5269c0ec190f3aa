"""The rows of the specification's table for chat, in its order.

Loader and server run on different cores. CPU is utime + stime of the serving process; PostgreSQL and Valkey
are reported apart. The floor is a C epoll loop with one send a delivery (`floor.c`).
"""

import asyncio
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from drills.chat.acknowledged_messages import WRONG, drill
from drills.chat.node import SECRET, Node, new_owner_key

from bench.chat import synapse
from bench.chat.beside import (
    BUSY,
    BUSY_BURST,
    BUSY_BURSTS,
    IDLE,
    IDLE_CONNECTIONS,
    KILL,
    ONE,
    ONE_BURST,
    ONE_BURSTS,
    PAIRS,
    PAUSE_SECONDS,
    PAYLOAD_BYTES,
    RATE,
    ROOM,
    STORM,
    Peers,
    busy_bar,
    idle_bar,
    one_bar,
    rate_bar,
)  # fmt: skip
from bench.chat.loader import Connection, connect_many
from bench.processes import cores, usage
from bench.table import Bar
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import NewConversation, NewMessage
from twelvefold.systems.chat.rules.tokens import sign

ORDER = (IDLE, ONE, BUSY, PAIRS, RATE, STORM, KILL)

SOCKET = b"/v1/chat/socket"
RETRY_SECONDS = 0.2


class Ours:
    """One web process of chat on its own core, with its engines."""

    def __init__(self, folder: Path, cpus: str) -> None:
        self._folder = folder
        self._cpus = cpus
        self.owner_key = new_owner_key()

    def start(self, stack: ExitStack) -> None:
        """Start engines and server."""
        data = stack.enter_context(DataFolder.open(self._folder / "data"))
        supervisor = Supervisor(data, limits=MemoryLimits.for_total(2 << 30))
        self.urls = supervisor.start()
        stack.callback(supervisor.stop)
        self.supervisor = supervisor
        self.blobs = self._folder / "blobs"
        self.blobs.mkdir(exist_ok=True)
        config = {
            "database": self.urls.database, "valkey": self.urls.valkey, "blobs": str(self.blobs), "name": "bench",
            "port": 0, "owner_key": self.owner_key,
        }  # fmt: skip
        self.process = subprocess.Popen(
            ["taskset", "-c", self._cpus, sys.executable, "-m", "drills.chat.node", json.dumps(config)],
            stdout=subprocess.PIPE,
            stderr=(self._folder / "server.log").open("wb"),
        )
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["url"].rpartition(":")[2])
        stack.callback(self.process.wait)
        stack.callback(self.process.terminate)

    def cpu(self) -> float:
        """CPU seconds of the server so far."""
        return usage([self.process.pid]).cpu_seconds

    def engines_cpu(self) -> float:
        """CPU seconds of PostgreSQL with its children that live."""
        root = self.supervisor.pids()["database"]
        children = subprocess.run(["pgrep", "-P", str(root)], capture_output=True, text=True, check=False)
        return usage([root, *map(int, children.stdout.split())]).cpu_seconds

    def rss(self) -> int:
        """Resident bytes of the server."""
        return usage([self.process.pid]).rss_bytes

    async def library(self) -> Node:
        """A second process of the platform, in this one, to prepare rooms with."""
        return await Node.open(
            self.urls.database, self.urls.valkey, self.blobs, name=f"prepare-{secrets.token_hex(3)}"
        )

    async def sockets(self, users: Sequence[str]) -> list[Connection]:
        """A connected socket for each user."""
        made = await connect_many(self.port, SOCKET, len(users))
        for start in range(0, len(made), 200):
            await asyncio.gather(
                *(
                    one.ask(op="connect", ref=1, token=sign({"sub": user}, SECRET, 1))
                    for one, user in zip(made[start : start + 200], users[start : start + 200], strict=True)
                )
            )
        return made


async def _open_room(node: Node) -> str:
    wanted = NewConversation(kind="channel", channel=secrets.token_hex(6), access="open", history="all")
    return str((await node.chat.create(DEFAULT_TENANT, "bench", wanted)).id)


async def _follow_all(sockets: Sequence[Connection], rooms: Sequence[str], after: int | None = None) -> None:
    for start in range(0, len(sockets), 100):
        await asyncio.gather(
            *(
                one.ask(op="follow", ref=2, conversation=rooms[(start + n) % len(rooms)], after=after)
                for n, one in enumerate(sockets[start : start + 100])
            )
        )


async def idle(ours: Ours) -> float:
    """KiB of the server a follower, over ten thousand of them."""
    node = await ours.library()
    rooms = [await _open_room(node) for _ in range(10)]
    warm = await ours.sockets([f"w{n}" for n in range(50)])
    await _follow_all(warm, rooms)
    before = ours.rss()
    made = await ours.sockets([f"u{n}" for n in range(IDLE_CONNECTIONS)])
    await _follow_all(made, rooms)
    after = ours.rss()
    each = (after - before) / IDLE_CONNECTIONS / 1024
    for one in (*made, *warm):
        one.transport.abort()
    await node.close()
    return each


async def _fan_out(ours: Ours, *, burst: int, bursts: int) -> float:
    """CPU µs a delivery in a room of a thousand."""
    node = await ours.library()
    room = await _open_room(node)
    made = await ours.sockets([f"f{n}" for n in range(ROOM)])
    await _follow_all(made, [room])
    (speaker,) = await ours.sockets(["speaker"])
    await speaker.ask(op="send", ref=9, conversation=room, text="warm")
    await asyncio.sleep(1)
    base = [one.frames for one in made]
    before = ours.cpu()
    text = "x" * PAYLOAD_BYTES
    for number in range(bursts):
        for _ in range(burst):
            speaker.say(op="send", conversation=room, text=text)
        wanted = (number + 1) * burst
        async with asyncio.timeout(30):
            await asyncio.gather(*(one.wait_frames(b + wanted) for one, b in zip(made, base, strict=True)))
        await asyncio.sleep(PAUSE_SECONDS)
    took = ours.cpu() - before
    for one in (*made, speaker):
        one.transport.abort()
    await node.close()
    return took / (bursts * burst * ROOM) * 1e6


async def pairs(ours: Ours, folder: Path, seconds: float) -> Bar:
    """50 pairs talk in turn; the time from a send to its arrival at the other."""
    node = await ours.library()
    latencies: list[float] = []
    couples = [(f"a{number}", f"b{number}") for number in range(50)]
    rooms = []
    for one, two in couples:
        wanted = NewConversation(kind="direct", members=(two,))
        rooms.append(str((await node.chat.create(DEFAULT_TENANT, one, wanted)).id))

    stop = time.monotonic() + seconds + 5

    async def talk(number: int) -> None:
        names, room = couples[number], rooms[number]
        one, two = await ours.sockets(names)
        await two.ask(op="follow", ref=2, conversation=room)
        while time.monotonic() < stop:
            arrived = two.wait_frames(two.frames + 1)
            began = time.perf_counter()
            one.say(op="send", conversation=room, text="x" * PAYLOAD_BYTES)
            async with asyncio.timeout(30):
                await arrived
            latencies.append(time.perf_counter() - began)
        one.transport.abort()
        two.transport.abort()

    await asyncio.gather(*(talk(number) for number in range(50)))
    await node.close()
    fsync = fsync_seconds(folder)
    p99 = statistics.quantiles(latencies, n=100)[98]
    details = {
        "fsync_ms": fsync * 1000, "p50_ms": statistics.median(latencies) * 1000, "p99_ms": p99 * 1000,
        "messages": len(latencies),
    }  # fmt: skip
    return Bar(PAIRS, "fsyncs of this disk", "≤ 3", value=p99 / fsync, details=details)


def fsync_seconds(folder: Path) -> float:
    """The median time of an 8 KiB append with fdatasync here and now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        took = []
        for _ in range(200):
            os.write(file.fileno(), bytes(8192))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


async def rate(ours: Ours, seconds: float) -> tuple[float, dict[str, float]]:
    """Eight sockets, pipelined over 200 rooms, windows of acknowledgements."""
    node = await ours.library()
    rooms = [await _open_room(node) for _ in range(200)]
    senders = await ours.sockets([f"s{n}" for n in range(8)])
    for sender in senders:  # each has a place in each room before the clock starts
        for room in rooms:
            sender.say(op="send", conversation=room, text="warm")
        async with asyncio.timeout(60):
            await sender.wait_frames(1 + len(rooms))
    server, engines, began = ours.cpu(), ours.engines_cpu(), time.monotonic()
    acknowledged = 0
    text = "x" * PAYLOAD_BYTES

    async def send(sender: Connection) -> None:
        nonlocal acknowledged
        number = 0
        base = sender.frames
        while time.monotonic() < began + seconds:
            for _ in range(500):
                sender.say(op="send", conversation=rooms[number % 200], text=text)
                number += 1
            async with asyncio.timeout(60):
                await sender.wait_frames(base + max(0, number - 500))
        await sender.wait_frames(base + number)
        acknowledged += number

    await asyncio.gather(*(send(sender) for sender in senders))
    wall = time.monotonic() - began
    server, engines = ours.cpu() - server, ours.engines_cpu() - engines
    for sender in senders:
        sender.transport.abort()
    await node.close()
    details = {
        "per_second_on_the_wall": acknowledged / wall, "messages": acknowledged,
        "server_us": server / acknowledged * 1e6, "database_us": engines / acknowledged * 1e6,
    }  # fmt: skip
    return acknowledged / server, details


async def storm(ours: Ours) -> Bar:
    """All connect and follow at once from the beginning; the last one to have everything is timed."""
    node = await ours.library()
    rooms = [await _open_room(node) for _ in range(20)]
    for room in rooms:
        await asyncio.gather(
            *(
                node.chat.send(DEFAULT_TENANT, int(room), "bench", NewMessage(text="x" * PAYLOAD_BYTES))
                for _ in range(499)
            )
        )
    before = ours.rss()
    peak = before
    began = time.monotonic()
    made = await connect_many(ours.port, SOCKET, 2000, at_once=500)
    refused = 0

    def returning(one: Connection, room: str) -> Callable[[bytes], None]:
        """Follow; and, as any client does, again a moment later when the server says that it is busy."""

        def heard(frame: bytes) -> None:
            nonlocal refused
            if frame.startswith(b'{"type":"error"'):
                refused += 1
                one.frames -= 1
                asyncio.get_running_loop().call_later(
                    RETRY_SECONDS, lambda: one.say(op="follow", conversation=room, after=0)
                )

        return heard

    for number, one in enumerate(made):
        room = rooms[number % 20]
        one.on_frame = returning(one, room)
        one.say(op="connect", token=sign({"sub": f"r{number}"}, SECRET, 1))
        one.say(op="follow", conversation=room, after=0)

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, ours.rss())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(120):
        await asyncio.gather(*(one.wait_frames(502) for one in made))
    took = time.monotonic() - began
    watching.cancel()
    for one in made:
        one.transport.abort()
    await node.close()
    details = {
        "memory_more_bytes": peak - before,
        "memory_bar_bytes": 200 << 20,
        "memory_holds": peak - before <= 200 << 20,
        "told_to_come_back_later": refused,
    }
    return Bar(STORM, "s", "≤ 3", value=took, details=details)


def measure(
    folder: Path, *, only: Sequence[str], seconds: float, rounds: int, urls: Path | None
) -> tuple[list[Bar], dict[str, Any]]:
    """All rows, or those whose name has one of `only` in it."""
    del rounds, urls
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    server_cpus, load_cpus = (cpus or "0" for cpus in cores())
    os.sched_setaffinity(0, {int(cpu) for cpu in load_cpus.split(",") if cpu.isdigit()} or {0})

    def wanted(name: str) -> bool:
        return not only or any(part in name for part in only)

    bars: list[Bar] = []
    others = Peers(folder, server_cpus)
    with ExitStack() as stack:
        ours = Ours(folder, server_cpus)
        ours.start(stack)
        if wanted(IDLE):
            bars.append(idle_bar(uvloop.run(idle(ours)), others))
        if wanted(ONE):
            bars.append(
                one_bar(lambda: uvloop.run(_fan_out(ours, burst=ONE_BURST, bursts=ONE_BURSTS)), others)
            )
        if wanted(BUSY):
            bars.append(
                busy_bar(lambda: uvloop.run(_fan_out(ours, burst=BUSY_BURST, bursts=BUSY_BURSTS)), others)
            )
        if wanted(PAIRS):
            bars.append(uvloop.run(pairs(ours, folder, seconds)))
        if wanted(RATE):
            theirs = synapse.measure(folder / "synapse", server_cpus, seconds, "x" * PAYLOAD_BYTES)
            bars.append(rate_bar(*uvloop.run(rate(ours, seconds)), theirs))
        if wanted(STORM):
            bars.append(uvloop.run(storm(ours)))
    if wanted(KILL):
        counts = uvloop.run(drill(folder / "drill", clients=60, rooms=6, seconds=6))
        wrong = sum(counts[name] for name in WRONG)
        bars.append(Bar(KILL, "messages", "≤ 0", value=float(wrong), details=counts))
    return sorted(bars, key=lambda bar: ORDER.index(bar.measure)), {}
