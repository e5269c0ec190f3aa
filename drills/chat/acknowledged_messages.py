"""Drills `chat-web`, `chat-worker`, `chat-valkey`, `chat-database`: kill -9 under load, then count.

Two web processes and a worker; clients in rooms, each sending with its own `client_msg_id`, resending to the
other server what was not acknowledged, following from the last sequence it has. At the end every acknowledged
message must be there, once, under the sequence that was acknowledged; every room dense; every member's view the
room itself; every chain of hashes whole.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets

from drills.chat.node import SECRET, Node, new_owner_key
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import Event, NewConversation
from twelvefold.systems.chat.rules.tokens import sign

ROLES = ("web", "worker", "valkey", "database")
WRONG = ("lost", "moved", "doubled", "gaps", "views_that_differ", "faults")
PACE_SECONDS = 0.2
SETTLE_SECONDS = 40


@dataclass
class Told:
    """What one client knows."""

    user: str
    room: str
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    seen: dict[int, str] = field(default_factory=dict)
    doubled: int = 0
    out_of_order: int = 0
    last: int = 0
    reconnects: int = 0


class Member:
    """A client that never gives up: one message at a time until it is acknowledged, everything it sees noted."""

    def __init__(self, told: Told, urls: list[str], token: str, stop: asyncio.Event) -> None:
        self.told = told
        self._urls = urls
        self._token = token
        self._stop = stop
        self._number = 0
        self._pending: str | None = None
        self.done = asyncio.Event()

    async def run(self) -> None:
        """Talk until told to stop; then only listen, until cancelled."""
        place = hash(self.told.user)
        while True:
            place += 1
            with contextlib.suppress(OSError, websockets.WebSocketException, TimeoutError):
                async with asyncio.timeout(10):
                    socket = await websockets.connect(
                        f"{self._urls[place % 2]}/v1/chat/socket", max_size=None
                    )
                async with socket:
                    await self._talk(socket)
            self.told.reconnects += 1
            await asyncio.sleep(0.1)

    async def _talk(self, socket: Any) -> None:
        await _say(socket, op="connect", token=self._token)
        await _say(socket, op="follow", conversation=self.told.room, after=self.told.last)
        speaking = asyncio.create_task(self._speak(socket))
        try:
            async for message in socket:
                self._hear(json.loads(message))
        finally:
            speaking.cancel()
            await asyncio.wait({speaking})

    async def _speak(self, socket: Any) -> None:
        while True:
            if self._pending is None:
                if self._stop.is_set():
                    self.done.set()
                    return
                self._number += 1
                self._pending = f"{self.told.user}-{self._number}"
            name = self._pending
            await _say(
                socket, op="send", ref=name, conversation=self.told.room, text=name, client_msg_id=name
            )
            for _ in range(25):
                await asyncio.sleep(PACE_SECONDS)
                if self._pending != name:
                    break

    def _hear(self, said: dict[str, Any]) -> None:
        told = self.told
        if said["type"] == "sent":
            told.acknowledged[said["ref"]] = (said["message_id"], said["seq"])
            if self._pending == said["ref"]:
                self._pending = None
        elif said["type"] in ("message", "member"):
            seq = said["seq"]
            if seq in told.seen:
                told.doubled += 1
            elif seq != told.last + 1:
                told.out_of_order += 1
            told.seen[seq] = said["id"]
            told.last = max(told.last, seq)


async def _say(socket: Any, **request: Any) -> None:
    await socket.send(json.dumps(request))


class Processes:
    """The platform's processes of this drill."""

    def __init__(self, config: dict[str, Any], ports: list[int]) -> None:
        self._config = config
        self._ports = ports
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start one and wait until it is ready."""
        config = {**self._config, "name": name, "work": name == "work"}
        config["port"] = self._ports[int(name[-1])] if name != "work" else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "drills.chat.node", json.dumps(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"{name} did not start")
        self._running[name] = process

    def kill(self, name: str) -> None:
        """Kill -9, as if the machine's power had gone for this process alone."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        _close(process)

    def stop(self) -> None:
        """End all."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process)


def _close(process: "subprocess.Popen[bytes]") -> None:
    if process.stdout is not None:
        process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    import socket  # noqa: PLC0415 - only here

    found = [socket.socket() for _ in range(count)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


async def drill(
    folder: Path, *, clients: int, rooms: int, seconds: float, roles: Sequence[str] = ROLES
) -> dict[str, int]:
    """Run it, killing each of `roles` in turn; returns the counts. Those in `WRONG` must be 0."""
    with DataFolder.open(folder / "data") as data:
        supervisor = Supervisor(data, limits=MemoryLimits.for_total(1 << 30))
        urls = supervisor.start()
        try:
            return await _drill(folder, supervisor, urls, clients, rooms, seconds, roles)
        finally:
            supervisor.stop()


async def _drill(  # noqa: PLR0917 - one drill's numbers
    folder: Path,
    supervisor: Supervisor,
    urls: Any,
    clients: int,
    rooms: int,
    seconds: float,
    roles: Sequence[str],
) -> dict[str, int]:
    blobs = folder / "blobs"
    blobs.mkdir()
    ports = free_ports(2)
    members = [Told(f"u{number}", "") for number in range(clients)]
    founder = await Node.open(urls.database, urls.valkey, blobs, name="founder", owner_key=new_owner_key())
    for number in range(rooms):
        some = members[number::rooms]
        wanted = NewConversation(members=tuple(one.user for one in some[1:]))
        room = await founder.chat.create(DEFAULT_TENANT, some[0].user, wanted)
        for one in some:
            one.room = str(room.id)
    await founder.close()
    config = {"database": urls.database, "valkey": urls.valkey, "blobs": str(blobs)}
    processes = Processes(config, ports)
    for name in ("web-0", "web-1", "work"):
        await asyncio.to_thread(processes.start, name)
    stop = asyncio.Event()
    addresses = [f"ws://127.0.0.1:{port}" for port in ports]
    talkers = [Member(one, addresses, sign({"sub": one.user}, SECRET, 1), stop) for one in members]
    tasks = [asyncio.create_task(talker.run()) for talker in talkers]
    try:
        await asyncio.sleep(seconds / 2)
        for role in roles:
            await _kill(role, processes, supervisor, seconds)
        stop.set()
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*(talker.done.wait() for talker in talkers))
        return await _count(urls, blobs, members)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.to_thread(processes.stop)


async def _kill(role: str, processes: Processes, supervisor: Supervisor, seconds: float) -> None:
    """SIGKILL one process; a web process and the worker are started again here, engines by their supervisor."""
    print(f"kill -9 {role}", file=sys.stderr, flush=True)
    if role in ("valkey", "database"):
        os.kill(supervisor.pids()[role], signal.SIGKILL)
    else:
        name = {"web": "web-0", "worker": "work"}[role]
        processes.kill(name)
        await asyncio.sleep(seconds / 5)
        await asyncio.to_thread(processes.start, name)
    await asyncio.sleep(seconds / 2)


async def _count(urls: Any, blobs: Path, members: list[Told]) -> dict[str, int]:
    node = await Node.open(urls.database, urls.valkey, blobs, name="auditor")
    counts = {"clients": len(members), **dict.fromkeys(("acknowledged", "stored", *WRONG, "reconnects"), 0)}
    for room in sorted({one.room for one in members}):
        some = [one for one in members if one.room == room]
        events: list[Event] = []
        while page := await node.chat.events_after(int(room), len(events), 1000):
            events += page
        await _until_all_have(some, len(events))
        named = [event for event in events if event.client_msg_id]
        by_name = {event.client_msg_id: event for event in named}
        counts["stored"] += len(named)
        counts["doubled"] += len(named) - len(by_name) + sum(one.doubled for one in some)
        counts["gaps"] += sum(event.seq != place for place, event in enumerate(events, start=1))
        counts["gaps"] += sum(one.out_of_order for one in some)
        truth = {event.seq: str(event.id) for event in events}
        for one in some:
            counts["reconnects"] += one.reconnects
            counts["acknowledged"] += len(one.acknowledged)
            counts["views_that_differ"] += one.seen != truth
            for name, (message_id, seq) in one.acknowledged.items():
                found = by_name.get(name)
                counts["lost"] += found is None
                counts["moved"] += found is not None and (str(found.id), found.seq) != (message_id, seq)
        counts["faults"] += len((await node.chat.audit(DEFAULT_TENANT, int(room))).faults)
    await node.close()
    return counts


async def _until_all_have(members: list[Told], last: int) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(one.last < last for one in members):  # noqa: ASYNC110 - looks at many clients at once, with a deadline around it
                await asyncio.sleep(0.1)
