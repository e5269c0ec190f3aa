"""A process of the platform with chat alone, on real engines; two of them on one database are two servers."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.database import Database, migrate
from twelvefold.engines.identity import WorkerLease
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock, SystemClock
from twelvefold.platform.chat import ChatSystem
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.web.access import Access
from twelvefold.web.access.routes import access_routes
from twelvefold.web.access.store import AccessStore
from twelvefold.web.application import Application
from twelvefold.web.guard import Guard
from twelvefold.web.hub import Hub
from twelvefold.web.limits import Limits
from twelvefold.web.ports import bind
from twelvefold.web.server import Server

SECRET = b"a secret of the tests, 32 bytes."
OWNER_KEY = "tf_" + "k" * 43


class Node:
    """See the module. Made by `open`."""

    chat: ChatSystem
    access: Access
    database: Database
    valkey: Valkey
    url: str
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
            )
            await server.start()
            stack.push_async_callback(server.stop)
            self.server = server
            self.url = f"http://127.0.0.1:{server.port}"
            self.ws_url = f"ws://127.0.0.1:{server.port}"
            self.stack = stack.pop_all()
        return self

    async def close(self) -> None:
        await self.stack.aclose()

    def token(self, user: str, **given: Any) -> str:
        return self.chat.tokens.make(1, user, **given)[0]


def new_owner_key() -> str:
    from twelvefold.web.access import key_from_seed

    return key_from_seed(secrets.token_bytes(32))
