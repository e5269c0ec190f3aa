"""Drill `chat-sleeper`: a server that is stopped while it has messages in its hands wakes up behind a ban.

It holds no lock while it sleeps, so the others go on; and its fence is of yesterday, so nothing that it took
before it slept is appended after the ban.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import websockets

from drills.chat.node import SECRET, Node
from drills.harness import Audit
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.chat.contracts import NewConversation, NewMessage
from twelvefold.systems.chat.rules.tokens import sign

LATE = 20
MEANWHILE = 10
AWAKE_SECONDS = 10
ANSWER_SECONDS = 20


async def drill(folder: Path) -> Audit:
    """Run it on engines of its own."""
    with DataFolder.open(folder / "data") as data:
        supervisor = Supervisor(data, limits=MemoryLimits.for_total(1 << 30))
        urls = supervisor.start()
        try:
            node = await Node.open(urls.database, urls.valkey, folder)
            try:
                return await sleep_through_a_ban(node, urls.database, urls.valkey, folder)
            finally:
                await node.close()
        finally:
            supervisor.stop()


async def sleep_through_a_ban(awake: Node, database_url: str, valkey_url: str, blobs: Path) -> Audit:
    """`awake` bans a member whose messages lie with a second server that is stopped."""
    audit = Audit("chat-sleeper")
    wanted = NewConversation(members=("bob",))
    room = (await awake.chat.create(DEFAULT_TENANT, "ann", wanted)).id
    async with _server(database_url, valkey_url, blobs) as (process, url), websockets.connect(url) as bob:
        await _ask(bob, op="connect", token=sign({"sub": "bob"}, SECRET, 1))
        # From here on that server knows bob as a member.
        before = await _ask(bob, op="send", conversation=str(room), text="before")
        audit.check("the member could write before", before["type"] == "sent")
        os.kill(process.pid, signal.SIGSTOP)
        for number in range(LATE):
            await bob.send(json.dumps(_late(room, number)))
        async with asyncio.timeout(AWAKE_SECONDS):
            await awake.chat.ban(DEFAULT_TENANT, "ann", room, "bob")
            for number in range(MEANWHILE):
                await awake.chat.send(DEFAULT_TENANT, room, "ann", NewMessage(text=f"go on {number}"))
        os.kill(process.pid, signal.SIGCONT)
        async with asyncio.timeout(ANSWER_SECONDS):
            answers = [json.loads(await bob.recv()) for _ in range(LATE)]
    codes = [answer.get("error", {}).get("code", answer["type"]) for answer in answers]
    events = await awake.chat.history(DEFAULT_TENANT, "ann", room, after=0, limit=1000)
    faults = (await awake.chat.audit(DEFAULT_TENANT, room)).faults
    audit.count("messages in the sleeper's hands", LATE)
    audit.count("refused because of the ban", codes.count("chat.banned"))
    audit.count("stored by the others meanwhile", sum(event.text.startswith("go on") for event in events))
    audit.count(
        "appended after the ban by the sleeper", sum(event.text.startswith("late") for event in events)
    )
    audit.count("faults in the chain", len(faults))
    audit.check("all that the sleeper had is refused, and says why", codes == ["chat.banned"] * LATE)
    audit.check("nothing of it was appended", not any(event.text.startswith("late") for event in events))
    audit.check(
        "nobody waited for the sleeper",
        [event.text for event in events][-MEANWHILE:] == [f"go on {number}" for number in range(MEANWHILE)],
    )
    audit.check("the chain is whole", not faults)
    return audit


@asynccontextmanager
async def _server(
    database_url: str, valkey_url: str, blobs: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    config = {
        "database": database_url,
        "valkey": valkey_url,
        "blobs": str(blobs),
        "name": "sleeper",
        "port": 0,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drills.chat.node", json.dumps(config), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = json.loads(await process.stdout.readline())["url"]
        yield process, url.replace("http", "ws") + "/v1/chat/socket"
    finally:
        process.terminate()
        await process.communicate()


def _late(room: int, number: int) -> dict[str, Any]:
    return {"op": "send", "conversation": str(room), "text": f"late {number}"}


async def _ask(socket: websockets.ClientConnection, **request: Any) -> dict[str, Any]:
    await socket.send(json.dumps(request))
    async with asyncio.timeout(ANSWER_SECONDS):
        answer: dict[str, Any] = json.loads(await socket.recv())
    return answer
