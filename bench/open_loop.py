"""Requests at a fixed rate, whatever the server does; latency counts from when each was due.

`python -m bench.open_loop HOST PORT PATHS HEADS RATE SECONDS` prints a `Load` as JSON. A request that is due
goes out on a connection that is idle; when none is, it waits, and its wait is in its latency: no coordinated
omission. The loop spins instead of using timers, whose millisecond steps would be most of what it measures,
so give it a core of its own. Every answer must be a redirect.
"""

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

CONNECTIONS = 256
DRAIN_SECONDS = 5.0


class Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, idle: "deque[Client]", latencies: list[float]) -> None:
        self._idle = idle
        self._latencies = latencies
        self._due = 0.0
        self._answer = b""
        self._transport: asyncio.WriteTransport | None = None
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no instance of it
        self._idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        """Send one request that was due at `due` (monotonic seconds)."""
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._latencies.append(time.monotonic() - self._due)
        self.failed += not head.startswith(
            (b"HTTP/1.1 301", b"HTTP/1.1 302", b"HTTP/1.1 307", b"HTTP/1.1 308")
        )
        self._answer = b""
        self._idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.failed += 1


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0


async def run(host: str, port: int, requests: list[bytes], rate: float, seconds: float) -> dict[str, float]:
    """Send and measure. Raises `RuntimeError` if an answer is missing or is no redirect."""
    idle: deque[Client] = deque()
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(idle, latencies), host, port))[1]
        for _ in range(CONNECTIONS)
    ]
    total = int(rate * seconds)
    started = time.monotonic()
    sent = 0
    try:
        while len(latencies) < total:
            now = time.monotonic()
            due = min(total, int((now - started) * rate) + 1)
            while sent < due and idle:
                idle.popleft().send(requests[sent % len(requests)], started + sent / rate)
                sent += 1
            if now - started > seconds + DRAIN_SECONDS:
                raise RuntimeError(f"{total - len(latencies)} of {total} requests had no answer in time")
            await asyncio.sleep(0)
        elapsed = time.monotonic() - started
        failed = sum(client.failed for client in clients)
    finally:
        for client in clients:
            client.close()
    if failed:
        raise RuntimeError(f"{failed} answers were no redirect, or their connection broke")
    p50, p99, p999 = np.percentile(np.array(latencies) * 1000, [50, 99, 99.9])
    return {
        "requests": total,
        "seconds": elapsed,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "p999_ms": float(p999),
        "failed": 0,
    }


def main(words: list[str]) -> None:
    """Read what to send, run, print."""
    host, port, paths, heads, rate, seconds = words
    agents = [line.split("\t") for line in Path(heads).read_text(encoding="ascii").splitlines()]
    requests = []
    for n, path in enumerate(Path(paths).read_text(encoding="ascii").splitlines(), 1):
        agent, language = agents[n % len(agents)]
        requests.append(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {agent}\r\n"
            f"Accept-Language: {language}\r\nAccept: text/html,*/*;q=0.8\r\n\r\n".encode()
        )
    print(json.dumps(uvloop.run(run(host, int(port), requests, float(rate), float(seconds)))))


if __name__ == "__main__":
    main(sys.argv[1:])
