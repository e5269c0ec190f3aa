"""As whom the servers run.

PostgreSQL refuses root, and a server that need not be root should not be. As root we drop to an
unprivileged user and give it a group of our own, so that it, and nobody else who shares that user,
can walk into the data folder. Invariant: a server keeps a capability only where some folder above
it would otherwise be closed to it, and then only the one that reads past folder modes.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twelvefold.kernel.errors import RefusedError

CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
NO_CAPABILITY = -1

PRIVATE_GID = 64_812
"""Handed out by no distribution by itself; below 65,536, where user namespaces usually end."""

USERS = ("twelvefold", "nobody")
"""Tried in this order. `initdb` wants a user that has a name."""


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged identity for a child process."""

    uid: int
    gid: int
    private_gid: int = PRIVATE_GID
    capability: int = NO_CAPABILITY
    name: str = ""

    def own(self, path: Path) -> None:
        """Make the file or folder at `path` this account's."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def choose_account(
    data_path: Path, programs: Iterable[Path], *, user: str | None = None, keep_owner_of: Iterable[Path] = ()
) -> Account | None:
    """The account for servers below `data_path`; None when we are not root and run them as ourselves.

    Args:
        data_path: an open data folder.
        programs: what is to be run; the account must be able to.
        user: a name from the configuration.
        keep_owner_of: folders of servers; whoever owns the first that exists stays the user, since
            PostgreSQL wants to own its files and another default must not lock it out of them.

    Raises `RefusedError` naming the folder and the fix if the account could not get there.
    """
    if os.geteuid() != 0:
        return None
    found = (None if user else _owner(keep_owner_of)) or _user(user)
    capability = NO_CAPABILITY
    closed = list(_closed(data_path, programs, found.uid, {found.gid, PRIVATE_GID}))
    if closed:
        capability = _capability_past(closed, found.name)
    return Account(found.uid, found.gid, capability=capability, name=found.name)


def admit(account: Account, folder: Path) -> None:
    """Let the account, by its private group, walk into a folder of ours that nobody else may enter."""
    os.chown(folder, 0, account.private_gid)
    folder.chmod(0o710)


def _owner(folders: Iterable[Path]) -> Account | None:
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            found = folder.stat()
            if found.st_uid != 0:
                return Account(found.st_uid, found.st_gid, name=str(found.st_uid))
    return None


def _user(wanted: str | None) -> Account:
    for name in (wanted,) if wanted else USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(found.pw_uid, found.pw_gid, name=found.pw_name)
    raise RefusedError(
        f"running as root, which PostgreSQL refuses, and there is no user {wanted or ' or '.join(USERS)} "
        "to run it as; add one (useradd --system twelvefold) or start as an ordinary user"
    )


def _closed(
    data_path: Path, programs: Iterable[Path], uid: int, gids: set[int]
) -> Iterator[tuple[Path, bool]]:
    """What the user cannot enter or run, and of each whether it is a program."""
    for folder in data_path.parents:
        if not _may_enter(folder, uid, gids):
            yield folder, False
    for program in programs:
        if not _may_enter(program, uid, gids):
            yield program, True
        for folder in program.parents:
            if not _may_enter(folder, uid, gids):
                yield folder, False


def _may_enter(path: Path, uid: int, gids: set[int]) -> bool:
    found = path.stat()
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in gids:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _capability_past(closed: list[tuple[Path, bool]], user: str) -> int:
    permitted = _permitted_capabilities()
    # Reading past modes does not help to run a program that only root may run; overriding them does.
    if permitted >> CAP_DAC_READ_SEARCH & 1 and not any(is_program for _, is_program in closed):
        return CAP_DAC_READ_SEARCH
    if permitted >> CAP_DAC_OVERRIDE & 1:
        return CAP_DAC_OVERRIDE
    path = closed[-1][0]
    raise RefusedError(
        f"the user {user}, as which the servers run, cannot enter {path}; run chmod o+x {path}, "
        "or choose a data folder that others may walk to, such as /var/lib/twelvefold",
        hint=f"chmod o+x {path}",
    )


def _permitted_capabilities() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
