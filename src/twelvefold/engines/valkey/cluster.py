"""A cluster as one client: each command goes to the node that has its slot.

The map of slots is read at the start and again whenever a node redirects, is lost, or has no successor
yet. A redirected command did not run where it was sent, so following MOVED or ASK cannot run it twice;
nothing else is ever sent again. Commands to one slot keep their order unless the slot is moving.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from twelvefold.engines.valkey.address import Address
from twelvefold.engines.valkey.connection import Connection
from twelvefold.engines.valkey.errors import ReplyError, ServerStateError
from twelvefold.engines.valkey.flight import Entry, FailureReport, answer
from twelvefold.engines.valkey.slots import SLOTS, KeyFinder, key_slot
from twelvefold.engines.valkey.wire import Value
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, TwelvefoldError

MAX_HOPS = 5
_REFRESH_SECONDS = 30.0
_UNSETTLED_SECONDS = 0.25
_AT_MOST_EVERY_SECONDS = 0.05
_TRY_AGAIN_SECONDS = 0.02

_log = structlog.get_logger("valkey")


class Redirect:
    """A MOVED or ASK reply, read."""

    __slots__ = ("is_ask", "node", "slot")

    def __init__(self, error: ReplyError) -> None:
        slot, _, where = error.message.partition(" ")
        host, _, port = where.rpartition(":")
        self.is_ask = error.reply_code == "ASK"
        self.slot = int(slot)
        self.node = (host, int(port))

    @classmethod
    def of(cls, reply: Any) -> "Redirect | None":
        """The redirect that a reply is, if it is one."""
        if isinstance(reply, ReplyError) and reply.reply_code in ("MOVED", "ASK"):
            return cls(reply)
        return None


class Node(Connection):
    """The connection to one node; its loss makes the cluster look at the map."""

    def __init__(
        self, address: Address, *, name: str, deadline_seconds: float, on_lost: Callable[[], None]
    ) -> None:
        super().__init__(address, name=name, deadline_seconds=deadline_seconds)
        self._on_lost = on_lost

    def _set_fault(self, fault: str) -> None:
        super()._set_fault(fault)
        if fault:
            self._on_lost()


class _Hop:
    """A command under way; it follows redirects until its caller gets a reply."""

    __slots__ = ("_args", "_cluster", "_entry", "_expires", "_hops", "node")

    def __init__(
        self, cluster: "Cluster", entry: Entry, args: tuple[Value, ...], node: Node, expires: float
    ) -> None:
        self._cluster = cluster
        self._entry = entry
        self._args = args
        self._expires = expires
        self._hops = 0
        self.node = node

    def __call__(self, reply: Any) -> None:
        redirect = Redirect.of(reply)
        waits = isinstance(reply, ServerStateError) and reply.reply_code == "TRYAGAIN"
        if redirect is None and not waits:
            answer(self._entry, reply, self._cluster.report)
            return
        loop = asyncio.get_running_loop()
        left = self._expires - loop.time()
        self._hops += 1
        if left <= 0 or (redirect is not None and self._hops > MAX_HOPS):
            error = EngineUnavailableError(self._cluster.name, f"the cluster keeps redirecting: {reply}")
            answer(self._entry, error, self._cluster.report)
        elif redirect is None:  # some of its keys have moved already, some not yet
            loop.call_later(_TRY_AGAIN_SECONDS, self._go, False)
        else:
            self.node = self._cluster.follow(redirect, self.node)
            if self.node.connected:
                self._go(redirect.is_ask)
            else:
                self._cluster.spawn(self._go_when_connected(left, is_ask=redirect.is_ask))

    async def _go_when_connected(self, left_seconds: float, *, is_ask: bool) -> None:
        try:
            await self.node.wait_connected(left_seconds)
        except EngineUnavailableError as error:
            answer(self._entry, error, self._cluster.report)
        else:
            self._go(is_ask)

    def _go(self, is_ask: bool) -> None:  # noqa: FBT001 called by the loop, which passes positions
        try:
            send = self.node.send_asking if is_ask else self.node.send_with
            send(self, *self._args)
        except TwelvefoldError as error:
            answer(self._entry, error, self._cluster.report)


class Cluster:
    """The nodes of a cluster. Sends like a `Connection`; `open` before use.

    A command without a key goes to any one node. `primaries` are the nodes that have slots.

    Args:
        seed: any node.
        name: of the engine, in errors.
        deadline_seconds: for each command, and for dialling.
    """

    def __init__(self, seed: Address, *, name: str, deadline_seconds: float) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._seed = seed
        self._loop = asyncio.get_running_loop()
        self.report = FailureReport(name, self._loop)
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._orphans = SLOTS
        self.primaries: frozenset[Node] = frozenset()
        self._finder = KeyFinder([])
        self._turn = itertools.count()
        self._stale = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: set[Callable[[], None]] = set()

    async def open(self) -> None:
        """Read the map and connect to all nodes that have slots.

        Raises:
            EngineUnavailableError: the seed or a node with slots cannot be reached.
            ConfigurationError: the server is not part of a cluster, or does not let us in.
        """
        seed = self._node((self._seed.host, self._seed.port), starts=False)
        try:
            await seed.open()
            self._finder = KeyFinder(await seed.call("COMMAND"))
            await self._read_map(seed)
            await asyncio.gather(*(node.wait_connected(node.dial_seconds) for node in self.primaries))
        except ReplyError as error:
            await self.abort()
            raise ConfigurationError(f"{self.name} at {self._seed} is not a cluster: {error}") from error
        except BaseException:
            await self.abort()
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"{self.name}: keep the map of slots")

    @property
    def connected(self) -> bool:
        """Whether every slot has a node that takes calls."""
        return not self._orphans and all(node.connected for node in self.primaries)

    def send_with(self, callback: Entry, *args: Value) -> None:
        """See `Pipeline.send_with`. Raises `CrossSlotError` too."""
        node = self._node_for(args)
        hop = _Hop(self, callback, args, node, self._loop.time() + self.deadline_seconds)
        node.send_with(hop, *args)

    def send_now_with(self, callback: Entry, *args: Value) -> None:
        """See `Pipeline.send_now_with`. Raises `CrossSlotError` too."""
        node = self._node_for(args)
        hop = _Hop(self, callback, args, node, self._loop.time() + self.deadline_seconds)
        node.send_now_with(hop, *args)

    def send(self, *args: Value) -> asyncio.Future[Any]:
        """See `Pipeline.send`."""
        future = self._loop.create_future()
        self.send_with(future, *args)
        return future

    async def call(self, *args: Value, deadline_seconds: float | None = None) -> Any:
        """See `Pipeline.call`."""
        if deadline_seconds is None:
            return await self.send(*args)
        node = self._node_for(args)
        expires = self._loop.time() + deadline_seconds
        for _ in range(MAX_HOPS):
            left = max(0.0, expires - self._loop.time())
            try:
                return await node.call(*args, deadline_seconds=left)
            except ReplyError as error:
                redirect = Redirect.of(error)
                if redirect is None:
                    raise
            node = self.follow(redirect, node)
            await node.wait_connected(left)
            if redirect.is_ask:
                future = self._loop.create_future()
                node.send_asking(_Hop(self, future, args, node, expires), *args)
                return await future
        raise EngineUnavailableError(self.name, "the cluster keeps redirecting")

    def node_of(self, key: bytes) -> Node:
        """The connection that has a key's slot now; what it replies is not followed."""
        slot = key_slot(key)
        node = self._slots[slot]
        if node is None:
            raise EngineUnavailableError(self.name, f"no node has slot {slot}")
        return node

    def any_node(self) -> Node:
        """Some connection that takes calls, by turns."""
        nodes = [node for node in self._nodes.values() if node.connected]
        if not nodes:
            raise EngineUnavailableError(self.name, "no node is connected")
        return nodes[next(self._turn) % len(nodes)]

    def follow(self, redirect: Redirect, asked: Connection) -> Node:
        """The node that a redirect points to; MOVED also corrects the map."""
        host, port = redirect.node
        node = self._node((host or asked.address.host, port))
        if not redirect.is_ask:
            self._slots[redirect.slot] = node
            self.primaries |= {node}
            self._stale.set()
        return node

    def listen(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` whenever the map was read again; the function returned ends that."""
        self._listeners.add(on_change)
        return lambda: self._listeners.discard(on_change)

    def spawn(self, work: Any) -> None:
        """Run a coroutine that ends by itself within the deadline."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_connected(self, deadline_seconds: float) -> None:
        """See `Connection.wait_connected`: every slot is served."""
        try:
            async with asyncio.timeout(deadline_seconds):
                while not self.connected:  # noqa: ASYNC110 many nodes, no common event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise EngineUnavailableError(self.name, "not every slot has a node that answers") from None

    async def close(self) -> None:
        """See `Connection.close`."""
        await self._stop()
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    async def abort(self) -> None:
        """See `Connection.abort`."""
        await self._stop()
        await asyncio.gather(*(node.abort() for node in self._nodes.values()))

    async def _stop(self) -> None:
        for task in (self._keeper, *self._tasks):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._keeper = None

    def _node_for(self, args: tuple[Value, ...]) -> Node:
        slot = self._finder.slot(args)
        if slot is None:
            return self.any_node()
        node = self._slots[slot]
        if node is None:
            raise EngineUnavailableError(self.name, f"no node has slot {slot}")
        return node

    def _node(self, where: tuple[str, int], *, starts: bool = True) -> Node:
        node = self._nodes.get(where)
        if node is None:
            node = Node(
                self._seed.at(*where),
                name=self.name,
                deadline_seconds=self.deadline_seconds,
                on_lost=self._stale.set,
            )
            self._nodes[where] = node
            if starts:
                node.start()
        return node

    async def _keep(self) -> None:
        while True:
            settled = self.connected
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_SECONDS if settled else _UNSETTLED_SECONDS):
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self._read_map(self.any_node())
            except TwelvefoldError as error:
                _log.warning("valkey.cluster.unread", engine=self.name, reason=str(error))
                self._node((self._seed.host, self._seed.port))  # the one address that was given to us
            await asyncio.sleep(_AT_MOST_EVERY_SECONDS)

    async def _read_map(self, node: Node) -> None:
        ranges = await node.call("CLUSTER", "SLOTS")
        slots: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            host = (primary[0] or b"").decode() or node.address.host
            slots[first : last + 1] = [self._node((host, primary[1]))] * (last + 1 - first)
        self._slots = slots
        self._orphans = slots.count(None)
        self.primaries = frozenset(node for node in slots if node is not None)
        await self._drop_nodes(self.primaries)
        for listener in tuple(self._listeners):
            listener()

    async def _drop_nodes(self, kept: Iterable[Node]) -> None:
        """Leave nodes that have no slots any longer and nothing in flight."""
        kept = set(kept)
        if not kept:
            return
        for where, node in tuple(self._nodes.items()):
            if node not in kept and not node.in_flight:
                del self._nodes[where]
                await node.abort()
