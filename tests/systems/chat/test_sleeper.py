"""Drill `chat.sleeper`: a process that is stopped, and wakes up after a change of members, cannot append."""

import asyncio
import json
import os
import signal
import sys

import pytest
from drills.chat.node import SECRET
from tests.systems.chat.chat_client import Client
from tests.systems.chat.test_sending import T, room_of

from twelvefold.systems.chat.contracts import NewMessage
from twelvefold.systems.chat.rules.tokens import sign

pytestmark = pytest.mark.drill


async def test_a_stopped_server_that_wakes_up_cannot_append_for_a_banned_member_and_holds_nobody_up(
    node, database_url, valkey_url, tmp_path
):
    room = await room_of(node, "ann", "bob")
    config = {
        "database": database_url,
        "valkey": valkey_url,
        "blobs": str(tmp_path),
        "name": "sleeper",
        "port": 0,
    }
    sleeper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "drills.chat.node",
        json.dumps(config),
        stdout=asyncio.subprocess.PIPE,
    )
    url = json.loads(await sleeper.stdout.readline())["url"].replace("http", "ws")
    bob = await Client.open(url, sign({"sub": "bob"}, SECRET, 1))
    try:
        # It knows bob as a member, and has his next messages in its hands when it is stopped.
        assert (await bob.send(str(room), "before"))["type"] == "sent"
        os.kill(sleeper.pid, signal.SIGSTOP)
        waiting = [bob.say("send", conversation=str(room), text=f"late {n}") for n in range(20)]
        async with asyncio.timeout(10):  # a sleeper holds no lock
            await node.chat.ban(T, "ann", room, "bob")
            for number in range(10):
                await node.chat.send(T, room, "ann", NewMessage(text=f"go on {number}"))
        os.kill(sleeper.pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*waiting)
        assert {answer["error"]["code"] for answer in answers} == {"chat.banned"}
        texts = [event.text for event in await node.chat.history(T, "ann", room, after=1, limit=100)]
        assert texts == ["before", "", *(f"go on {n}" for n in range(10))]
        assert (await node.chat.audit(T, room)).faults == ()
    finally:
        await bob.close()
        sleeper.terminate()
        await sleeper.communicate()
