"""WebSockets over any ASGI server, for applications that mount a system of ours into their own.

The same handlers as on our own protocol class, at an ASGI server's price: two tasks a socket.
"""

import asyncio
from collections import deque
from typing import Any

import structlog

from twelvefold.web.frames import (
    ABNORMAL,
    CLOSE,
    INTERNAL_ERROR,
    NORMAL,
    TEXT,
    TRY_AGAIN_LATER,
    encode,
    split,
)
from twelvefold.web.hub import Channel, Hub, Write
from twelvefold.web.socket_routes import Accepted

log = structlog.get_logger("web")


class AsgiSocket:
    """See `socket_routes.Socket`."""

    __slots__ = (
        "_accepted",
        "_backlog_bytes",
        "_code",
        "_hub",
        "_outgoing",
        "_reading",
        "_ready",
        "channels",
        "writer",
    )

    fd = -1
    transport: Any = None

    def __init__(self, accepted: Accepted, hub: Hub | None) -> None:
        self._accepted = accepted
        self._hub = hub
        self._outgoing: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._ready = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._code: tuple[int, str] | None = None
        self.channels: tuple[Channel, ...] = ()
        self.writer: Write = self._queue

    def send(self, frame: bytes) -> None:
        """See `Socket.send`."""
        self._queue(frame)

    def send_text(self, text: bytes) -> None:
        """See `Socket.send_text`."""
        self._queue(encode(TEXT, text))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """See `Socket.close`."""
        if self._code is None:
            self._code = (code, reason)
            self._leave()
            self._ready.set()

    def pause_reading(self) -> None:
        """See `Socket.pause_reading`."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """See `Socket.resume_reading`."""
        self._reading.set()

    async def run(self, receive: Any, send: Any) -> None:
        """Carry messages until one side ends it."""
        await send({"type": "websocket.accept", "subprotocol": self._accepted.subprotocol or None})
        handler = self._accepted.handler
        handler.opened(self)
        writing = asyncio.create_task(self._write(send))
        reading = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave()
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)
            handler.closed(self, self._code[0] if self._code else ABNORMAL)

    async def _read(self, receive: Any) -> None:
        while True:
            await self._reading.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._code = self._code or (message.get("code", ABNORMAL), "")
                return
            if message["type"] == "websocket.receive" and self._code is None:
                text = message.get("text")
                content = text if text is not None else message["bytes"]
                try:
                    self._accepted.handler.received(self, content)
                except Exception:
                    log.exception("web.socket.failed", handler=type(self._accepted.handler).__name__)
                    self.close(INTERNAL_ERROR, "something went wrong on the server")

    async def _write(self, send: Any) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._outgoing:
                data = self._outgoing.popleft()
                self._backlog_bytes -= len(data)
                for opcode, payload in split(data):
                    if opcode == TEXT:
                        await send({"type": "websocket.send", "text": payload.decode()})
                    elif opcode < CLOSE:
                        await send({"type": "websocket.send", "bytes": payload})
            if self._code is not None:
                await send({"type": "websocket.close", "code": self._code[0], "reason": self._code[1]})
                return

    def _queue(self, data: bytes) -> None:
        if self._code is not None:
            return
        if self._backlog_bytes + len(data) > self._accepted.max_backlog_bytes:
            self._outgoing.clear()
            self.close(TRY_AGAIN_LATER, "you read too slowly; connect again and catch up")
            return
        self._backlog_bytes += len(data)
        self._outgoing.append(data)
        self._ready.set()

    def _leave(self) -> None:
        if self.channels and self._hub is not None:
            self._hub.drop(self)
