"""Watched links in Valkey, and the channel that reaches their watchers."""

from collections.abc import Sequence

from twelvefold.engines.realtime import Realtime, Subscriber
from twelvefold.engines.realtime.contract import OnGap, OnMessage
from twelvefold.engines.valkey import Valkey

KEY = "links:watched"


class WatchStore:
    """A sorted set of link ids by the moment their watch ends."""

    def __init__(self, valkey: Valkey, realtime: Realtime) -> None:
        self._valkey = valkey
        self._realtime = realtime

    async def watch(self, link_id: int, until_ms: int) -> None:
        """Keep a link watched until a moment."""
        await self._valkey.call("ZADD", KEY, until_ms, link_id)

    async def watched(self, now_ms: int) -> frozenset[int]:
        """The watched links; what has ended is removed."""
        await self._valkey.call("ZREMRANGEBYSCORE", KEY, "-inf", now_ms)
        members = await self._valkey.call("ZRANGE", KEY, 0, 9999)
        return frozenset(int(member) for member in members)

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send each payload to its channel."""
        for channel, payload in messages:
            self._realtime.publish(channel, payload)

    async def subscribe(self, channel: bytes, on_message: OnMessage, *, on_gap: OnGap) -> Subscriber:
        """Hear what is published to a channel from now on."""
        return await self._realtime.subscribe(channel, on_message, on_gap=on_gap)
