"""What `doctor` says about a data folder and the machine under it.

Each check is a fact and, if it is not well, what to do. Invariant: looking changes nothing and needs
no lock, so it works beside a running server and on a broken folder.
"""

import os
import pwd
import resource
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from twelvefold.engines.embedded import data_folder
from twelvefold.engines.embedded.account import choose_account
from twelvefold.engines.embedded.leftover import holder_of
from twelvefold.engines.embedded.memory import MIB, available_bytes
from twelvefold.engines.embedded.server import postgres_program, valkey_program
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.ids import EPOCH_MS

LEAST_FREE_BYTES = 1 << 30
"""The database's log alone may take half of it between two checkpoints."""

LEAST_MEMORY_BYTES = 512 * MIB
LEAST_DESCRIPTORS = 4096
"""Each client connection is one, in a web process."""

IDS_END_MS = EPOCH_MS + (1 << 41)

ENGINE_LOCKS = {
    "database": "postgres.lock",
    "valkey": "valkey.lock",
    "cache": "cache.lock",
    "log": "log.lock",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; `advice` is empty when it is well."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def examine(path: Path) -> list[Finding]:
    """All findings about the data folder at `path` and this machine, in a fixed order."""
    path = path.absolute()
    return [
        *_folder(path),
        *_engines(path),
        _disk(path),
        _clock(path),
        _descriptors(),
        _memory(),
        _programs(path),
    ]


def _folder(path: Path) -> Iterator[Finding]:
    if not path.is_dir():
        yield Finding("data folder", ok=True, detail=f"{path} is not there yet; the first start makes it")
        return
    pid = data_folder.holder(path)
    yield Finding(
        "data folder", ok=True, detail=f"{path}, {f'in use by process {pid}' if pid else 'not in use'}"
    )
    yield _format(path)
    loose = [entry for entry in _private(path) if stat.S_IMODE(entry.lstat().st_mode) & 0o067]
    yield Finding(
        "data folder modes",
        ok=not loose,
        detail=f"open to others: {', '.join(str(entry) for entry in loose)}" if loose else "private",
        advice=f"run chmod go-rwx {' '.join(str(entry) for entry in loose)}" if loose else "",
    )


def _format(path: Path) -> Finding:
    try:
        text = (path / "FORMAT").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return Finding(
            "data folder format",
            ok=False,
            detail=f"{path}/FORMAT cannot be read",
            advice="choose another folder",
        )
    ok = text.isdigit() and int(text) <= data_folder.FORMAT
    return Finding(
        "data folder format",
        ok=ok,
        detail=f"{text}, this version knows up to {data_folder.FORMAT}",
        advice="" if ok else "install the newer Twelvefold that wrote it",
    )


def _private(path: Path) -> Iterator[Path]:
    yield path
    folder = path / "secrets"
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        yield folder
        yield from sorted(folder.iterdir())


def _engines(path: Path) -> Iterator[Finding]:
    for name, lock in ENGINE_LOCKS.items():
        if not (path / lock).exists():
            continue
        try:
            pid = holder_of(path / lock)
        except OSError as error:
            yield Finding(
                f"engine {name}",
                ok=False,
                detail=f"{path / lock}: {error.strerror}",
                advice="run as its owner",
            )
            continue
        orphaned = pid is not None and data_folder.holder(path) is None
        yield Finding(
            f"engine {name}",
            ok=not orphaned,
            detail="not running"
            if pid is None
            else f"process {pid}{' without a supervisor' if orphaned else ''}",
            advice=f"it should end by itself; if it does not, run kill {pid}" if orphaned else "",
        )


def _disk(path: Path) -> Finding:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    ok = free >= LEAST_FREE_BYTES
    return Finding(
        "disk",
        ok=ok,
        detail=f"{free / 2**30:.1f} GiB free below {existing}",
        advice="" if ok else "free some space: the engines stop to take writes when it is used up",
    )


def _clock(path: Path) -> Finding:
    now_ms = time.time_ns() // 1_000_000
    shown = datetime.fromtimestamp(now_ms / 1000, tz=UTC).isoformat(timespec="seconds")
    if not EPOCH_MS <= now_ms < IDS_END_MS:
        return Finding(
            "clock", ok=False, detail=f"it says {shown}", advice="set the clock: ids are made from it"
        )
    newest = max((_modified_ms(file) for file in (path / "lock", *_logs(path))), default=0)
    ahead_seconds = (newest - now_ms) / 1000
    ok = ahead_seconds < 1
    return Finding(
        "clock",
        ok=ok,
        detail=f"it says {shown}"
        if ok
        else f"it is {ahead_seconds:.0f} s behind the newest file of the data folder",
        advice="" if ok else "check time synchronisation: the clock was set back",
    )


def _logs(path: Path) -> list[Path]:
    return list((path / "logs").glob("*.log")) if os.access(path / "logs", os.R_OK | os.X_OK) else []


def _modified_ms(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def _descriptors() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ok = hard == resource.RLIM_INFINITY or hard >= LEAST_DESCRIPTORS
    return Finding(
        "open files",
        ok=ok,
        detail="no limit" if hard == resource.RLIM_INFINITY else f"at most {hard} a process",
        advice="" if ok else f"raise the limit (ulimit -n {LEAST_DESCRIPTORS}): each client takes one",
    )


def _memory() -> Finding:
    total = available_bytes()
    ok = total >= LEAST_MEMORY_BYTES
    return Finding(
        "memory",
        ok=ok,
        detail=f"{total / 2**30:.1f} GiB for this process and its children",
        advice="" if ok else "give the container or machine 512 MB or more, or move engines elsewhere",
    )


def _programs(path: Path) -> Finding:
    try:
        account = choose_account(path, [postgres_program("postgres"), valkey_program()])
    except TwelvefoldError as error:
        return Finding(
            "engine programs", ok=False, detail=error.message, advice=error.hint or "see the message"
        )
    name = account.name if account is not None else _own_name()
    return Finding("engine programs", ok=True, detail=f"present; they run as {name}")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
