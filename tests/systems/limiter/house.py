"""The limiter's doors in this process, over real engines and the real web server, for tests of any protocol."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import httpx2
import msgspec

from twelvefold.engines.database import Database, migrate
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import SystemClock
from twelvefold.platform.limiter import LimiterSystem
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.web.access import key_from_seed
from twelvefold.web.access.routes import access_routes
from twelvefold.web.access.service import Access
from twelvefold.web.access.store import AccessStore
from twelvefold.web.application import Application
from twelvefold.web.guard import Guard
from twelvefold.web.ports import bind
from twelvefold.web.server import Server
from twelvefold.web.socket_routes import Handshake, SocketHandler, SocketRoute

OWNER = key_from_seed(bytes(range(32)))
SOCKET = "/v1/socket"
"""A WebSocket that does nothing; the limiter has none, and its gate stands before all."""


async def _listen(_: Handshake) -> SocketHandler:
    return SocketHandler()


@dataclass
class House:
    """Where the doors are, and with which key."""

    url: str
    grpc_port: int
    resp_port: int
    system: LimiterSystem
    client: httpx2.AsyncClient
    key: str = OWNER
    extras: dict[str, Any] = field(default_factory=dict)

    async def ask(self, method: str, path: str, json: Any = None, **more: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return await self.client.request(method, f"/v1/limiter{path}", json=json, headers=headers, **more)

    async def put_rule(self, name: str, **rule: Any) -> None:
        answer = await self.ask("PUT", f"/rules/{name}", {"rule": rule})
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def open_house(
    database: Database, valkey_url: str, *, data: Any, settings: LimiterSettings | None = None
) -> AsyncIterator[House]:
    clock = SystemClock()
    base = settings or LimiterSettings(answer_ms=5000)
    settings = msgspec.structs.replace(base, grpc_port=free_port(), resp_port=free_port())
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(await Valkey.open(valkey_url))
        await migrate(database, "access", files("twelvefold.web.access") / "schema")
        access = Access(AccessStore(database, valkey), clock, systems=["links", "limiter"])
        await access.ensure_owner(OWNER)
        guard = Guard(access, clock)
        access.on_change = guard.forget
        engines: Any = SimpleNamespace(database=database, valkey=valkey)
        system = await LimiterSystem.open(
            engines,
            settings=settings,
            clock=clock,
            valkey_url=valkey_url,
            processes=1,
            guard=guard,
            keys=access,
        )
        stack.push_async_callback(system.close)
        await system.listen()
        mount = system.mount
        app = Application(
            [mount],
            sockets=(SocketRoute(SOCKET, _listen, scope="limiter:read"),),
            routers=access_routes(access, guard, secure_cookies=False),
            guard=guard,
            gate=system.gate,
            version="0",
        )
        server = Server(
            app,
            sockets=[bind("127.0.0.1", 0)],
            body_lanes={
                f"{method} {path} HTTP/1.1".encode(): lane
                for (method, path), lane in mount.body_lanes.items()
            },
        )
        await server.start()
        stack.push_async_callback(server.stop)
        url = f"http://127.0.0.1:{server.port}"
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=20))
        yield House(url, settings.grpc_port, settings.resp_port, system, client, extras={"access": access})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def raw_exchange(url: str, data: bytes, *, until: bytes) -> bytes:
    """Send bytes, read until `until` has come."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    got = b""
    async with asyncio.timeout(10):
        while until not in got:
            more = await reader.read(65536)
            if not more:
                break
            got += more
    writer.close()
    await writer.wait_closed()
    return got
