"""Live clicks: who watches a link, and what watchers are told.

The worker only speaks of links that somebody watches. A watch is a sorted set in Valkey whose
entries expire, so a browser that vanished costs nothing for longer than its renewal.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.systems.links.store.watches import WatchStore

RENEW_SECONDS = 5
LIFE_MS = 15_000


class LiveClick(msgspec.Struct, frozen=True, kw_only=True):
    """One click as a watcher sees it."""

    at_ms: int
    country: str
    referrer: str
    device: str
    browser: str
    os: str
    bot: bool


class LiveClicks(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch brought for one link."""

    at_ms: int
    clicks: tuple[LiveClick, ...]
    """At most 20; `counted` says how many there were."""
    counted: int
    bots: int


def channel(link_id: int) -> bytes:
    """The realtime channel of a link's clicks."""
    return b"links:%d" % link_id


class Subscriber(Protocol):
    """Somebody who listens."""

    def close(self) -> None:
        """Stop listening."""


class Watches:
    """Keeps who is watched, and tells the watchers."""

    def __init__(self, store: WatchStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def renew(self, link_id: int) -> None:
        """Somebody looks at this link; call again within `LIFE_MS`."""
        await self._store.watch(link_id, self._clock.now_ms() + LIFE_MS)

    async def watched(self) -> frozenset[int]:
        """The links that somebody looks at now."""
        return await self._store.watched(self._clock.now_ms())

    async def listen(self, link_id: int, on_message: Callable[[bytes], None]) -> Subscriber:
        """Hear what the worker says of a link. What is missed in a gap is in the counts."""
        return await self._store.subscribe(channel(link_id), on_message, on_gap=_nothing)

    def tell(self, news: Mapping[int, LiveClicks]) -> None:
        """Publish what a batch brought."""
        self._store.publish(
            [(channel(link_id), msgspec.json.encode(clicks)) for link_id, clicks in news.items()]
        )


def _nothing() -> None:
    return
