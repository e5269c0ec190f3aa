"""Peers of the fan-out: a C epoll loop, node's `ws`, and Centrifugo; and what is said where one is missing."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench.chat.loader import Connection, connect_many, masked
from bench.go_programs import built
from bench.load import LoadError
from bench.processes import free_port, listening, running, usage

HERE = Path(__file__).parent
Enter = Callable[[Connection, bool], Awaitable[None]]
FRAME_BYTES = 330
"""What our event is on the wire, so that all send the same number of bytes."""


class Peer:
    """A fan-out server, which says its port or is given one. `missing` says why it could not be measured."""

    def __init__(
        self,
        words: list[str],
        wanted: bytes,
        *,
        folder: Path,
        path: bytes | None,
        cpus: str,
        missing: str | None,
        enter: Enter | None = None,
        port: int | None = None,
    ) -> None:
        self._words = words
        self._folder = folder
        self._cpus = cpus
        self._wanted = wanted
        self._path = path
        self._enter = enter
        self._port = port
        self.missing = missing

    def fan_out(self, count: int, *, burst: int, bursts: int, pause: float) -> float | None:
        """CPU µs a delivery to `count` connections."""
        return self._with_server(lambda pid, port: self._run(pid, port, count, burst, bursts, pause))

    def idle(self, count: int) -> float | None:
        """KiB of resident memory a connection that has entered and is silent."""
        return self._with_server(lambda pid, port: self._rest(pid, port, count))

    def _with_server(self, measure: Callable[[int, int], Coroutine[Any, Any, float]]) -> float | None:
        if self.missing:
            return None
        ready = listening(self._port) if self._port is not None else None
        with running(
            self._words,
            name="peer",
            folder=self._folder,
            cpus=self._cpus,
            ready=ready,
            stdout=subprocess.PIPE,
        ) as server:
            if self._port is not None:
                return uvloop.run(measure(server.pid, self._port))
            assert server.process.stdout is not None
            return uvloop.run(measure(server.pid, int(server.process.stdout.readline())))

    async def _connected(self, port: int, count: int) -> list[Connection]:
        made = await connect_many(port, self._path, count)
        if self._enter:
            for start in range(0, len(made), 200):
                await asyncio.gather(*(self._enter(one, True) for one in made[start : start + 200]))
        return made

    async def _rest(self, pid: int, port: int, count: int) -> float:
        warm = await self._connected(port, 50)
        before = usage([pid]).rss_bytes
        made = await self._connected(port, count)
        await asyncio.sleep(1)
        after = usage([pid]).rss_bytes
        for one in (*made, *warm):
            one.transport.abort()
        return (after - before) / count / 1024

    async def _run(self, pid: int, port: int, count: int, burst: int, bursts: int, pause: float) -> float:  # noqa: PLR0917 - one measurement's numbers
        made = await self._connected(port, count)
        speaker = made[0]
        if self._enter:  # who speaks gets answers, too, which are no deliveries
            (speaker,) = await connect_many(port, self._path, 1)
            await self._enter(speaker, False)
        await asyncio.sleep(1)
        base = [one.frames for one in made]
        before = usage([pid]).cpu_seconds
        for number in range(bursts):
            speaker.transport.write(self._wanted * burst)
            wanted = (number + 1) * burst
            async with asyncio.timeout(30):
                await asyncio.gather(
                    *(one.wait_frames(b + wanted) for one, b in zip(made, base, strict=True))
                )
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
    return Peer([str(program)], wanted, folder=folder, path=None, cpus=cpus, missing=missing)


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
    words = [node or "node", str(HERE / "ws_peer.mjs"), str(modules)]
    return Peer(words, wanted, folder=folder, path=b"/", cpus=cpus, missing=missing)


CENTRIFUGO = "Centrifugo"
CENTRIFUGO_PROGRAM = "github.com/centrifugal/centrifugo/v6@latest"


def centrifugo(folder: Path, cpus: str) -> Peer:
    """Centrifugo 6 as it comes, with clients that may do everything: its memory engine, no history, no presence."""
    program, missing = Path("centrifugo"), None
    try:
        program = built("centrifugo", ["install", CENTRIFUGO_PROGRAM])
    except LoadError as error:
        missing = str(error)
    port = free_port()
    config = {
        "client": {"insecure": True, "allowed_origins": ["*"]},
        "http_server": {"address": "127.0.0.1", "port": str(port)},
        "log": {"level": "error"},
    }
    (folder / "centrifugo.json").write_text(json.dumps(config))
    said = {"id": 3, "publish": {"channel": "room", "data": "x" * (FRAME_BYTES - 80)}}
    return Peer(
        [str(program), "--config", str(folder / "centrifugo.json")],
        masked(json.dumps(said).encode()),
        folder=folder,
        path=b"/connection/websocket",
        cpus=cpus,
        missing=missing,
        enter=_enter_centrifugo,
        port=port,
    )


async def _enter_centrifugo(one: Connection, listens: bool) -> None:  # noqa: FBT001 - the only question there is
    one.lines = True
    one.say(id=1, connect={})
    async with asyncio.timeout(60):
        await one.wait_frames(1)
        if listens:
            one.say(id=2, subscribe={"channel": "room"})
            await one.wait_frames(2)
