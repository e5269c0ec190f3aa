"""One member of a consumer group on a Valkey stream.

Waiting for records blocks a connection, so a consumer has one of its own for that. Everything else
(commit, claim, lag) goes through the log's shared connection.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import structlog

from twelvefold.engines.log.contract import Entry
from twelvefold.engines.log.topic import TopicKeys, TopicLimits, script_source
from twelvefold.engines.valkey import ReplyError, Valkey
from twelvefold.kernel.errors import TwelvefoldError

_COMMIT_AT_ONCE = 500
_NO_GROUP = frozenset(["NOGROUP", "UNBLOCKED"])
_FIRST = "-"

_log = structlog.get_logger("log")


class StreamConsumer:
    """See `contract.Consumer`. `ValkeyStreams.consumer` makes it."""

    def __init__(
        self, valkey: Valkey, url: str, keys: TopicKeys, *, group: str, name: str, limits: TopicLimits
    ) -> None:
        self._valkey = valkey
        self._url = url
        self._keys = keys
        self._group = group
        self._name = name
        self._limits = limits
        self._commit = valkey.script(script_source("commit", "erase"), keys=2)
        self._claim = valkey.script(script_source("claim", "erase"), keys=3)
        self._reader: Valkey | None = None
        self._reading: asyncio.Future[Any] | None = None
        self._recovered_to: str | None = _FIRST
        """Up to where our own past is read again; None once it is all read."""

    async def fetch(self, max_records: int, wait_seconds: float) -> list[Entry]:
        """See `contract.Consumer.fetch`."""
        if self._recovered_to is not None:
            entries = await self._recover(max_records)
            if entries:
                return entries
        try:
            return _entries(await self._read(max_records, wait_seconds))
        except ReplyError as error:
            if error.reply_code not in _NO_GROUP:
                raise
        await self._create_group()
        return _entries(await self._read(max_records, wait_seconds))

    async def commit(self, entries: Iterable[Entry]) -> None:
        """See `contract.Consumer.commit`. Erases what no other group needs."""
        flat: list[str | int] = []
        for entry in entries:
            flat += (entry.position, len(entry.data))
        step = 2 * _COMMIT_AT_ONCE
        keys = [self._keys.stream, self._keys.size]
        await asyncio.gather(
            *(self._commit(keys, [self._group, *flat[at : at + step]]) for at in range(0, len(flat), step))
        )

    async def claim(self, idle_seconds: float, max_records: int = 100) -> list[Entry]:
        """See `contract.Consumer.claim`. What was delivered `max_deliveries` times is set aside instead."""
        return await self._take(int(idle_seconds * 1000), max_records, after=_FIRST, of="")

    async def lag(self) -> int:
        """See `contract.Consumer.lag`."""
        try:
            groups = await self._valkey.call("XINFO", "GROUPS", self._keys.stream)
        except ReplyError:  # no such key
            return 0
        for group in groups:
            if group[b"name"] == self._group.encode() and group[b"lag"] is not None:
                return int(group[b"pending"]) + int(group[b"lag"])
        # Not begun, or the server lost count: what others erased is not there, so this is the most it can be.
        return int(await self._valkey.call("XLEN", self._keys.stream))

    async def close(self) -> None:
        """See `contract.Consumer.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.abort()
        if self._reading is not None:
            with contextlib.suppress(TwelvefoldError, asyncio.CancelledError):
                await self._reading
            self._reading = None
        with contextlib.suppress(TwelvefoldError):
            stream, group, name = self._keys.stream, self._group, self._name
            if not await self._valkey.call("XPENDING", stream, group, "-", "+", 1, name):
                await self._valkey.call("XGROUP", "DELCONSUMER", stream, group, name)

    async def _recover(self, max_records: int) -> list[Entry]:
        """What an earlier consumer of our name was given and has not committed."""
        assert self._recovered_to is not None
        if self._recovered_to == _FIRST:
            await self._create_group()
        entries = await self._take(0, max_records, after=self._recovered_to, of=self._name)
        self._recovered_to = f"({entries[-1].position}" if entries else None
        return entries

    async def _create_group(self) -> None:
        try:
            await self._valkey.call("XGROUP", "CREATE", self._keys.stream, self._group, "0", "MKSTREAM")
        except ReplyError as error:
            if error.reply_code != "BUSYGROUP":
                raise

    async def _take(self, idle_ms: int, max_records: int, *, after: str, of: str) -> list[Entry]:
        limits = (self._limits.max_deliveries, self._limits.max_dead_letters)
        keys = [self._keys.stream, self._keys.size, self._keys.dead]
        args: list[str | int] = [self._group, self._name, idle_ms, max_records, *limits, after, of]
        try:
            claimed, set_aside, stuck = await self._claim(keys, args)
        except ReplyError as error:
            if "NOGROUP" not in str(error):
                raise
            return []
        if set_aside or stuck:
            _log.warning(
                "log.records.set_aside", topic=self._keys.stream, set_aside=set_aside, no_room_for=stuck
            )
        return [Entry(position.decode(), data, deliveries) for position, data, deliveries in claimed]

    async def _read(self, max_records: int, wait_seconds: float) -> Any:
        """One XREADGROUP. If its caller is cancelled it goes on, and the next caller gets its reply."""
        if self._reading is None:
            if self._reader is None:
                self._reader = await Valkey.open(
                    self._url, name=self._valkey.name, deadline_seconds=self._valkey.deadline_seconds
                )
            wait = ("BLOCK", max(1, int(wait_seconds * 1000))) if wait_seconds > 0 else ()
            self._reading = asyncio.ensure_future(
                self._reader.call(
                    *("XREADGROUP", "GROUP", self._group, self._name, "COUNT", max_records),
                    *(*wait, "STREAMS", self._keys.stream, ">"),
                    deadline_seconds=wait_seconds + self._valkey.deadline_seconds,
                )
            )
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None


def _entries(reply: Any) -> list[Entry]:
    """`{stream: [[position, [b"d", data]], …]}` or None."""
    if not reply:
        return []
    (records,) = reply.values()
    return [Entry(position.decode(), pairs[1], 1) for position, pairs in records]
