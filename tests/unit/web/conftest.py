"""Real sockets on loopback, on both event loops that people use."""

import asyncio
import contextlib

import pytest
import uvloop

from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind
from twelvefold.web.server import Server


def pytest_asyncio_loop_factories(config, item):
    """The loop we ship with; and asyncio's own, except for tests that come in many forms anyway."""
    both = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return both if item.get_closest_marker("parametrize") is None else {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve():
    """Start servers; all are stopped at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app, *, limits=None, **more):
            server = Server(
                app, sockets=[bind("127.0.0.1", 0)], limits=limits or Limits(drain_seconds=0.5), **more
            )
            await server.start()
            stack.push_async_callback(server.stop)
            return server

        yield start


class Client:
    """A raw connection: what is sent and what comes back, byte for byte."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def response(self, *, head=False):
        """(status, headers, body) of the next response."""
        async with asyncio.timeout(5):
            block = await self.reader.readuntil(b"\r\n\r\n")
            lines = block.decode("latin-1").split("\r\n")[:-2]
            status = int(lines[0].split(" ")[1])
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = b""
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
            elif not head and status not in (204, 304):
                body = await self.reader.readexactly(int(headers["content-length"]))
            return status, headers, body

    async def rest(self, seconds=5):
        """Everything until the server closes."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()

    async def close(self):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@pytest.fixture
async def connect():
    clients = []

    async def open_connection(server):
        client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
        clients.append(client)
        return client

    yield open_connection
    for client in clients:
        await client.close()


@pytest.fixture
def eventually():
    """Wait until a condition holds, turn by turn of the loop."""

    async def wait(condition, seconds=5):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # conditions here are states, not events
                await asyncio.sleep(0.005)

    return wait
