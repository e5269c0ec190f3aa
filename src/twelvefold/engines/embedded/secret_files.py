"""Secrets that are made once and kept: database password, cookie key, and the like.

Each is a file of mode 0600 in a folder of mode 0700. Invariant: a secret never changes once it was
handed out, and one that others could have read is refused instead of used.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from twelvefold.kernel.errors import RefusedError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Secrets:
    """The secrets below one folder. Raises `RefusedError` if others may read or replace one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        _refuse_if_open_to_others(folder, "700")
        for file in folder.iterdir():
            _refuse_if_open_to_others(file, "600")

    def get(self, name: str, nbytes: int = 32) -> bytes:
        """The secret called `name`; `nbytes` random bytes are made at the first call."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"a secret's name is lower-case letters, digits and _, not {name!r}")
        file = self._folder / name
        try:
            return self._read(file, nbytes)
        except FileNotFoundError:
            self._make(file, nbytes)
            return self._read(file, nbytes)

    def _read(self, file: Path, nbytes: int) -> bytes:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _refuse_if_open_to_others(file, "600", descriptor)
            secret = os.read(descriptor, nbytes + 1)
        finally:
            os.close(descriptor)
        if len(secret) != nbytes:
            raise RefusedError(
                f"{file} is damaged: {len(secret)} bytes instead of {nbytes}; restore it from a backup"
            )
        return secret

    def _make(self, file: Path, nbytes: int) -> None:
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(nbytes))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            # link, not rename: if two make the same secret at once, the first one stays.
            os.link(temporary, file)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _refuse_if_open_to_others(path: Path, mode: str, descriptor: int | None = None) -> None:
    found = os.fstat(descriptor) if descriptor is not None else path.lstat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise RefusedError(
            f"{path} can be read by others; if nobody did, run: chmod {mode} {path}",
            hint=f"chmod {mode} {path}",
        )
    if found.st_uid != os.geteuid():
        raise RefusedError(f"{path} belongs to another user; run as that user, or choose another data folder")
