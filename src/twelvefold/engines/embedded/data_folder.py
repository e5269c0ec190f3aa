"""The folder that holds everything one Twelvefold owns.

Invariant: at most one process has it open (flock, freed by the kernel even after SIGKILL), and only
its owner can look in. A folder written by newer code is refused rather than guessed at. Modelled on
PostgreSQL's data directory: version file, lock with a pid, strict modes.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Self

from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.kernel.errors import RefusedError

FORMAT = 1
"""Raised when the layout changes so that older code must not open the folder."""

SOCKET_PATH_BYTES = 100
"""The kernel takes 107; leave some air."""

LOCK_ATTEMPTS = 10
LOCK_PAUSE_SECONDS = 0.02

LONGEST_SOCKET_NAME = "/database/.s.PGSQL.5432"


class DataFolder:
    """An open data folder; `close` frees it for the next process.

    Attributes:
        path: absolute path, mode 0700 (0710 with a private group when servers run as another user).
        runtime: where sockets live: `path/run`, or a private folder elsewhere if that is too long.
        secrets: generated secrets, stable across starts.
    """

    def __init__(self, path: Path, runtime: Path, secrets: Secrets, lock: int) -> None:
        self.path = path
        self.runtime = runtime
        self.secrets = secrets
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create or open `path`. Raises `RefusedError` with one sentence that says what to do."""
        path = Path(path).absolute()
        if any(ord(letter) < 32 for letter in str(path)):
            raise RefusedError(
                f"{str(path)!r} has a control character in its name; choose another data folder"
            )
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _locked(path)
        except OSError as error:
            raise RefusedError(f"{path} cannot be used as the data folder: {error.strerror}") from error
        try:
            _check_format(path)
            _tighten(path)
            secrets = Secrets(path / "secrets")
            runtime = _runtime(path)
            (path / "logs").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            os.close(lock)
            raise RefusedError(f"{error.filename or path} cannot be used: {error.strerror}") from error
        except BaseException:
            os.close(lock)
            raise
        return cls(path, runtime, secrets, lock)

    def close(self) -> None:
        """Free the folder. Stop what runs in it first."""
        if self._lock is not None:
            if self.runtime.parent != self.path:
                shutil.rmtree(self.runtime, ignore_errors=True)  # sockets and what engines are started with
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def holder(path: Path) -> int | None:
    """The pid of the process that has the data folder at `path` open, if any."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else -1
    finally:
        os.close(descriptor)
    return None


def _locked(path: Path) -> int:
    if not (path / "FORMAT").exists() and any(entry.name != "lock" for entry in path.iterdir()):
        raise RefusedError(
            f"{path} is not empty and is no Twelvefold data folder; choose another, or empty it"
        )
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _flock(descriptor):
        pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise RefusedError(
            f"{path} is in use by process {pid}; stop it, or choose another folder with --data",
            hint=f"kill {pid}",
            pid=pid,
        )
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _flock(descriptor: int) -> bool:
    """Try a few times: `holder` takes the lock for a moment to see whether it is free."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def _check_format(path: Path) -> None:
    file = path / "FORMAT"
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        write_atomically(file, f"{FORMAT}\n".encode())
        return
    except UnicodeDecodeError:
        text = ""
    if not text.isdigit():
        raise RefusedError(f"{file} is damaged: it should hold a number; restore it from a backup")
    if int(text) > FORMAT:
        raise RefusedError(
            f"{path} was written by a newer Twelvefold (folder format {text}, this one knows {FORMAT}); "
            "install that version or choose another folder"
        )


def _tighten(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o067:
        path.chmod(0o700)


def _runtime(path: Path) -> Path:
    inside = path / "run"
    short = len(os.fsencode(inside)) + len(LONGEST_SOCKET_NAME) <= SOCKET_PATH_BYTES
    if short and _is_utf8(inside):  # a URL, which carries the path to clients, is text
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108  (made private below)
    if len(os.fsencode(base)) > SOCKET_PATH_BYTES - 60:
        base = Path("/tmp")  # noqa: S108  (made private below)
    outside = base / f"twelvefold-{os.getuid()}-{digest}"
    outside.mkdir(mode=0o700, exist_ok=True)
    found = outside.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RefusedError(f"{outside} belongs to someone else; remove it, or choose a shorter data folder")
    return outside


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def write_atomically(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `file` as a whole, on disk before the name points to it."""
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
