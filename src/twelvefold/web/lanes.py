"""Lanes: what a system provides to answer hot requests, and what a process keeps for them."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twelvefold.web.hall import Hall
from twelvefold.web.histogram import LaneTimings

Done = Callable[[bytes | None], None]

MAX_KNOWN_TAILS: Final = 8_192
MAX_KNOWN_TAIL_BYTES: Final = 2 * 1024
"""Together they bound what the cache of judged tails can hold, at some 20 MB."""


class LaneContext(Protocol):
    """What a lane knows about one tail: the host, the client and its headers, read once."""

    def answer(self, segment: bytes, /) -> bytes | None:
        """The whole response for `GET /segment`, or None. Synchronous, at most a few microseconds.

        `segment` is unchecked: anything may stand in it. Answer only what you know by exact match, and
        count it: what you return is written at once. None: `start` is asked.
        """

    def start(self, segment: bytes, done: Done, /) -> bool:
        """Begin to make the answer for a well-formed `segment`; False sends it down the ordinary path.

        After True, call `done` exactly once, with the response or with None for the ordinary path. It
        may be called at any time, also before `start` returns and after the client has gone; it never
        raises. Bound the wait yourself: the connection answers nothing else meanwhile.
        """


class Lane(Protocol):
    """A system's hot requests: `GET` of one path segment at the root."""

    def context(self, host: bytes, tail: bytes, client: str) -> LaneContext | None:
        """Judge a new `tail`; None sends its requests down the ordinary path.

        `host` is in lower case, `tail` everything from the space before `HTTP/1.1` to the empty line,
        `client` the peer's address without port ("" on a unix socket). Connections of one client may
        share a context.
        """


class BodyLane(Protocol):
    """A system's hot request with a body, registered for one exact method and path."""

    def answer(self, head: bytes, body: bytes, client: str, /) -> bytes | None:
        """The whole response, or None for `start`. `head` ends with the empty line; `body` is complete."""

    def start(self, head: bytes, body: bytes, client: str, done: Done, /) -> bool:
        """As `LaneContext.start`."""


class FastHall(Hall):
    """A hall with lanes.

    Args:
        lane: who answers `GET /segment`.
        timings: gets how long that takes.
        body_lanes: by request line as sent, `b"POST /v1/limiter/check HTTP/1.1"`.
    """

    __slots__ = ("body_lanes", "known_tails", "lane", "timings")

    def __init__(
        self,
        *args: Any,
        lane: Lane | None = None,
        body_lanes: Mapping[bytes, BodyLane] | None = None,
        timings: LaneTimings | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.lane = lane
        self.body_lanes = dict(body_lanes or {})
        self.timings = timings or LaneTimings()
        self.known_tails = TailCache()


class KnownTails(dict[bytes, LaneContext]):
    """Contexts of one client address, by the header fields. It lives as long as one of its connections."""

    __slots__ = ("__weakref__",)


class TailCache:
    """Tails that were judged, where a connection carries more than one kind. Bounded over all clients."""

    def __init__(self) -> None:
        self._clients: weakref.WeakValueDictionary[str, KnownTails] = weakref.WeakValueDictionary()
        self._count = 0

    def add(self, client: str, tail: bytes, context: LaneContext) -> KnownTails:
        """Remember one; returns all of that client."""
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = KnownTails()
        if len(tail) <= MAX_KNOWN_TAIL_BYTES:
            known[tail.partition(b"\r\n")[2]] = context
            self._count += 1
            if self._count > MAX_KNOWN_TAILS:
                self._forget()
        return known

    def _forget(self) -> None:
        everything = list(self._clients.values())
        self._count = sum(map(len, everything))
        if self._count > MAX_KNOWN_TAILS // 2:
            for known in everything:
                known.clear()
            self._count = 0
