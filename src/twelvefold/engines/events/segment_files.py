"""Segments as files that DuckDB can open.

In a directory store they are files already. From any other store they are downloaded once: segments never
change, so a copy never goes stale, and the least recently used ones go when the folder is over its limit.
Invariant: a file in the folder is whole (it is written beside and renamed); one that was evicted under a
running query makes that query plan again. The folder belongs to one process.
"""

import asyncio
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from twelvefold.engines.blobs import Blobs
from twelvefold.engines.events.parallel import parallel_map

PARALLEL_DOWNLOADS = 8


class SegmentFiles:
    """Gives local paths for segment keys."""

    def __init__(self, blobs: Blobs, folder: Path, *, limit_bytes: int) -> None:
        self._blobs = blobs
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._storing = asyncio.Lock()
        self._ready = False

    async def paths(self, keys: Sequence[str]) -> list[Path]:
        """Files for all keys, in order. Raises `BlobNotFoundError` for one that is gone from the store."""
        local = [self._blobs.local_path(key) for key in keys]
        if all(path is not None for path in local):
            return [path for path in local if path is not None]
        files = await parallel_map(self._fetched, keys, limit=PARALLEL_DOWNLOADS)
        await asyncio.to_thread(self._evict, set(files))
        return files

    async def _fetched(self, key: str) -> Path:
        path = self._folder / key.replace("/", "~")
        if not await asyncio.to_thread(_touched, path):
            data = await self._blobs.get(key)
            async with self._storing:
                await asyncio.to_thread(self._store, path, data)
        return path

    def _store(self, path: Path, data: bytes) -> None:
        if not self._ready:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for abandoned in self._folder.glob(".*"):
                abandoned.unlink(missing_ok=True)
            self._ready = True
        part = self._folder / f".{secrets.token_hex(8)}"
        part.write_bytes(data)
        part.rename(path)

    def _evict(self, in_use: set[Path]) -> None:
        if not self._folder.exists():
            return
        found = [
            (entry.stat(), Path(entry.path))
            for entry in os.scandir(self._folder)
            if not entry.name.startswith(".")
        ]
        total = sum(status.st_size for status, _ in found)
        for status, path in sorted(found, key=lambda pair: pair[0].st_mtime_ns):
            if total <= self._limit_bytes:
                return
            if path not in in_use:
                path.unlink(missing_ok=True)
                total -= status.st_size


def _touched(path: Path) -> bool:
    """Whether the file is there; marks it as used now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
