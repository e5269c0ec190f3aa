"""Channels: what others publish, on a connection of its own.

Delivery is at most once. After every reconnection the channels are subscribed again and then `on_gap`
is called, once: whatever was published in between is missing, and the caller reads it from where the
truth is kept. A connection that has gone silent is found by a ping that nothing follows.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import structlog

from twelvefold.engines.valkey.address import Address
from twelvefold.engines.valkey.connection import Connection
from twelvefold.engines.valkey.flight import resolve
from twelvefold.kernel.errors import EngineUnavailableError

OnMessage = Callable[[bytes, bytes], None]
OnGap = Callable[[], None]

KEEPALIVE_SECONDS = 2.0
_MESSAGES = frozenset([b"message", b"smessage"])
_CONFIRMATIONS = frozenset([b"subscribe", b"ssubscribe"])
_FAREWELLS = frozenset([b"unsubscribe", b"sunsubscribe"])

_log = structlog.get_logger("valkey")


class ChannelConnection(Connection):
    """A connection that carries channels. Replies to nobody in particular are errors and pongs.

    Args:
        on_message: called with channel and payload; what it raises is logged.
        on_gap: called after a reconnection, once the channels are subscribed again.
        on_moved: called when the server itself ended a channel, because its slot went to another node.
        sharded: the channels live in one slot each (SSUBSCRIBE) instead of everywhere.
    """

    def __init__(
        self,
        address: Address,
        on_message: OnMessage,
        *,
        on_gap: OnGap,
        on_moved: Callable[[bytes], None],
        name: str,
        deadline_seconds: float,
        sharded: bool,
    ) -> None:
        super().__init__(address, name=name, deadline_seconds=deadline_seconds)
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_moved = on_moved
        self._subscribe, self._unsubscribe = (
            ("SSUBSCRIBE", "SUNSUBSCRIBE") if sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        )
        self.channels: set[bytes] = set()
        self._confirming: dict[bytes, asyncio.Future[None]] = {}
        self._joining: Counter[bytes] = Counter()
        self._leaving: Counter[bytes] = Counter()
        self._was_connected = False
        self._heard = True
        self._keepalive = self._loop.call_later(KEEPALIVE_SECONDS, self._check_alive)

    async def add(self, channels: Iterable[bytes]) -> None:
        """Subscribe, and wait for the server's word. On any error none of the new ones is subscribed.

        Raises:
            EngineUnavailableError: not connected, or no word within the deadline.
            ReplyError: the server refuses.
        """
        wanted = set(channels)
        fresh = wanted - self.channels
        under_way = [self._confirming[channel] for channel in wanted & self._confirming.keys()]
        if not self.connected:
            raise EngineUnavailableError(self.name, self._fault)
        self.channels |= fresh
        try:
            async with asyncio.timeout(self.deadline_seconds):
                await self._confirm(fresh)
                await self._join(under_way)
        except BaseException as error:
            self.remove(fresh)
            if isinstance(error, TimeoutError):
                raise EngineUnavailableError(self.name, "no word on a subscription") from None
            raise

    def remove(self, channels: Iterable[bytes]) -> None:
        """End subscriptions; a message under way may still come."""
        gone = set(channels) & self.channels
        self.channels -= gone
        if gone and self.connected:
            self._leaving.update(gone)
            self.write_now([(self._unsubscribe, *gone)], [])

    async def close(self) -> None:
        """Disconnect."""
        self._keepalive.cancel()
        self._set_fault("closed")
        await super().close()

    def detach(self, reason: str) -> None:
        """See `Pipeline.detach`."""
        super().detach(reason)
        self._joining.clear()
        self._leaving.clear()
        self._refuse_waiting(EngineUnavailableError(self.name, reason))

    async def on_ready(self) -> None:
        """Subscribe again to everything, then tell of the gap."""
        await self._confirm(self.channels)
        if self._was_connected:
            self._on_gap()
        self._was_connected = True

    def on_push(self, push: list[Any]) -> None:
        """See `Pipeline.on_push`."""
        self._heard = True
        kind = push[0]
        if kind in _MESSAGES:
            self._on_message(push[1], push[2])
        elif kind in _CONFIRMATIONS:
            self._confirmed(push[1])
        elif kind in _FAREWELLS:
            self._ended(push[1])

    def on_stray(self, reply: Any) -> None:
        """A pong, or the refusal of a subscription."""
        self._heard = True
        if isinstance(reply, Exception):
            self._joining.clear()
            self._refuse_waiting(reply)

    def _confirmed(self, channel: bytes) -> None:
        """The word on the oldest of our requests; only that on the newest says how things stand."""
        self._joining[channel] -= 1
        if self._joining[channel] <= 0:
            del self._joining[channel]
            waiter = self._confirming.pop(channel, None)
            if waiter is not None:
                resolve(waiter, None)

    def _ended(self, channel: bytes) -> None:
        if self._leaving[channel] > 0:
            self._leaving[channel] -= 1
        elif channel in self.channels:
            self.channels.discard(channel)
            self._on_moved(channel)
        if self._leaving[channel] == 0:
            del self._leaving[channel]

    async def _confirm(self, channels: Iterable[bytes]) -> None:
        waiters = {channel: self._loop.create_future() for channel in channels}
        self._confirming.update(waiters)
        if not waiters:
            return
        self._joining.update(waiters.keys())
        self.write_now([(self._subscribe, *waiters)], [])
        try:
            await asyncio.gather(*waiters.values())
        finally:
            for channel, waiter in waiters.items():
                waiter.cancel()
                if self._confirming.get(channel) is waiter:
                    del self._confirming[channel]

    async def _join(self, under_way: Collection[asyncio.Future[None]]) -> None:
        """Wait for what another caller subscribes to at this moment."""
        if under_way:
            await asyncio.wait(under_way)
            if any(waiter.cancelled() or waiter.exception() for waiter in under_way):
                raise EngineUnavailableError(self.name, "the same subscription by another has failed")

    def _refuse_waiting(self, error: Exception) -> None:
        waiting, self._confirming = self._confirming, {}
        for waiter in waiting.values():
            resolve(waiter, error)

    def _check_alive(self) -> None:
        self._keepalive = self._loop.call_later(KEEPALIVE_SECONDS, self._check_alive)
        if not self.connected:
            self._heard = True
        elif self._heard:
            self._heard = False
            self.write_now([("PING",)], [])
        else:
            self.broken("it went silent")


class Subscription:
    """Some channels of one server. `Valkey.subscribe` makes it; `add` and `remove` change it."""

    def __init__(self, connection: ChannelConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(
        cls,
        address: Address,
        channels: Iterable[bytes],
        on_message: OnMessage,
        *,
        on_gap: OnGap,
        name: str,
        deadline_seconds: float,
        sharded: bool,
    ) -> "Subscription":
        """Connect and subscribe. Raises like `Connection.open`, and `ReplyError` for a refused channel."""
        connection = ChannelConnection(
            address,
            on_message,
            on_gap=on_gap,
            on_moved=lambda channel: _log.warning("valkey.channel.ended", engine=name, channel=channel),
            name=name,
            deadline_seconds=deadline_seconds,
            sharded=sharded,
        )
        connection.channels = set(channels)
        try:
            await connection.open()
        except BaseException:
            with contextlib.suppress(EngineUnavailableError):
                await connection.close()
            raise
        return cls(connection)

    @property
    def connected(self) -> bool:
        """Whether messages arrive now."""
        return self._connection.connected

    async def add(self, *channels: bytes) -> None:
        """Subscribe to more, and wait for the server's word. See `ChannelConnection.add` for errors."""
        await self._connection.add(channels)

    def remove(self, *channels: bytes) -> None:
        """End subscriptions; a message under way may still come."""
        self._connection.remove(channels)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()
