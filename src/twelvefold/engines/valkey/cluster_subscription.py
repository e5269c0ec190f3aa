"""Channels of a cluster: each on the node that has it, moved along when its slot moves.

A sharded channel belongs to the primary of its slot. A plain one travels to every node, so all of them
share the connection to one. Whenever a channel had to change its node, `on_gap` is called once it works
again, as after any reconnection.
"""

import asyncio
from collections.abc import Collection, Iterable

import structlog

from twelvefold.engines.valkey.cluster import MAX_HOPS, Cluster, Node, Redirect
from twelvefold.engines.valkey.errors import ReplyError
from twelvefold.engines.valkey.subscription import ChannelConnection, OnGap, OnMessage
from twelvefold.kernel.errors import EngineUnavailableError, TwelvefoldError

_MOVE_AGAIN_SECONDS = 0.1

_log = structlog.get_logger("valkey")


class ClusterSubscription:
    """Like `Subscription`, for the nodes of a cluster. `open` makes it."""

    def __init__(self, cluster: Cluster, on_message: OnMessage, *, on_gap: OnGap, sharded: bool) -> None:
        self._cluster = cluster
        self._on_message = on_message
        self._on_gap = on_gap
        self._is_sharded = sharded
        self._wanted: set[bytes] = set()
        self._connections: dict[tuple[str, int], ChannelConnection] = {}
        self._home: tuple[str, int] | None = None
        self._changed = asyncio.Event()
        self._opening = asyncio.Lock()
        self._unlisten = cluster.listen(self._changed.set)
        self._mover = asyncio.create_task(self._move(), name=f"{cluster.name}: move channels")

    @classmethod
    async def open(
        cls,
        cluster: Cluster,
        channels: Iterable[bytes],
        on_message: OnMessage,
        *,
        on_gap: OnGap,
        sharded: bool,
    ) -> "ClusterSubscription":
        """Subscribe. Raises like `add`."""
        subscription = cls(cluster, on_message, on_gap=on_gap, sharded=sharded)
        try:
            await subscription.add(*channels)
        except BaseException:
            await subscription.close()
            raise
        return subscription

    @property
    def connected(self) -> bool:
        """Whether the messages of all channels arrive now."""
        return self._cluster.connected and not self._misplaced()

    async def add(self, *channels: bytes) -> None:
        """See `Subscription.add`."""
        fresh = set(channels) - self._wanted
        self._wanted |= fresh
        try:
            await self._place(channels)
        except BaseException:
            self.remove(*fresh)
            raise

    def remove(self, *channels: bytes) -> None:
        """See `Subscription.remove`."""
        self._wanted -= set(channels)
        for connection in self._connections.values():
            connection.remove(channels)

    async def close(self) -> None:
        """See `Subscription.close`."""
        self._unlisten()
        self._mover.cancel()
        await asyncio.wait([self._mover])
        await asyncio.gather(*(connection.close() for connection in self._connections.values()))

    async def _place(self, channels: Collection[bytes]) -> None:
        """Subscribe each at its node, where it is not already; follow those that have moved."""
        for _ in range(MAX_HOPS):
            by_node: dict[tuple[str, int], list[bytes]] = {}
            for channel in channels:
                by_node.setdefault(self._node_of(channel), []).append(channel)
            has_moved = False
            for where, some in by_node.items():
                connection = await self._connection(where)
                try:
                    await connection.add(some)
                except ReplyError as error:
                    redirect = Redirect.of(error)
                    if redirect is None:
                        raise
                    self._cluster.follow(redirect, connection)
                    has_moved = True
            if not has_moved:
                return
        raise EngineUnavailableError(self._cluster.name, "the cluster keeps redirecting a channel")

    def _node_of(self, channel: bytes) -> tuple[str, int]:
        if self._is_sharded:
            return _where(self._cluster.node_of(channel))
        primaries = {_where(node): node for node in self._cluster.primaries}
        home = primaries.get(self._home) if self._home else None
        if home is None or not home.connected:
            self._home = _where(self._cluster.any_node())
        assert self._home is not None
        return self._home

    async def _connection(self, where: tuple[str, int]) -> ChannelConnection:
        async with self._opening:
            connection = self._connections.get(where)
            if connection is None:
                address = next(node.address for node in self._cluster.primaries if _where(node) == where)
                connection = ChannelConnection(
                    address,
                    self._on_message,
                    on_gap=self._on_gap,
                    on_moved=lambda _channel: self._changed.set(),
                    name=self._cluster.name,
                    deadline_seconds=self._cluster.deadline_seconds,
                    sharded=self._is_sharded,
                )
                try:
                    await connection.open()
                except BaseException:
                    await connection.close()
                    raise
                self._connections[where] = connection
            return connection

    def _misplaced(self) -> set[bytes]:
        """Channels that are not subscribed at the node that has them, or whose connection is down."""
        misplaced = set()
        for channel in self._wanted:
            try:
                connection = self._connections.get(self._node_of(channel))
            except EngineUnavailableError:
                connection = None
            if connection is None or not connection.connected or channel not in connection.channels:
                misplaced.add(channel)
        return misplaced

    async def _move(self) -> None:
        """Put channels where the map says, whenever it changed or a node gave one up."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            misplaced = self._misplaced()
            if not misplaced:
                continue
            try:
                for channel in misplaced:
                    home = self._node_of(channel)
                    for where, connection in self._connections.items():
                        if where != home:
                            connection.remove([channel])
                await self._place(misplaced)
                await self._leave_unused()
            except TwelvefoldError as error:
                _log.warning("valkey.channels.unplaced", engine=self._cluster.name, reason=str(error))
                await asyncio.sleep(_MOVE_AGAIN_SECONDS)
                self._changed.set()
            else:
                self._on_gap()

    async def _leave_unused(self) -> None:
        """Close connections that carry nothing, so that a dead node is not dialled for ever."""
        for where, connection in tuple(self._connections.items()):
            if not connection.channels:
                del self._connections[where]
                await connection.close()


def _where(node: Node) -> tuple[str, int]:
    return node.address.host, node.address.port
