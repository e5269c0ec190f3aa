"""Watched links in Valkey, and the channel that reaches their watchers."""

from collections.abc import Sequence

from twelvefold.engines.realtime import Realtime
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

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Send each payload to its channel."""
        for name, payload in messages:
            await self._realtime.publish(name, payload)
