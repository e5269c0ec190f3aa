"""A folder of envoyproxy/ratelimit's YAML files, as that service reads it, for the default tenant.

Looked at once a second; a file that cannot be used keeps its last good form, and the log says why.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.rules.envoy import EnvoyDomain, compile_domain

log = structlog.get_logger("limiter")

OnChange = Callable[[], None]
LOOK_SECONDS: Final = 1.0
_MAX_FILES: Final = 1000
_MAX_FILE_BYTES: Final = 1_000_000


class EnvoyFolder:
    """`domains` is what the folder says now."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._good: dict[Path, EnvoyDomain] = {}
        self.domains: dict[tuple[TenantId, str], EnvoyDomain] = {}
        self.on_change: OnChange = lambda: None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the folder, then follow it."""
        await self.look()
        self._task = asyncio.create_task(self._follow(), name="limiter: follow the Envoy folder")

    async def close(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> None:
        """Read what has changed."""
        if await asyncio.to_thread(self._read):
            self.domains = {(DEFAULT_TENANT, domain.domain): domain for domain in self._good.values()}
            self.on_change()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    def _read(self) -> bool:
        changed = False
        try:
            files = sorted(
                file for file in self._path.rglob("*") if file.suffix in (".yaml", ".yml") and file.is_file()
            )[:_MAX_FILES]
        except OSError as error:
            log.warning("limiter.envoy.unreadable", folder=str(self._path), reason=error.strerror)
            return False
        for gone in self._good.keys() - set(files):
            del self._good[gone]
            self._stamps.pop(gone, None)
            changed = True
        for file in files:
            changed |= self._read_file(file)
        return changed

    def _read_file(self, file: Path) -> bool:
        try:
            found = file.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if self._stamps.get(file) == stamp:
                return False
            self._stamps[file] = stamp
            self._good[file] = compile_domain(_text_of(file, found.st_size))
        except (OSError, UnicodeDecodeError, TwelvefoldError) as error:
            log.warning("limiter.envoy.refused", file=str(file), reason=str(error))
            return False
        return True


def _text_of(file: Path, size_bytes: int) -> str:
    if size_bytes > _MAX_FILE_BYTES:
        raise TwelvefoldError(f"a file has at most {_MAX_FILE_BYTES} bytes")
    return file.read_text("utf-8")
