"""Files that are whole or absent, and that survive a power cut once acknowledged.

Invariant: a name in the tree always leads to complete, synced content. Data goes to a file in `.incoming`
on the same file system, is synced, then gets its name in one step: `link` (fails if the name is taken) or
`rename` (replaces), and the directory is synced before the caller hears of it. Directories are never
removed, so one sync of a directory's entry holds for good. Source: Pillai et al., "All File Systems Are
Not Created Equal", OSDI 2014.
"""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

INCOMING = ".incoming"
ABANDONED_SECONDS = 24 * 3600
"""A file in `.incoming` this old belongs to nobody: no put is allowed to last as long."""


class DurableTree:
    """A directory of durable files. Blocking; call it from a thread. Raises `OSError`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / INCOMING
        self._synced: set[Path] = {root}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        sync_directory(root)
        sync_directory(root.parent)
        self._remove_abandoned()

    def begin(self) -> "IncomingFile":
        """A new file that has no name in the tree yet."""
        return IncomingFile(self, self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}")

    def write(self, name: str, data: bytes | memoryview, *, if_absent: bool) -> None:
        """Store a file in one call. Raises `FileExistsError` with `if_absent`."""
        with self.begin() as incoming:
            incoming.write(data)
            incoming.commit(name, if_absent=if_absent)

    def delete(self, names: Iterable[str]) -> None:
        """Unlink files, present or not, and sync their directories."""
        directories = set()
        for name in names:
            path = self.root / name
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
                directories.add(path.parent)
        for directory in directories:
            sync_directory(directory)

    def make_directory(self, directory: Path) -> None:
        """Create a directory and its parents inside the tree, each with its entry synced."""
        if directory in self._synced:
            return
        self.make_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        # Also where it existed: another process may have made it and not synced it yet.
        sync_directory(directory.parent)
        self._synced.add(directory)

    def _remove_abandoned(self) -> None:
        oldest = time.time() - ABANDONED_SECONDS  # compared with the file system's own times
        for entry in os.scandir(self._incoming):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    Path(entry.path).unlink()


class IncomingFile:
    """A file on its way into a `DurableTree`; leaving the `with` block without `commit` removes it.

    Safe to close from another thread while one writes: a caller that gave up cannot tear the file.
    """

    def __init__(self, tree: DurableTree, path: Path) -> None:
        self._tree = tree
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._named = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        rest = memoryview(data)
        with self._lock:
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def commit(self, name: str, *, if_absent: bool) -> None:
        """Give the file its name, durably.

        Raises `FileExistsError` with `if_absent`, when the file that has the name is durable.
        """
        target = self._tree.root / name
        with self._lock:
            os.fsync(self._file)
            self._tree.make_directory(target.parent)
            try:
                if if_absent:
                    os.link(self._path, target)
                else:
                    self._path.rename(target)
                    self._named = True
            finally:
                # Also when the name was taken: whoever took it may not have come to this line yet.
                sync_directory(target.parent)

    def close(self) -> None:
        """Close it, and remove it from `.incoming`."""
        with self._lock:
            if self._file < 0:
                return
            os.close(self._file)
            self._file = -1
            if not self._named:
                self._path.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make a directory's entries durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
