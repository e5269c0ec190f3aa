"""The fast lane of redirects: `GET /code` answered from the near-cache, or from Valkey without awaiting.

Invariant: the lane only gives answers that are the same for everybody (plain links that are alive),
records each as a click, and sends the very bytes of the ordinary path. All else it leaves to that path.
"""

from collections.abc import Callable
from time import time
from typing import Any

from twelvefold.systems.links.service.near_cache import NearCache, Space
from twelvefold.systems.links.service.redirects import Click
from twelvefold.systems.links.service.resolver import Resolver
from twelvefold.systems.links.store.cache import DestinationCache, read_plain


class LaneContext:
    """What clicks of one connection share: the domain, the client and the request's head."""

    __slots__ = ("_lane", "_space", "answer", "client", "tail")

    def __init__(self, lane: "RedirectLane", space: Space, client: str, tail: bytes) -> None:
        self._lane = lane
        self._space = space
        self.client = client
        self.tail = tail
        self.answer = self._make_answer(space, lane.record)

    def _make_answer(self, space: Space, record: Callable[[Click], None]) -> Callable[[bytes], bytes | None]:
        """The hot function: one look-up, one reading of the clock, one append."""
        near = self._lane.near

        def answer(segment: bytes) -> bytes | None:
            entry = space.young.get(segment)
            if entry is None:
                entry = near.get(space, segment)
                if entry is None:
                    return None
            now = time()
            response, link_id, expires, _ = entry
            if response is None or now >= expires:
                return None
            record((now, link_id, self))
            return response

        def answer_folded(segment: bytes) -> bytes | None:
            return answer(segment.lower())

        return answer_folded if space.ignore_case else answer

    def start(self, segment: bytes, done: Callable[[bytes | None], None]) -> bool:
        """Ask Valkey for a code that the near-cache does not have."""
        return self._lane.start(
            self, self._space, segment.lower() if self._space.ignore_case else segment, done
        )


class RedirectLane:
    """The lane of one process.

    Args:
        record: takes a click; must be cheap and must not fail.
    """

    def __init__(
        self, resolver: Resolver, near: NearCache, cache: DestinationCache, record: Callable[[Click], None]
    ) -> None:
        self._resolver = resolver
        self.near = near
        self._cache = cache
        self.record = record
        self.answered_by_valkey = 0

    def context(self, host: bytes, tail: bytes, client: str) -> LaneContext | None:
        """A context for one tail; the host decides whose codes these are."""
        domain = self._resolver.domain_of(host.decode("latin-1"))
        return LaneContext(self, self._resolver.space_of(domain), client, tail)

    def start(
        self, context: LaneContext, space: Space, code: bytes, done: Callable[[bytes | None], None]
    ) -> bool:
        """Ask Valkey; `done` gets the response, or None for the ordinary path."""
        near = self.near
        if near.get(space, code) is not None or near.is_missing(space, code) or not self._cache.connected:
            return False
        ticket = near.ticket()

        def got(value: Any) -> None:
            plain = read_plain(value)
            now = time()
            if plain is None or now >= plain[1]:
                done(None)
                return
            self.answered_by_valkey += 1
            if near.enabled:
                near.put_plain(space, code, value, ticket)
            self.record((now, plain[0], context))
            done(plain[2])

        self._cache.get_with(got, space.domain_id, code)
        return True
