"""A Redis-speaking server that decides nothing: what the sockets alone cost. Usage: python -m bench.limiter.floor PORT."""

import asyncio
import sys
from typing import Any

import uvloop

ANSWER = b"*5\r\n:0\r\n:16\r\n:15\r\n:-1\r\n:2\r\n"


class Floor(asyncio.Protocol):
    """One answer for each command, the same for all."""

    def connection_made(self, transport: Any) -> None:
        """Note where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count commands, whole ones, as redis-benchmark sends them."""
        self._transport.write(ANSWER * max(1, data.count(b"*")))


async def main(port: int) -> None:
    await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
