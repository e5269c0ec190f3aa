"""The rows of the specification's table for chat, in its order.

Loader and server run on different cores. CPU is utime + stime of the serving process; PostgreSQL and Valkey
are reported apart. The floor is a C epoll loop with one send a delivery (`floor.c`).
"""

import asyncio
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from drills.chat.acknowledged_messages import WRONG, drill
from drills.chat.node import SECRET

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
    ROUNDS,
    STORM,
    Peers,
    busy_bar,
    idle_bar,
    one_bar,
    rate_bar,
)  # fmt: skip
from bench.chat.durable import pairs, rate
from bench.chat.loader import Connection, connect_many, masked
from bench.chat.ours import SOCKET, Ours, follow_all, open_room
from bench.processes import cores
from bench.table import Bar
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import NewMessage
from twelvefold.systems.chat.rules.tokens import sign

ORDER = (IDLE, ONE, BUSY, PAIRS, RATE, STORM, KILL)

RETRY_SECONDS = 0.2


async def idle(ours: Ours) -> float:
    """KiB of the server a follower, over ten thousand of them."""
    node = await ours.library()
    rooms = [await open_room(node) for _ in range(10)]
    warm = await ours.sockets([f"w{n}" for n in range(50)])
    await follow_all(warm, rooms)
    before = ours.rss()
    made = await ours.sockets([f"u{n}" for n in range(IDLE_CONNECTIONS)])
    await follow_all(made, rooms)
    after = ours.rss()
    each = (after - before) / IDLE_CONNECTIONS / 1024
    for one in (*made, *warm):
        one.transport.abort()
    await node.close()
    return each


async def _fan_out(ours: Ours, *, burst: int, bursts: int) -> float:
    """CPU µs a delivery in a room of a thousand."""
    node = await ours.library()
    room = await open_room(node)
    made = await ours.sockets([f"f{n}" for n in range(ROOM)])
    await follow_all(made, [room])
    (speaker,) = await ours.sockets(["speaker"])
    await speaker.ask(op="send", ref=9, conversation=room, text="warm")
    await asyncio.sleep(1)
    base = [one.frames for one in made]
    before = ours.cpu()
    said = (
        masked(json.dumps({"op": "send", "conversation": room, "text": "x" * PAYLOAD_BYTES}).encode()) * burst
    )
    for number in range(bursts):
        speaker.transport.write(said)
        wanted = (number + 1) * burst
        async with asyncio.timeout(30):
            await asyncio.gather(*(one.wait_frames(b + wanted) for one, b in zip(made, base, strict=True)))
        await asyncio.sleep(PAUSE_SECONDS)
    took = ours.cpu() - before
    for one in (*made, speaker):
        one.transport.abort()
    await node.close()
    return took / (bursts * burst * ROOM) * 1e6


async def storm(ours: Ours) -> Bar:
    """All connect and follow at once from the beginning; the last one to have everything is timed."""
    node = await ours.library()
    rooms = [await open_room(node) for _ in range(20)]
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
            runs = sorted((uvloop.run(rate(ours, seconds)) for _ in range(ROUNDS)), key=lambda run: run[0])
            bars.append(rate_bar(*runs[ROUNDS // 2], theirs))
        if wanted(STORM):
            bars.append(uvloop.run(storm(ours)))
    if wanted(KILL):
        counts = uvloop.run(drill(folder / "drill", clients=60, rooms=6, seconds=6))
        wrong = sum(counts[name] for name in WRONG)
        bars.append(Bar(KILL, "messages", "≤ 0", value=float(wrong), details=counts))
    return sorted(bars, key=lambda bar: ORDER.index(bar.measure)), {}
