"""The terminal client of the README and of docs/chat.md, and the page's curl lines, as written."""

import asyncio
import json
import os
import subprocess
import sys

import httpx2
import pytest
from tests.systems.test_docs import blocks

DEADLINE_SECONDS = 30


def client_of(page: str) -> str:
    (text,) = [text for language, text in blocks(page) if language == "python" and "websockets" in text]
    return text


def commands_of(page: str) -> str:
    return "\n".join(text for language, text in blocks(page) if language == "sh")


class Terminal:
    """Somebody before the terminal client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: str, *words: str) -> "Terminal":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, *words,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip

    def type(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n".encode())

    async def shown(self) -> str:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self._process.stdout.readline()).decode().strip()

    async def kill(self) -> None:
        self._process.kill()
        await self._process.communicate()


def test_the_client_has_fifteen_lines_and_is_the_same_on_both_pages():
    text = client_of("README.md")
    assert text == client_of("docs/chat.md")
    assert len([line for line in text.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("page", ["README.md", "docs/chat.md"])
async def test_the_terminal_client_sends_receives_and_catches_up_after_being_away(server, page):
    program, ws_url = client_of(page), server.url.replace("http://", "ws://")
    headers = {**server.headers, "Chat-User": "ann"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20) as api:
        room = (await api.post("/v1/chat/conversations", json={"members": ["bob"]})).json()["id"]
        tokens = [
            (await api.post("/v1/chat/tokens", json={"user": u})).json()["token"] for u in ("ann", "bob")
        ]
        ann, bob = [await Terminal.start(program, ws_url, token, room) for token in tokens]
        try:
            ann.type("Hungry?")
            assert [await ann.shown(), await bob.shown()] == ["2 ann Hungry?"] * 2
            bob.type("Always.")
            assert [await ann.shown(), await bob.shown()] == ["3 bob Always."] * 2
            await bob.kill()
            for line in ("Soup?", "Or noodles?"):
                ann.type(line)
            assert [await ann.shown(), await ann.shown()] == ["4 ann Soup?", "5 ann Or noodles?"]
            bob = await Terminal.start(program, ws_url, tokens[1], room, "3")
            assert [await bob.shown(), await bob.shown()] == ["4 ann Soup?", "5 ann Or noodles?"]
            bob.type("Noodles.")
            assert [await ann.shown(), await bob.shown()] == ["6 bob Noodles."] * 2
        finally:
            await ann.kill()
            await bob.kill()


def test_the_pages_commands_work_as_written(server):
    environment = os.environ | {"URL": server.url, "KEY": server.api_key}
    done = subprocess.run(
        ["bash", "-euc", f"{commands_of('docs/chat.md')}\necho; echo $ROOM $TOKEN"],
        capture_output=True, text=True, env=environment, timeout=60, check=True,
    )  # fmt: skip
    said, (room, token) = done.stdout.splitlines()[0], done.stdout.splitlines()[-1].split()
    assert json.loads(said) | {"status": "sent", "seq": 2} == json.loads(said)
    items = httpx2.get(
        f"{server.url}/v1/chat/conversations/{room}/messages",
        headers={"Chat-Token": token},
        params={"after": 1},
    ).json()["items"]
    assert [item["text"] for item in items] == ["Hungry?"]
