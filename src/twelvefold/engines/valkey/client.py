"""The Valkey client that systems use: one connection for all callers of a process.

Commands of one turn of the event loop leave in one write; replies come as bytes. Errors: `ReplyError`
when the server refuses a command, `EngineUnavailableError` when it is down, late or not able to serve,
`OverloadedError` when too much is in flight. Calls are never queued while it is down (see `Connection`).

A command that blocks (BLPOP, XREAD BLOCK, WAITAOF) holds the replies of everyone behind it: open a
client of its own for those.
"""

import asyncio
from collections.abc import Iterable
from typing import Self

from twelvefold.engines.valkey.address import parse_address
from twelvefold.engines.valkey.cluster import Cluster, Redirect
from twelvefold.engines.valkey.cluster_subscription import ClusterSubscription
from twelvefold.engines.valkey.connection import Connection
from twelvefold.engines.valkey.errors import ReplyError
from twelvefold.engines.valkey.script import Script
from twelvefold.engines.valkey.subscription import OnGap, OnMessage, Subscription


class Valkey:
    """A client for one server or one cluster. `open` makes it.

    `send_with(callback, *args)`, `send(*args)` (a future) and `await call(*args, deadline_seconds=None)` are
    the connection's own methods: see `Pipeline` for what they promise and raise.
    """

    def __init__(self, connection: Connection | Cluster) -> None:
        self._connection = connection
        # Bound here, not delegated: a further call would cost a tenth of a command.
        self.send_with = connection.send_with
        self.send_now_with = connection.send_now_with
        self.send = connection.send
        self.call = connection.call

    @classmethod
    async def open(cls, url: str, *, name: str = "valkey", deadline_seconds: float = 1.0) -> Self:
        """Connect to `unix:///path`, `valkey://[user:password@]host[:port][/database]` or `…?cluster=true`.

        Raises:
            EngineUnavailableError: nothing answers there within the deadline, or a second if that is more.
            ConfigurationError: the URL cannot be used, or the server does not let us in.
        """
        address = parse_address(url)
        kind = Cluster if address.cluster else Connection
        connection = kind(address, name=name, deadline_seconds=deadline_seconds)
        await connection.open()
        return cls(connection)

    @property
    def name(self) -> str:
        """Of the engine, in errors."""
        return self._connection.name

    @property
    def deadline_seconds(self) -> float:
        """How long a command may take."""
        return self._connection.deadline_seconds

    @property
    def connected(self) -> bool:
        """Whether calls are taken: the server is connected and answers in time."""
        return self._connection.connected

    def script(self, source: str, *, keys: int) -> Script:
        """Bind Lua source to this client; the result is called with `keys=[…], args=[…]` and awaited."""
        return Script(self, source, keys=keys)

    async def subscribe(
        self,
        channels: Iterable[str | bytes],
        on_message: OnMessage,
        *,
        on_gap: OnGap,
        sharded: bool = False,
    ) -> Subscription | ClusterSubscription:
        """Receive what is published to `channels`, on a connection of its own, at most once.

        Args:
            channels: to begin with; may be none.
            on_message: called with channel and payload. What it raises is logged and harms nobody.
            on_gap: called after a reconnection: what was published in between is missing.
            sharded: use channels that live in one slot each (SPUBLISH), which scale with a cluster.
        """
        connection = self._connection
        names = [channel.encode() if isinstance(channel, str) else channel for channel in channels]
        if isinstance(connection, Cluster):
            return await ClusterSubscription.open(
                connection, names, on_message, on_gap=on_gap, sharded=sharded
            )
        return await Subscription.open(
            connection.address,
            names,
            on_message,
            on_gap=on_gap,
            name=connection.name,
            deadline_seconds=connection.deadline_seconds,
            sharded=sharded,
        )

    @property
    def nodes(self) -> list[Connection]:
        """A connection for each server that holds keys."""
        connection = self._connection
        return list(connection.primaries) if isinstance(connection, Cluster) else [connection]

    def node_of(self, key: bytes) -> Connection:
        """The connection to the server that has `key` now, for commands that must go there together.

        What it replies is not followed: on `ReplyError` with MOVED, call `moved` and begin again.
        """
        connection = self._connection
        return connection.node_of(key) if isinstance(connection, Cluster) else connection

    def moved(self, error: ReplyError, asked: Connection) -> bool:
        """Learn from an error reply of `node_of`'s connection; whether the key has another node now."""
        redirect = Redirect.of(error)
        if redirect is None or redirect.is_ask or not isinstance(self._connection, Cluster):
            return False
        self._connection.follow(redirect, asked)
        return True

    async def wait_connected(self, deadline_seconds: float) -> None:
        """Wait until calls are taken (again). Raises `EngineUnavailableError` after the deadline."""
        await self._connection.wait_connected(deadline_seconds)

    async def ping(self) -> float:
        """Seconds that a round trip takes now. Raises `EngineUnavailableError`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.call("PING")
        return loop.time() - began

    async def abort(self) -> None:
        """Disconnect without waiting; what is in flight gets an error."""
        await self._connection.abort()

    async def close(self) -> None:
        """Wait for what is in flight, and disconnect."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
