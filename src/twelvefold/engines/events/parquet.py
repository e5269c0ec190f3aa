"""Events as Parquet segments in blobs: what `layout` decides, done.

Invariant: see `contract` and `layout`. Everything that several processes may do at once is settled by
creating an object that only one of them can create; nothing here is locked, and a process that dies
anywhere leaves at most garbage, which the next `compact` removes.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from twelvefold.engines.blobs import BlobExistsError, BlobNotFoundError, Blobs
from twelvefold.engines.events import layout
from twelvefold.engines.events.columns import to_parquet
from twelvefold.engines.events.contract import EventQueryDeadlineError, Events, EventTable, check_batch_id
from twelvefold.engines.events.layout import HOUR_MS, Hour, Manifest, ManifestName, Merge, Segment
from twelvefold.engines.events.parallel import parallel_map
from twelvefold.engines.events.reader import DuckReader, SegmentGoneError, relation
from twelvefold.engines.events.segment_files import SegmentFiles
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, OverloadedError

T = TypeVar("T")

log = structlog.get_logger("events")

MAX_MS = 1 << 62

MAX_APPENDS = 64
"""Appends under way; the next is refused."""

MAX_LISTED_DAYS = 62
"""Up to here a query lists the days it needs; above, the whole table at once."""

PLANS = 5
"""How often a query plans again because a segment went away under it."""

MERGE_DEADLINE_SECONDS = 600.0
"""Far below `layout.ORPHAN_MS`, after which an uncommitted merge would be taken for garbage."""

RECENT_MS = 48 * HOUR_MS
"""What `compact` looks at, except for the first time in a process, when it looks at all."""

CACHED_MANIFESTS = 4096
PARALLEL_READS = 16
DELETE_CHUNK = 1000


class EventsConfig(msgspec.Struct, frozen=True):
    """Section `events` of the configuration."""

    memory_limit_mb: int = 256
    """What all queries and merges of one process may take; sorts above it spill to disk."""
    threads: int = 2
    cache_mb: int = 1024
    """Disk for downloaded segments, where `blobs` is not a directory."""


class ParquetEvents(Events):
    """Events over any `Blobs`.

    Args:
        tables: what exists; unknown names are a programming error.
        scratch: a folder of this process alone; what is in it may vanish.
        root: the first segments of all keys.
    """

    def __init__(
        self,
        blobs: Blobs,
        tables: Iterable[EventTable],
        clock: Clock,
        *,
        scratch: Path,
        config: EventsConfig | None = None,
        root: str = "events",
    ) -> None:
        config = config or EventsConfig()
        self._blobs = blobs
        self._tables = {table.name: table for table in tables}
        self._clock = clock
        self._root = root
        self._files = SegmentFiles(blobs, scratch / "segments", limit_bytes=config.cache_mb << 20)
        folder = blobs.local_path(root) or scratch / "segments"
        if set("*?[") & {*str(folder), *str(scratch)}:
            raise ConfigurationError(f"events: DuckDB would take {folder} for a pattern; use no *, ? or [")
        self._reader = DuckReader(
            [folder],
            scratch / "duckdb",
            memory_limit_bytes=config.memory_limit_mb << 20,
            threads=config.threads,
        )
        self._manifests: dict[str, Manifest] = {}
        self._appends = 0
        self._compacting = {name: asyncio.Lock() for name in self._tables}
        self._swept: set[str] = set()

    async def append(self, table: str, columns: Mapping[str, Any], *, batch_id: str) -> None:
        """See `Events.append`."""
        declared = self._table(table)
        check_batch_id(batch_id)
        if self._appends >= MAX_APPENDS:
            raise OverloadedError("too many batches are being stored already", retry_after_seconds=1.0)
        self._appends += 1
        try:
            files = await asyncio.to_thread(lambda: list(to_parquet(declared, columns)))
            for hour_ms, data in files:
                key = layout.loose_key(self._root, table, hour_ms, batch_id)
                with suppress(BlobExistsError):  # the same batch again
                    await self._blobs.put(key, data, if_absent=True)
        finally:
            self._appends -= 1

    async def query(
        self,
        sql: str,
        table: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        deadline_seconds: float,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """See `Events.query`."""
        declared = self._table(table)
        if "{events}" not in sql:
            raise ValueError("the SQL has no {events} to read from")
        try:
            async with asyncio.timeout(deadline_seconds):
                for _ in range(PLANS):
                    with suppress(SegmentGoneError, BlobNotFoundError):
                        keys = await self._live(table, from_ms, to_ms)
                        files = await self._files.paths(keys)
                        statement = sql.replace("{events}", relation(declared, files, from_ms, to_ms))
                        return await self._reader.select(statement, params, deadline_seconds=deadline_seconds)
        except TimeoutError as error:
            raise EventQueryDeadlineError(deadline_seconds) from error
        raise EngineUnavailableError("events", "segments keep going away while they are read")

    async def compact(self, table: str) -> int:
        """See `Events.compact`."""
        declared = self._table(table)
        merges = 0
        async with self._compacting[table]:
            # Garbage is judged by the time of the listing: what was written after it cannot be in it.
            now_ms = self._clock.now_ms()
            bounds = (now_ms - RECENT_MS, now_ms + RECENT_MS) if table in self._swept else (None, None)
            for hour in await self._hours(table, *bounds):
                merge = layout.next_merge(hour, now_ms)
                if merge is not None:
                    merges += await self._merge(declared, hour, merge)
                await self._delete(layout.garbage(hour, now_ms))
            self._swept.add(table)
        return merges

    async def forget(self, table: str, before_ms: int) -> int:
        """See `Events.forget`."""
        self._table(table)
        before_ms = before_ms // HOUR_MS * HOUR_MS
        with suppress(BlobExistsError):  # forgotten before; what was appended since goes now
            await self._blobs.put(layout.mark_key(self._root, table, before_ms), b"", if_absent=True)
        manifests = await self._list(layout.manifest_folder(self._root, table), layout.parse_manifest)
        segments = await self._list(layout.segment_folder(self._root, table), layout.parse_segment)
        doomed = [name.key for name in manifests if name.hour_ms < before_ms]
        doomed += [name.key for name in segments if name.hour_ms < before_ms]
        await self._delete(doomed)
        marks = [info.key async for info in self._blobs.list(layout.mark_folder(self._root, table))]
        await self._delete([key for key in marks if layout.parse_mark(key) < before_ms])
        return len(doomed)

    async def ping(self) -> float:
        """See `Events.ping`."""
        return await self._blobs.ping()

    async def close(self) -> None:
        """See `Events.close`."""
        await self._reader.close()

    def _table(self, name: str) -> EventTable:
        if name not in self._tables:
            raise ValueError(f"no table '{name}'; known: {', '.join(sorted(self._tables))}")
        return self._tables[name]

    async def _live(self, table: str, from_ms: int | None, to_ms: int | None) -> list[str]:
        first_ms = 0 if from_ms is None else from_ms
        end_ms = MAX_MS if to_ms is None else to_ms
        return [
            key for hour in await self._hours(table, from_ms, to_ms) for key in hour.live(first_ms, end_ms)
        ]

    async def _hours(self, table: str, from_ms: int | None, to_ms: int | None) -> list[Hour]:
        """What is there, in the order that `layout` demands: segments, then manifests and marks."""
        started = self._clock.monotonic()
        days = _days(from_ms, to_ms)
        segments = await self._list_days(layout.segment_folder(self._root, table), days, layout.parse_segment)
        manifests = await self._list_days(
            layout.manifest_folder(self._root, table), days, layout.parse_manifest
        )
        marks = [info.key async for info in self._blobs.list(layout.mark_folder(self._root, table))]
        if self._clock.monotonic() - started > layout.GRACE_MS / 2000:
            raise EngineUnavailableError("events", "listing the segments took too long")
        begin_ms = max([from_ms or 0, *map(layout.parse_mark, marks)])
        end_ms = MAX_MS if to_ms is None else to_ms
        segments = [name for name in segments if begin_ms < name.hour_ms + HOUR_MS and name.hour_ms < end_ms]
        newest: dict[int, ManifestName] = {}
        for name in manifests:
            if begin_ms < name.hour_ms + HOUR_MS and name.hour_ms < end_ms:
                newest[name.hour_ms] = max(
                    name, newest.get(name.hour_ms, name), key=lambda each: each.version
                )
        read = await parallel_map(self._manifest, newest.values(), limit=PARALLEL_READS)
        old = [name for name in manifests if name.hour_ms in newest and name is not newest[name.hour_ms]]
        return layout.assemble(segments, list(zip(newest.values(), read, strict=True)), old)

    async def _manifest(self, name: ManifestName) -> Manifest:
        """Manifests never change, so a decoded one is kept."""
        manifest = self._manifests.get(name.key)
        if manifest is None:
            manifest = _decode_manifest(await self._blobs.get(name.key))
            if len(self._manifests) >= CACHED_MANIFESTS:
                del self._manifests[next(iter(self._manifests))]
            self._manifests[name.key] = manifest
        return manifest

    async def _merge(self, table: EventTable, hour: Hour, merge: Merge) -> int:
        started = self._clock.monotonic()
        made_ms = self._clock.now_ms()
        try:
            files = await self._files.paths(merge.keys)
            merged = await self._reader.merge(files, table, deadline_seconds=MERGE_DEADLINE_SECONDS)
        except (SegmentGoneError, BlobNotFoundError):
            return 0  # another process has merged them
        key = layout.merged_key(self._root, table.name, hour.hour_ms, made_ms, secrets.token_hex(4))
        try:
            size_bytes = (await asyncio.to_thread(merged.path.stat)).st_size
            await self._blobs.put(key, _chunks(merged.path))
        finally:
            await asyncio.to_thread(merged.path.unlink)
        if self._clock.monotonic() - started > layout.ORPHAN_MS / 2000:
            raise EngineUnavailableError("events", "a merge took so long that others may clean it up")
        segment = Segment(key, merge.level, merged.rows, size_bytes, merged.first_ms, merged.last_ms)
        manifest = layout.committed(hour, merge, segment, self._clock.now_ms())
        target = layout.manifest_key(self._root, table.name, hour.hour_ms, manifest.version)
        try:
            await self._blobs.head(key)  # a clock that ran ahead elsewhere may have had it cleaned up
            await self._blobs.put(target, msgspec.json.encode(manifest), if_absent=True)
        except (BlobExistsError, BlobNotFoundError):
            await self._blobs.delete([key])
            log.info("events.merge.lost", table=table.name, version=manifest.version)
            return 0
        log.debug("events.merge.done", table=table.name, inputs=len(merge.keys), rows=merged.rows)
        return 1

    async def _delete(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), DELETE_CHUNK):
            await self._blobs.delete(keys[first : first + DELETE_CHUNK])

    async def _list_days(
        self, folder: str, days: Sequence[str] | None, parse: Callable[[str], T | None]
    ) -> list[T]:
        folders = [folder] if days is None else [f"{folder}/{day}" for day in days]
        found = await parallel_map(lambda each: self._list(each, parse), folders, limit=PARALLEL_READS)
        return [name for names in found for name in names]

    async def _list(self, folder: str, parse: Callable[[str], T | None]) -> list[T]:
        parsed = [parse(info.key) async for info in self._blobs.list(folder)]
        return [name for name in parsed if name is not None]


_decode_manifest = msgspec.json.Decoder(Manifest).decode


def _days(from_ms: int | None, to_ms: int | None) -> list[str] | None:
    """The days to list; None for the whole table."""
    if from_ms is None or to_ms is None or to_ms - from_ms > MAX_LISTED_DAYS * 24 * HOUR_MS:
        return None
    return layout.days_between(from_ms, to_ms)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 1 << 20):
            yield chunk
