"""The rows of durable messages: how long one takes from a socket to another, and how many a core stores."""

import asyncio
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.chat.beside import PAIRS, PAYLOAD_BYTES
from bench.chat.loader import Connection
from bench.chat.ours import Ours, open_room
from bench.table import Bar
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import NewConversation

COUPLES = 50
PACE = 500
"""Messages a second over all pairs: a twentieth of what the server can do, so that latency is not a queue's."""
Couple = tuple[Connection, Connection, str]


async def pairs(ours: Ours, folder: Path, seconds: float) -> Bar:
    """50 pairs, messages on schedule; the time from when one was due to its arrival at the other.

    Beside it, in `details`, the same with each pair waiting for its message before it says the next: all
    that the server can do, and what a message takes then; and what this disk alone takes at that pace.
    """
    node = await ours.library()
    couples = []
    for number in range(COUPLES):
        names = (f"a{number}", f"b{number}")
        wanted = NewConversation(kind="direct", members=names[1:])
        room = str((await node.chat.create(DEFAULT_TENANT, names[0], wanted)).id)
        one, two = await ours.sockets(names)
        await two.ask(op="follow", ref=2, conversation=room)
        couples.append((one, two, room))
    paced = await _paced(couples, seconds)
    full = await _in_turn(couples, seconds)
    for one, two, _ in couples:
        one.transport.abort()
        two.transport.abort()
    await node.close()
    fsync = statistics.median(fsyncs(folder, 200))
    alone = fsyncs(folder, len(paced), per_second=PACE)
    p99 = statistics.quantiles(paced, n=100)[98]
    details = {
        "fsync_ms": fsync * 1000, "fsync_alone_p50_ms": statistics.median(alone) * 1000,
        "fsync_alone_p99_ms": statistics.quantiles(alone, n=100)[98] * 1000,
        "messages_per_second": PACE, "p50_ms": statistics.median(paced) * 1000,
        "p99_ms": p99 * 1000, "messages": len(paced), "in_turn_messages_per_second": len(full) / seconds,
        "in_turn_p50_ms": statistics.median(full) * 1000, "in_turn_p99_ms": statistics.quantiles(full, n=100)[98] * 1000,
    }  # fmt: skip
    return Bar(PAIRS, "fsyncs of this disk", "≤ 3", value=p99 / fsync, details=details)


async def _paced(couples: Sequence[Couple], seconds: float) -> list[float]:
    """Seconds from said to heard, `PACE` messages a second over all pairs, whether the server keeps up or not.

    From said, not from due: a timer of the loop is up to a millisecond late, which is not the server's.
    """
    latencies: list[float] = []
    heard = asyncio.Event()
    wanted = int(seconds * PACE)

    def hear(said: deque[float]) -> Callable[[bytes], None]:
        def arrived(_: bytes) -> None:
            latencies.append(time.perf_counter() - said.popleft())
            if len(latencies) == wanted:
                heard.set()

        return arrived

    said: list[deque[float]] = [deque() for _ in couples]
    for (_, two, _), times in zip(couples, said, strict=True):
        two.on_frame = hear(times)
    began = time.perf_counter()
    for number in range(wanted):
        await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
        one, _, room = couples[number % COUPLES]
        said[number % COUPLES].append(time.perf_counter())
        one.say(op="send", conversation=room, text="x" * PAYLOAD_BYTES)
    async with asyncio.timeout(30):
        await heard.wait()
    for _, two, _ in couples:
        two.on_frame = None
    return latencies


async def _in_turn(couples: Sequence[Couple], seconds: float) -> list[float]:
    """Seconds from a send to its arrival, each pair's next message right after."""
    latencies: list[float] = []
    stop = time.monotonic() + seconds

    async def talk(couple: Couple) -> None:
        one, two, room = couple
        while time.monotonic() < stop:
            arrived = two.wait_frames(two.frames + 1)
            began = time.perf_counter()
            one.say(op="send", conversation=room, text="x" * PAYLOAD_BYTES)
            async with asyncio.timeout(30):
                await arrived
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(talk(couple) for couple in couples))
    return latencies


def fsyncs(folder: Path, count: int, *, per_second: float = 0.0) -> list[float]:
    """Seconds of fdatasync after an 8 KiB append, here and now; one after the other, or at a pace."""
    took = []
    began = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for number in range(count):
            if per_second:
                time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            os.write(file.fileno(), bytes(8192))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return took


async def rate(ours: Ours, seconds: float) -> tuple[float, dict[str, float]]:
    """Eight sockets, pipelined over 200 rooms, windows of acknowledgements."""
    node = await ours.library()
    rooms = [await open_room(node) for _ in range(200)]
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
