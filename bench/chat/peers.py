"""Peers of the fan-out: a C epoll loop and node's `ws`; and what is said where one is missing."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.chat.loader import Connection, connect_many, masked
from bench.processes import usage

HERE = Path(__file__).parent
FRAME_BYTES = 330
"""What our event is on the wire, so that all send the same number of bytes."""


class Peer:
    """A fan-out server. `missing` says why it could not be measured."""

    def __init__(
        self,
        words: list[str],
        say: Callable[[Connection], None],
        *,
        path: bytes | None,
        cpus: str,
        missing: str | None,
    ) -> None:
        self._words = ["taskset", "-c", cpus, *words]
        self._say = say
        self._path = path
        self.missing = missing

    def fan_out(self, count: int, *, burst: int, bursts: int, pause: float) -> float | None:
        """CPU µs a delivery to `count` connections."""
        if self.missing:
            return None
        process = subprocess.Popen(self._words, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            return uvloop.run(self._run(process.pid, port, count, burst, bursts, pause))
        finally:
            process.kill()
            process.wait()

    async def _run(self, pid: int, port: int, count: int, burst: int, bursts: int, pause: float) -> float:  # noqa: PLR0917 - one measurement's numbers
        made = await connect_many(port, self._path, count)
        speaker = made[0]
        await asyncio.sleep(1)
        before = usage([pid]).cpu_seconds
        for number in range(bursts):
            for _ in range(burst):
                self._say(speaker)
            async with asyncio.timeout(30):
                await asyncio.gather(*(one.wait_frames((number + 1) * burst) for one in made))
            await asyncio.sleep(pause)
        took = usage([pid]).cpu_seconds - before
        for one in made:
            one.transport.abort()
        return took / (bursts * burst * count) * 1e6


def floor(folder: Path, cpus: str) -> Peer:
    """The C loop, compiled here."""
    program = folder / "floor"
    compiler = shutil.which("gcc") or shutil.which("cc")
    missing = None if compiler else "no C compiler here; apt-get install gcc"
    if compiler:
        subprocess.run([compiler, "-O2", str(HERE / "floor.c"), "-o", str(program)], check=True)
    wanted = b"P" + FRAME_BYTES.to_bytes(4)
    return Peer(
        [str(program)], lambda one: one.transport.write(wanted), path=None, cpus=cpus, missing=missing
    )


def node_ws(folder: Path, cpus: str) -> Peer:
    """The package ws of npm, from `NODE_MODULES_FOLDER` or installed into the folder."""
    node = shutil.which("node")
    missing = None if node else "no Node here; apt-get install nodejs npm"
    modules = Path(os.environ.get("NODE_MODULES_FOLDER", folder / "node_modules"))
    if node and not (modules / "ws").exists():
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "ws@8"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        missing = f"npm install ws: {done.stderr[-200:]}" if done.returncode else None
    wanted = masked(json.dumps({"n": FRAME_BYTES}).encode())
    return Peer(
        [node or "node", str(HERE / "ws_peer.mjs"), str(modules)], lambda one: one.transport.write(wanted), path=b"/",
        cpus=cpus, missing=missing,
    )  # fmt: skip


def centrifugo_missing() -> str | None:
    """Centrifugo is not measured here yet."""
    return "the Go proxy answers 403 for github.com/centrifugal/centrifugo (v5 and v6); build it elsewhere"


def synapse_missing() -> str | None:
    """Synapse is not measured here yet; the notes have 24-53 messages a second on a machine like this one."""
    return "Synapse is not started by the bench yet; measured apart: 24 (serial) to 53 messages a second"
