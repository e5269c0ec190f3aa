"""Destinations in Valkey: cache-aside, least recently used, each with its version.

Invariant: a stale answer never replaces a newer one. A writer raises a floor (a marker with the new
version) before it commits; a reader who still holds the old row is then refused when it fills. When
the floor cannot be raised, the writer raises the cache epoch in its own transaction instead, which
gives every key a new name. No entry outlives its link: life = min(24 h, time left).

A value is text: 16 digits of version, a letter, and the rest. `P` (a plain redirect) carries id,
expiry, status and address for the fast lane; `D` carries a whole destination; `F` is a floor.
"""

import asyncio
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.links.contracts import Destination
from twelvefold.systems.links.rules import life

FLOOR_MS = 60_000
"""Longer than any reader may hold a row between reading and filling."""
WRITE_DEADLINE_SECONDS = 0.05
"""A writer holds a row lock while it raises a floor; later than this, the epoch is cheaper."""

NEVER = float("inf")
_PLAIN = ord("P")
_PLAIN_HEAD = 54
_NO_EXPIRY = b"0" * 15

_decoder = msgspec.msgpack.Decoder(Destination)
_encoder = msgspec.msgpack.Encoder()


def encode(destination: Destination) -> bytes:
    """A destination as a value."""
    if destination.plain:
        head = b"%016dP%019d%015d%03d" % (
            destination.version,
            destination.link_id,
            destination.expires_at_ms or 0,
            destination.redirect,
        )
        return head + destination.url.encode("ascii")
    return b"%016dD" % destination.version + _encoder.encode(destination)


def decode(value: bytes) -> Destination | None:
    """A value as a destination; None for a floor or for bytes of another make."""
    letter = value[16:17]
    try:
        if letter == b"P":
            return Destination(
                link_id=int(value[17:36]),
                version=int(value[:16]),
                kind="link",
                state="active",
                url=value[54:].decode("ascii"),
                redirect=int(value[51:54]),
                expires_at_ms=int(value[36:51]) or None,
            )
        if letter == b"D":
            return _decoder.decode(value[17:])
    except (ValueError, msgspec.DecodeError):
        return None
    return None


def read_plain(value: object) -> tuple[int, float, bytes] | None:
    """`(link id, moment of expiry in seconds, the whole answer)` of a plain redirect; None for all else."""
    if type(value) is not bytes or len(value) < _PLAIN_HEAD or value[16] != _PLAIN:
        return None
    expires = value[36:51]
    return (
        int(value[17:36]),
        NEVER if expires == _NO_EXPIRY else int(expires) / 1000,
        life.redirect_bytes(int(value[51:54]), value[54:]),
    )


class DestinationCache:
    """Destinations by domain and code."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        scripts = files("twelvefold.systems.links") / "scripts"
        self._fill = valkey.script((scripts / "fill.lua").read_text(), keys=1)
        self._raise_floor = valkey.script((scripts / "raise_floor.lua").read_text(), keys=1)
        self._prefixes: dict[int, bytes] = {}
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """The generation of keys; the database counts it."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._prefixes.clear()

    @property
    def connected(self) -> bool:
        """Whether asking makes sense now."""
        return self._valkey.connected

    def key(self, domain_id: int, folded: str) -> bytes:
        """The code's key in this epoch."""
        return self._prefix(domain_id) + folded.encode("utf-8", "replace")

    def _prefix(self, domain_id: int) -> bytes:
        prefix = self._prefixes.get(domain_id)
        if prefix is None:
            prefix = self._prefixes[domain_id] = b"l:%d:%d:" % (self._epoch, domain_id)
        return prefix

    async def get(self, domain_id: int, folded: str) -> Destination | None:
        """What is remembered of a code. Raises `EngineUnavailableError` when the cache is away."""
        value = await self._valkey.call("GET", self.key(domain_id, folded))
        return decode(value) if value is not None else None

    def get_with(self, callback: Callable[[Any], None], domain_id: int, code: bytes) -> None:
        """Ask for a code's value without awaiting; `callback` gets the bytes, None or an exception."""
        self._valkey.send_with(callback, b"GET", self._prefix(domain_id) + code)

    async def fill(self, domain_id: int, folded: str, destination: Destination, now_ms: int) -> None:
        """Remember a destination that was read from the database, if nothing newer is known."""
        life_ms = life.cache_ms(destination.expires_at_ms, now_ms)
        if life_ms <= 0:
            return
        try:
            await self._fill(keys=[self.key(domain_id, folded)], args=[encode(destination), life_ms])
        except TwelvefoldError:
            return  # a cache that cannot be filled costs a later reader a query, nothing else

    async def raise_floor(self, domain_id: int, folded: str, version: int) -> bool:
        """Make sure nothing below `version` is served or filled. False if that cannot be promised."""
        try:
            async with asyncio.timeout(WRITE_DEADLINE_SECONDS):
                await self._raise_floor(
                    keys=[self.key(domain_id, folded)], args=[b"%016dF" % version, FLOOR_MS]
                )
        except (TwelvefoldError, TimeoutError):
            return False
        return True
