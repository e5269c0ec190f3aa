"""The near-cache: what this process remembers of codes, ready to be sent.

Invariants: nothing below a version that was announced is served or filled; a fill that began before
a gap in the announcements is dropped; it never holds more than its bound. Two generations stand in
for "least recently used": when the young one is full it becomes the old one, and what is still asked
for moves back. Unknown codes are remembered apart, so that a scan of random codes evicts no link.
"""

from collections.abc import Callable

from twelvefold.systems.links.contracts import Destination
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.store.cache import NEVER, decode

Entry = tuple[bytes | None, int, float, Destination]
"""`(answer or None, link id, moment of expiry in seconds, destination)`"""

MISSING_SECONDS = 5.0
FLOOR_SECONDS = 60.0


class Space:
    """The codes of one domain."""

    __slots__ = ("domain_id", "ignore_case", "old", "young")

    def __init__(self, domain_id: int, *, ignore_case: bool) -> None:
        self.domain_id = domain_id
        self.ignore_case = ignore_case
        self.young: dict[bytes, Entry] = {}
        self.old: dict[bytes, Entry] = {}


class NearCache:
    """Bounded memory of destinations over all domains.

    Args:
        max_entries: how many links and, apart, how many unknown codes are remembered.
        monotonic: seconds; the lives of floors and unknown codes are counted with it.
    """

    def __init__(self, max_entries: int, monotonic: Callable[[], float]) -> None:
        self._half = max(1, max_entries // 2)
        self._monotonic = monotonic
        self._spaces: dict[int, Space] = {}
        self._missing: dict[tuple[int, bytes], float] = {}
        self._floors: dict[tuple[int, bytes], int] = {}
        self._old_floors: dict[tuple[int, bytes], int] = {}
        self._floors_turned = monotonic()
        self._generation = 0
        self._creations = 0
        self.enabled = max_entries > 0

    def space(self, domain_id: int, *, ignore_case: bool = False) -> Space:
        """The domain's part, made when first asked for."""
        space = self._spaces.get(domain_id)
        if space is None:
            space = self._spaces[domain_id] = Space(domain_id, ignore_case=ignore_case)
        return space

    def get(self, space: Space, code: bytes) -> Entry | None:
        """What is remembered of a code, moved to the young generation."""
        entry = space.young.get(code)
        if entry is None:
            entry = space.old.pop(code, None)
            if entry is not None:
                self._keep(space, code, entry)
        return entry

    def is_missing(self, space: Space, code: bytes) -> bool:
        """Whether the code was unknown a moment ago."""
        until = self._missing.get((space.domain_id, code))
        return until is not None and self._monotonic() < until

    def ticket(self) -> tuple[int, int]:
        """To be drawn before a read whose result is put in afterwards."""
        return self._generation, self._creations

    def put(self, space: Space, code: bytes, destination: Destination, ticket: tuple[int, int]) -> None:
        """Remember what was read, unless it is older than what was announced meanwhile."""
        if (
            not self.enabled
            or ticket[0] != self._generation
            or self._floor(space, code) > destination.version
        ):
            return
        answer = None
        if destination.plain:
            answer = life.redirect_bytes(destination.redirect, destination.url.encode("ascii"))
        expires = NEVER if destination.expires_at_ms is None else destination.expires_at_ms / 1000
        self._keep(space, code, (answer, destination.link_id, expires, destination))

    def put_plain(self, space: Space, code: bytes, value: bytes, ticket: tuple[int, int]) -> None:
        """Remember a plain destination from the bytes that Valkey holds (see `store/cache.py`)."""
        if self.enabled:
            destination = decode(value)
            if destination is not None:
                self.put(space, code, destination, ticket)

    def put_missing(self, space: Space, code: bytes, ticket: tuple[int, int]) -> None:
        """Remember for a moment that there is no such code; a creation since the read wins."""
        if not self.enabled or ticket != self.ticket() or self._floor(space, code):
            return
        if len(self._missing) >= self._half:
            self._missing.clear()
        self._missing[space.domain_id, code] = self._monotonic() + MISSING_SECONDS

    def invalidate(self, domain_id: int, code: bytes, version: int) -> None:
        """A change was announced: forget what is older, and refuse it from now on."""
        key = (domain_id, code)
        self._missing.pop(key, None)
        self._turn_floors()
        self._floors[key] = max(version, self._floors.get(key, 0))
        space = self._spaces.get(domain_id)
        if space is not None:
            for generation in (space.young, space.old):
                entry = generation.get(code)
                if entry is not None and entry[3].version < version:
                    del generation[code]

    def forget_missing(self) -> None:
        """Many codes were made: any remembered absence may be over."""
        self._creations += 1
        self._missing.clear()

    def forget_all(self) -> None:
        """Announcements may have been missed: trust nothing, neither remembered nor being read."""
        self._generation += 1
        self._creations += 1
        self._missing.clear()
        for space in self._spaces.values():
            space.young = {}
            space.old = {}

    def __len__(self) -> int:
        return sum(len(space.young) + len(space.old) for space in self._spaces.values())

    def _keep(self, space: Space, code: bytes, entry: Entry) -> None:
        space.old.pop(code, None)
        space.young[code] = entry
        if sum(len(each.young) for each in self._spaces.values()) > self._half:
            for each in self._spaces.values():
                each.old = each.young
                each.young = {}

    def _floor(self, space: Space, code: bytes) -> int:
        key = (space.domain_id, code)
        return max(self._floors.get(key, 0), self._old_floors.get(key, 0))

    def _turn_floors(self) -> None:
        if self._monotonic() - self._floors_turned > FLOOR_SECONDS or len(self._floors) > self._half:
            self._old_floors = self._floors
            self._floors = {}
            self._floors_turned = self._monotonic()
