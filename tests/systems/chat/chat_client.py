"""A plain client of `/v1/chat/socket`: what it was told, in the order it came."""

import asyncio
import itertools
import json
from typing import Any, Self

import websockets

DEADLINE_SECONDS = 15


class Client:
    """`ask` sends a request and waits for its answer; everything else is in `events` and `told`."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._refs = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, ws_url: str, token: str | None, **given: Any) -> Self:
        client = cls(await websockets.connect(f"{ws_url}/v1/chat/socket", max_size=None))
        if token is not None:
            answer = await client.ask("connect", token=token, **given)
            assert answer["type"] == "connected", answer
        return client

    def say(self, op: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        ref = next(self._refs)
        self._waiting[ref] = asyncio.get_running_loop().create_future()
        self.queue = asyncio.create_task(self.socket.send(json.dumps({"op": op, "ref": ref, **fields})))
        return self._waiting[ref]

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        answer = self.say(op, **fields)
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await answer

    async def send(self, conversation: str, text: str, **fields: Any) -> dict[str, Any]:
        return await self.ask("send", conversation=conversation, text=text, **fields)

    async def until(self, condition: Any) -> None:
        """Wait until `condition()` holds; it is looked at after each arrival."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_seq(self, seq: int) -> None:
        await self.until(lambda: bool(self.events) and self.events[-1]["seq"] >= seq)

    async def until_closed(self) -> int:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._task
        return self.socket.close_code or 0

    async def close(self) -> None:
        await self.socket.close()
        await asyncio.wait({self._task})

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                said = json.loads(message)
                waiter = self._waiting.pop(said.get("ref"), None) if "ref" in said else None
                if waiter is not None and not waiter.done():
                    waiter.set_result(said)
                elif "seq" in said and said["type"] != "sent":
                    self.events.append(said)
                else:
                    self.told.append(said)
                self._news.set()
        except websockets.ConnectionClosed:
            pass
        finally:
            self._news.set()
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.cancel()
