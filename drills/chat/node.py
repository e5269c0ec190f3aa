"""A process of the platform with chat alone, on real engines; two of them on one database are two servers.

Tests open it in their own process; drills and benchmarks run it as `python -m drills.chat.node CONFIG`, where
CONFIG is JSON: database, valkey, blobs, name, port, owner_key, and `work` for the worker process.
"""

import asyncio
import json
import secrets
import signal
import sys
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import uvloop

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.database import Database, migrate
from twelvefold.engines.identity import WorkerLease
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock, SystemClock
from twelvefold.kernel.tenancy import TenantId
from twelvefold.platform.chat import ChatSystem, work
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.web.access import key_from_seed
from twelvefold.web.access.routes import access_routes
from twelvefold.web.access.service import Access
from twelvefold.web.access.store import AccessStore
from twelvefold.web.application import Application
from twelvefold.web.guard import ForeignDoor, Guard
from twelvefold.web.hub import Hub
from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind
from twelvefold.web.server import Server, tune_collector

SECRET = b"a secret of the tests, 32 bytes."


class Node:
    """Chat in one process. Made by `open`."""

    chat: ChatSystem
    access: Access
    database: Database
    valkey: Valkey
    url: str
    ws_url: str
    hub: Hub
    server: Server
    stack: AsyncExitStack

    @classmethod
    async def open(
        cls,
        database_url: str,
        valkey_url: str,
        blobs: Path,
        *,
        name: str = "web-0",
        settings: ChatSettings | None = None,
        clock: Clock | None = None,
        owner_key: str | None = None,
        port: int = 0,
    ) -> Self:
        """Connect, migrate, serve on a port of 127.0.0.1 (0: any)."""
        self = cls()
        clock = clock or SystemClock()
        async with AsyncExitStack() as stack:
            self.database = await Database.open(database_url, name=name)
            stack.push_async_callback(self.database.close)
            self.valkey = await Valkey.open(valkey_url)
            stack.push_async_callback(self.valkey.close)
            lease = await WorkerLease.acquire(self.database, clock, holder=name)
            stack.push_async_callback(lease.release)
            await migrate(self.database, "access", files("twelvefold.web.access") / "schema")
            self.access = Access(AccessStore(self.database, self.valkey), clock, systems=("chat",))
            if owner_key:
                await self.access.ensure_owner(owner_key)
            guard = Guard(self.access, clock)
            hub = Hub(asyncio.get_running_loop())
            self.hub = hub
            self.chat = await ChatSystem.open(
                database=self.database,
                valkey=self.valkey,
                blobs=open_blobs(blobs.as_uri()),
                ids=lease.ids,
                settings=settings or ChatSettings(user_messages_per_second=0),
                clock=clock,
                secret=SECRET,
                hub=hub,
                verifier=self.access,
                door=ForeignDoor(guard, None, trusted_proxies=0),
                server=name,
            )
            stack.push_async_callback(self.chat.close)
            mount = self.chat.mount
            server = Server(
                Application(
                    [mount],
                    routers=[*access_routes(self.access, guard, secure_cookies=False)],
                    guard=guard,
                    hub=hub,
                ),
                sockets=[bind("127.0.0.1", port)],
                limits=Limits(body_bytes_by_prefix=dict(mount.body_limits)),
                hub=hub,
                on_drain=[mount.on_drain] if mount.on_drain else [],
            )
            await server.start()
            stack.push_async_callback(server.stop)
            self.server = server
            self.url = f"http://127.0.0.1:{server.port}"
            self.ws_url = f"ws://127.0.0.1:{server.port}"
            self.stack = stack.pop_all()
        return self

    async def close(self) -> None:
        """Drain and let go."""
        await self.stack.aclose()

    def token(self, user: str, **given: Any) -> str:
        """A token of a user of the default tenant."""
        return self.chat.tokens.make(TenantId(1), user, **given)[0]


def new_owner_key() -> str:
    """An API key for `ensure_owner`."""
    return key_from_seed(secrets.token_bytes(32))


async def main(config: dict[str, Any]) -> None:
    """Serve (or work) until SIGTERM; prints a line when ready."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if config.get("work"):
        await _work(config, stop)
        return
    node = await Node.open(
        config["database"],
        config["valkey"],
        Path(config["blobs"]),
        name=config["name"],
        port=config["port"],
        owner_key=config.get("owner_key"),
        settings=ChatSettings(user_messages_per_second=0, push_private_endpoints=True),
    )
    tune_collector()
    print(json.dumps({"url": node.url}), flush=True)
    await stop.wait()
    await node.close()


async def _work(config: dict[str, Any], stop: asyncio.Event) -> None:
    database = await Database.open(config["database"], name=config["name"])
    valkey = await Valkey.open(config["valkey"])
    blobs = open_blobs(Path(config["blobs"]).as_uri())
    working = asyncio.create_task(
        work(
            database=database,
            valkey=valkey,
            blobs=blobs,
            settings=ChatSettings(),
            clock=SystemClock(),
            secret=SECRET,
        )
    )
    print(json.dumps({"url": ""}), flush=True)
    await stop.wait()
    working.cancel()
    await asyncio.wait({working})


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
