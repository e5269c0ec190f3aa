"""The log and the channels on their own server: cost of an append, durable publishes, draining, messages.

Usage: python -m bench.valkey_log. Starts its own server with an append-only file, fsynced always.
"""

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench.valkey_client import cpu_seconds, server_binary
from twelvefold.engines.log import SpooledPublisher, SpoolLimits, ValkeyStreams, pack, unpack
from twelvefold.engines.realtime import ValkeyPubSub
from twelvefold.engines.valkey import Valkey

RECORD = b"1767225600000 Ab3dE9x 203.0.113.7 Mozilla/5.0 https://example.org/"


@asynccontextmanager
async def measured(name: str, operations: int) -> AsyncIterator[None]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    cpu, wall = max(cpu_seconds() - cpu, 0.001), time.perf_counter() - wall
    print(f"{name:46s} {operations / cpu:12,.0f} /CPU-s {operations / wall:12,.0f} /s")


async def publishes(log: ValkeyStreams) -> None:
    for tasks in (1, 64):
        count = 2_000 * tasks if tasks > 1 else 1_000

        async def work(rounds: int) -> None:
            for _ in range(rounds):
                await log.publish("direct", [RECORD])

        async with (
            measured(f"durable publish of 1 record, {tasks} at once", count),
            asyncio.TaskGroup() as group,
        ):
            for _ in range(tasks):
                group.create_task(work(count // tasks))


async def spooled(log: ValkeyStreams, folder: Path) -> None:
    count = 1_000_000
    publisher = await SpooledPublisher.open(
        log, "clicks", folder, encode=pack, limits=SpoolLimits(publish_seconds=5)
    )
    append = publisher.append
    began = time.perf_counter()
    for _ in range(count // 10):
        append(RECORD)
    print(f"append: {(time.perf_counter() - began) / count * 1e10:.0f} ns")
    await publisher.flush()
    async with measured("append, flush and durable publish", count):
        for _ in range(count // 2_500):
            for _ in range(2_500):
                append(RECORD)
            await asyncio.sleep(0)
        await publisher.flush()
    consumer = log.consumer("clicks", "bench", "1")
    seen = 0
    async with measured("fetch, unpack and commit", count + count // 10):
        while entries := await consumer.fetch(64, 0):
            seen += sum(len(unpack(entry.data)) for entry in entries)
            await consumer.commit(entries)
    assert seen == count + count // 10
    await publisher.close()


async def messages(url: str) -> None:
    count = 200_000
    async with await Valkey.open(url, deadline_seconds=10) as valkey:
        realtime = await ValkeyPubSub.open(valkey)
        done = asyncio.Event()
        received = 0

        def receive(_payload: bytes) -> None:
            nonlocal received
            received += 1
            if received == count:
                done.set()

        await realtime.subscribe(b"room", receive, on_gap=lambda: None)
        async with measured("message published and received", count):
            for sent in range(0, count, 100):
                while sent - received > 10_000:  # noqa: ASYNC110 in step with the reader, without its help
                    await asyncio.sleep(0)
                for _ in range(100):
                    realtime.publish(b"room", RECORD)
                await asyncio.sleep(0)
            await done.wait()
        await realtime.close()


async def main(url: str, folder: Path) -> None:
    log = await ValkeyStreams.open(url, deadline_seconds=10)
    await publishes(log)
    await spooled(log, folder)
    await log.close()
    await messages(url)


if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="tf-bench-")
    path = f"{folder}/valkey.sock"
    command = [server_binary(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(f"unix://{path}", Path(folder) / "spool"))
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)
