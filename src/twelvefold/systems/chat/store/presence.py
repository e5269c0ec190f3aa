"""Who is there, and on which server: sorted sets in Valkey whose members expire. Nothing of it is stored.

A member is `server/connection/device`, its score the moment until which it counts. It is the routing table
(which server holds a user's sockets) and presence at once, so the two cannot disagree.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from twelvefold.engines.valkey import Valkey

LIFE_MS = 30_000
HERE_MS = 60_000


class PresenceStore:
    """See the module. `now_ms` is this process's clock; processes of one platform share a machine or NTP."""

    def __init__(
        self, valkey: Valkey, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._valkey = valkey
        self._now_ms = now_ms

    async def renew(self, connections: Iterable[tuple[str, str]], *, life_ms: int = LIFE_MS) -> None:
        """`(user key, connection)` pairs that are alive."""
        until = self._now_ms() + life_ms
        waiting = []
        for user, connection in connections:
            key = f"chat:on:{user}"
            waiting.append(self._valkey.send("ZADD", key, until, connection))
            waiting.append(self._valkey.send("PEXPIRE", key, life_ms + HERE_MS))
        for reply in waiting:
            await reply

    async def leave(self, user: str, connection: str, *, grace_ms: int) -> None:
        """A connection has ended; it counts for `grace_ms` more, so that a flap is not seen."""
        await self._valkey.call("ZADD", f"chat:on:{user}", "XX", self._now_ms() + grace_ms, connection)

    async def online(self, users: Sequence[str]) -> list[int]:
        """How many connections each has."""
        now = self._now_ms()
        waiting = [self._valkey.send("ZCOUNT", f"chat:on:{user}", f"({now}", "+inf") for user in users]
        return [int(await reply) for reply in waiting]

    async def servers(self, user: str) -> list[str]:
        """Which servers hold sockets of a user: the route."""
        key, now = f"chat:on:{user}", self._now_ms()
        await self._valkey.call("ZREMRANGEBYSCORE", key, "-inf", now)
        members = await self._valkey.call("ZRANGEBYSCORE", key, now, "+inf")
        return sorted({member.decode().partition("/")[0] for member in members})

    async def arrive(self, conversation_id: int, client: str, info: bytes) -> None:
        """A client follows a conversation; renewed like presence."""
        key = f"chat:here:{conversation_id}"
        value = msgspec.msgpack.encode((self._now_ms() + HERE_MS, info))
        first = self._valkey.send("HSET", key, client, value)
        second = self._valkey.send("PEXPIRE", key, 2 * HERE_MS)
        await first
        await second

    async def depart(self, conversation_id: int, client: str) -> None:
        """It follows it no longer."""
        await self._valkey.call("HDEL", f"chat:here:{conversation_id}", client)

    async def here(self, conversation_id: int) -> dict[str, bytes]:
        """Clients that follow a conversation, and what is known of them."""
        found = await self._valkey.call("HGETALL", f"chat:here:{conversation_id}")
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        now = self._now_ms()
        alive: dict[str, bytes] = {}
        for client, value in pairs:
            until, info = msgspec.msgpack.decode(value, type=tuple[int, bytes])
            if until > now:
                alive[client.decode()] = info
        return alive

    async def first_in(self, key: str, life_ms: int) -> bool:
        """Whether nobody has said `key` within `life_ms`; says it."""
        return await self._valkey.call("SET", f"chat:once:{key}", "1", "NX", "PX", life_ms) is not None

    async def left_ms(self, key: str) -> int:
        """How long what was said under `key` still counts; 0 if it does not."""
        return max(0, int(await self._valkey.call("PTTL", f"chat:once:{key}")))
