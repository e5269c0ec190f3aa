"""Channels on Valkey pub/sub, sharded on request.

A process has one connection for all the channels it listens to, and one subscription for a channel
however many listen: the first subscriber makes it, the last to leave ends it. Sharded channels
(SPUBLISH) live in one slot each; in a cluster they do not travel to every node, so they scale with it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from twelvefold.engines.realtime.contract import OnGap, OnMessage
from twelvefold.engines.valkey import ClusterSubscription, Subscription, Valkey
from twelvefold.engines.valkey.flight import FailureReport

_log = structlog.get_logger("realtime")


class ChannelSubscriber:
    """See `contract.Subscriber`."""

    __slots__ = ("_leave", "channel", "on_gap", "on_message")

    def __init__(
        self,
        channel: bytes,
        on_message: OnMessage,
        on_gap: OnGap,
        leave: Callable[["ChannelSubscriber"], None],
    ) -> None:
        self.channel = channel
        self.on_message = on_message
        self.on_gap = on_gap
        self._leave = leave

    def close(self) -> None:
        """See `contract.Subscriber.close`."""
        self._leave(self)


class ValkeyPubSub:
    """See `contract.Realtime`. `open` makes it.

    Attributes:
        lost: messages that were accepted by `publish` and then not sent, or not known to be.
    """

    def __init__(self, valkey: Valkey, *, sharded: bool) -> None:
        self._valkey = valkey
        self._verb = "SPUBLISH" if sharded else "PUBLISH"
        self._report = FailureReport(valkey.name, asyncio.get_running_loop(), "realtime.subscriber.failed")
        self._subscription: Subscription | ClusterSubscription | None = None
        self._subscribers: dict[bytes, list[ChannelSubscriber]] = {}
        self._joining: dict[bytes, asyncio.Task[None]] = {}
        self.lost = 0

    @classmethod
    async def open(cls, valkey: Valkey, *, sharded: bool = False) -> "ValkeyPubSub":
        """Listen through the server that `valkey` speaks to, and publish through `valkey` itself.

        Raises like `Valkey.subscribe`. `close` leaves `valkey` open.
        """
        realtime = cls(valkey, sharded=sharded)
        realtime._subscription = await valkey.subscribe(
            [], realtime._deliver, on_gap=realtime._tell_gap, sharded=sharded
        )
        return realtime

    @property
    def connected(self) -> bool:
        """See `contract.Realtime.connected`."""
        return self._valkey.connected and self._listening.connected

    @property
    def channels(self) -> int:
        """How many channels this process listens to."""
        return len(self._subscribers)

    def publish(self, channel: bytes, payload: bytes) -> None:
        """See `contract.Realtime.publish`."""
        self._valkey.send_with(self._published, self._verb, channel, payload)

    async def subscribe(self, channel: bytes, on_message: OnMessage, *, on_gap: OnGap) -> ChannelSubscriber:
        """See `contract.Realtime.subscribe`."""
        subscriber = ChannelSubscriber(channel, on_message, on_gap, self._leave)
        self._subscribers.setdefault(channel, []).append(subscriber)
        joining = self._joining.get(channel)
        if joining is None:
            joining = self._joining[channel] = asyncio.create_task(self._join(channel))
        try:
            # Shielded, because the first to come may leave while others wait for the same word.
            await asyncio.shield(joining)
        except BaseException:
            self._leave(subscriber)
            raise
        return subscriber

    async def close(self) -> None:
        """End all subscriptions."""
        self._subscribers.clear()
        await self._listening.close()
        await asyncio.gather(*self._joining.values(), return_exceptions=True)

    @property
    def _listening(self) -> Subscription | ClusterSubscription:
        assert self._subscription is not None
        return self._subscription

    async def _join(self, channel: bytes) -> None:
        try:
            await self._listening.add(channel)
        finally:
            del self._joining[channel]
            if channel not in self._subscribers:  # all left meanwhile
                self._listening.remove(channel)

    def _leave(self, subscriber: ChannelSubscriber) -> None:
        subscribers = self._subscribers.get(subscriber.channel, [])
        if subscriber not in subscribers:
            return
        subscribers.remove(subscriber)
        subscriber.on_message = subscriber.on_gap = _nothing  # it may be next in a delivery under way
        if not subscribers:
            del self._subscribers[subscriber.channel]
            if subscriber.channel not in self._joining:
                self._listening.remove(subscriber.channel)

    def _deliver(self, channel: bytes, payload: bytes) -> None:
        for subscriber in tuple(self._subscribers.get(channel, ())):
            try:
                subscriber.on_message(payload)
            except Exception:  # noqa: BLE001 one subscriber's bug must not reach the others
                self._report()

    def _tell_gap(self) -> None:
        _log.warning("realtime.channel.gap", channels=len(self._subscribers))
        for subscribers in tuple(self._subscribers.values()):
            for subscriber in tuple(subscribers):
                try:
                    subscriber.on_gap()
                except Exception:  # noqa: BLE001 as above
                    self._report()

    def _published(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self.lost += 1


def _nothing(*_args: object) -> None:
    """Take the place of a subscriber that has left."""
