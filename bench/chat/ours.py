"""Our side of the comparison: one web process of chat on its own core, with its engines."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from drills.chat.node import SECRET, Node, new_owner_key

from bench.chat.loader import Connection, connect_many
from bench.processes import pinned, usage
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import NewConversation
from twelvefold.systems.chat.rules.tokens import sign

SOCKET = b"/v1/chat/socket"


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
            pinned([sys.executable, "-m", "drills.chat.node", json.dumps(config)], self._cpus),
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


async def open_room(node: Node) -> str:
    """An open channel's id."""
    wanted = NewConversation(kind="channel", channel=secrets.token_hex(6), access="open", history="all")
    return str((await node.chat.create(DEFAULT_TENANT, "bench", wanted)).id)


async def follow_all(sockets: Sequence[Connection], rooms: Sequence[str], after: int | None = None) -> None:
    """Let each socket follow one of the rooms, in turn."""
    for start in range(0, len(sockets), 100):
        await asyncio.gather(
            *(
                one.ask(op="follow", ref=2, conversation=rooms[(start + n) % len(rooms)], after=after)
                for n, one in enumerate(sockets[start : start + 100])
            )
        )
