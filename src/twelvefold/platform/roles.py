"""Web and worker processes as children of `up`: started, watched and brought back like the engines.

Each is `python -m twelvefold.platform.role_process <role> <data folder>`; it says that it is ready by
writing its pid beside the runtime note.
"""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twelvefold.engines.embedded.account import Account
from twelvefold.engines.embedded.process import ChildProcess


class RoleServer:
    """A role as the keeper of embedded servers sees it (`engines.embedded.server.EmbeddedServer`)."""

    stop_signal = signal.SIGTERM
    url = ""

    def __init__(self, name: str, data: Path, runtime: Path) -> None:
        self.name = name
        self._data = data
        self._ready = runtime / f"{name}.ready"
        self.lock = runtime / f"{name}.lock"
        self.log = data / "logs" / f"{name}.log"

    def prepare(self, account: Account | None, stopping: Callable[[], bool]) -> None:
        """Forget an earlier process's readiness."""
        del account, stopping
        self._ready.unlink(missing_ok=True)

    def child(self, account: Account | None, on_exit: Callable[[int], None]) -> ChildProcess:
        """The process; it runs as whoever runs `up`."""
        return ChildProcess(
            self.name,
            [
                sys.executable,
                "-m",
                "twelvefold.platform.role_process",
                self.name,
                str(self._data),
                str(self._ready),
            ],
            log=self.log,
            account=account,
            lock=self.lock,
            on_exit=on_exit,
        )

    def is_ready(self, child: ChildProcess) -> bool:
        """Whether this very process has said so."""
        try:
            return self._ready.read_text() == str(child.pid)
        except OSError:
            return False

    def explain(self, log_lines: Sequence[str]) -> str:
        """What it gave as the reason, or the last thing that it said."""
        last = log_lines[-1] if log_lines else ""
        try:
            return str(json.loads(last)["reason"])
        except (ValueError, TypeError, KeyError):
            return last
