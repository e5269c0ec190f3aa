"""Many raw WebSocket connections in one process: handshakes, masked sends, and frames counted as they come."""

import asyncio
import json
from collections.abc import Callable  # noqa: TC003 - read at run time by nobody, and one import less to think about
from typing import Any

HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One connection. `frames` and `size_bytes` count what came; `on_frame` hears each payload, if it is set."""

    def __init__(self, path: bytes | None) -> None:
        self._path = path
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.frames = 0
        self.size_bytes = 0
        self.on_frame: Callable[[bytes], None] | None = None
        self.lines = False  # whether a frame can hold several messages, one a line
        self.until = 0
        self.reached: asyncio.Future[None] | None = None
        self._rest = b""
        self._upgraded = path is None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._path is None:
            transport.write(b"hello\n")
            self.ready.set_result(None)
        else:
            transport.write(HANDSHAKE % self._path)

    def data_received(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self._rest:
            data = self._rest + data
        if not self._upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self._upgraded = True
            data = data[end + 4 :]
            self.ready.set_result(None)
        self._rest = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        at, end, frames = 0, len(data), 0
        while end - at >= 2:
            head, size = head_and_size(data, at, end)
            if end - at < head + size:
                break
            if self.on_frame is not None:
                self.on_frame(data[at + head : at + head + size])
            if self.lines:
                frames += data.count(b"\n", at + head, at + head + size - 1)
            at += head + size
            frames += 1
        self.frames += frames
        if self.reached is not None and self.frames >= self.until:
            reached, self.reached = self.reached, None
            if not reached.done():
                reached.set_result(None)
        return data[at:]

    def say(self, **request: Any) -> None:
        self.transport.write(masked(json.dumps(request).encode()))

    def wait_frames(self, count: int) -> "asyncio.Future[None]":
        self.until = count
        self.reached = asyncio.get_running_loop().create_future()
        if self.frames >= count:
            self.reached.set_result(None)
        return self.reached

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Say something and take the next frame with the same `ref`."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        before = self.on_frame

        def hear(frame: bytes) -> None:
            said = json.loads(frame)
            if said.get("ref") == request["ref"] and not answer.done():
                answer.set_result(said)

        self.on_frame = hear
        self.say(**request)
        async with asyncio.timeout(60):
            found = await answer
        self.on_frame = before
        if found["type"] == "error":
            raise RuntimeError(str(found["error"]))
        return found


def head_and_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    """How long the head and the payload of the frame at `at` are; more than there is, if the head is not all here."""
    size = data[at + 1]
    if size < 126:
        return 2, size
    head = 4 if size == 126 else 10
    return head, int.from_bytes(data[at + 2 : at + head]) if end - at >= head else 0


def masked(payload: bytes) -> bytes:
    """A text frame with a mask of zeros, which RFC 6455 allows and costs nothing."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, 0x80 | size)) + b"\0\0\0\0" + payload
    return bytes((0x81, 0xFE)) + size.to_bytes(2) + b"\0\0\0\0" + payload


async def connect(port: int, path: bytes | None) -> Connection:
    """One connection, after its handshake."""
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(path), "127.0.0.1", port
    )
    async with asyncio.timeout(60):
        await connection.ready
    return connection


async def connect_many(port: int, path: bytes | None, count: int, *, at_once: int = 100) -> list[Connection]:
    """Many, a hundred at a time."""
    made: list[Connection] = []
    while len(made) < count:
        some = min(at_once, count - len(made))
        made += await asyncio.gather(*(connect(port, path) for _ in range(some)))
    return made
