"""One supervised child process.

Invariants: a child never outlives this process (the kernel signals it when its forking thread dies,
so every child has a thread of its own that forks it and waits for it, and therefore outlives it),
and stopping has an end (a signal, a deadline, then SIGKILL for the whole tree below the child).
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from twelvefold.engines.embedded import launch
from twelvefold.engines.embedded.account import NO_CAPABILITY, Account
from twelvefold.kernel.errors import EngineUnavailableError

LOG_LIMIT_BYTES = 16 << 20
"""A log file is cut to its last eighth beyond this; servers log little, but run for years."""

KILL_WAIT_SECONDS = 5.0
"""SIGKILL takes effect at once except inside a stuck disk operation."""


class ChildProcess:
    """A program that ends with us. Start it once; make a new one to start again.

    Args:
        name: for thread names and messages.
        argv: absolute path of the program, then its arguments.
        log: its stdout and stderr are appended here.
        env: its whole environment; None inherits ours.
        account: whom to become; None stays who we are.
        stop_signal: asks it to end.
        death_signal: what the kernel sends it when this process dies.
        lock: a file whose flock the child and its descendants hold while any of them lives.
        pass_fds: descriptors it inherits, at the same numbers.
        on_exit: called in the child's thread with the return code (negative: the signal).
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        account: Account | None = None,
        stop_signal: int = signal.SIGTERM,
        death_signal: int = signal.SIGTERM,
        lock: Path | None = None,
        lock_wait_seconds: float = 10.0,
        pass_fds: Sequence[int] = (),
        on_exit: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = [
            sys.executable, "-I", "-S", launch.__file__,
            *_launch_words(account, death_signal, lock, lock_wait_seconds), "--", *argv,
        ]  # fmt: skip
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._stdin = stdin
        self._stop_signal = stop_signal
        self._pass_fds = tuple(pass_fds)
        self._on_exit = on_exit
        self._spawned = threading.Event()
        self._exited = threading.Event()
        self._error: OSError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Fork the child; returns when it has a pid. Raises `EngineUnavailableError` if that failed."""
        threading.Thread(target=self._live, name=f"child {self.name}", daemon=True).start()
        self._spawned.wait()
        if self._error is not None:
            reason = f"it cannot be started: {self._error.strerror} ({self._error.filename})"
            raise EngineUnavailableError(self.name, reason)

    @property
    def pid(self) -> int:
        """Its process id; -1 before `start`."""
        return self._process.pid if self._process is not None else -1

    @property
    def returncode(self) -> int | None:
        """None while it lives; negative numbers are signals."""
        return self._process.returncode if self._process is not None and self._exited.is_set() else None

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and not self._exited.is_set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for its end; False if it still lives after the timeout."""
        return self._exited.wait(timeout_seconds)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, *, deadline_seconds: float = 10.0) -> bool:
        """Ask it to end, wait, then kill the tree. False if even that did not end it."""
        self.signal(self._stop_signal)
        self.signal(signal.SIGCONT)  # a stopped process takes no other signal than SIGKILL
        return self.wait(deadline_seconds) or self.kill_tree()

    def kill_tree(self) -> bool:
        """SIGKILL the child and all its descendants, so that a stopped grandchild does not stay behind."""
        if self.alive:
            below: list[psutil.Process] = []
            with contextlib.suppress(psutil.Error):
                below = psutil.Process(self.pid).children(recursive=True)
            self.signal(signal.SIGKILL)
            for process in below:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        return self.wait(KILL_WAIT_SECONDS)

    def log_tail(self, lines: int = 5) -> list[str]:
        """The last non-empty lines that this run of the child has logged."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start if self._log_start <= size else 0, size - 16_384))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()][-lines:]

    def _live(self) -> None:
        try:
            with contextlib.ExitStack() as files:
                log = files.enter_context(_opened_log(self.log))
                self._log_start = log.tell()
                stdin = files.enter_context(self._stdin.open("rb")) if self._stdin else subprocess.DEVNULL
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    pass_fds=self._pass_fds,
                    umask=0o077,
                    start_new_session=True,  # the terminal's ^C is ours to pass on, in order
                )
        except OSError as error:
            self._error = error
            self._spawned.set()
            return
        self._spawned.set()
        code = self._process.wait()
        self._exited.set()
        if self._on_exit is not None:
            self._on_exit(code)


def _opened_log(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "ab", buffering=0)
    if file.seek(0, os.SEEK_END) > LOG_LIMIT_BYTES:
        trim_log(path)
        file.seek(0, os.SEEK_END)
    return file


def trim_log(path: Path, *, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Cut a log beyond the limit to its last eighth; writers append, so they go on after the cut."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size > limit_bytes:
            file.seek(size - limit_bytes // 8)
            kept = file.read().partition(b"\n")[2]
            file.seek(0)
            file.truncate()
            file.write(kept)


def _launch_words(
    account: Account | None, death_signal: int, lock: Path | None, lock_wait_seconds: float
) -> list[str]:
    identity = (
        (account.uid, account.gid, account.private_gid, account.capability)
        if account is not None
        else (-1, -1, -1, NO_CAPABILITY)
    )
    return [
        str(os.getpid()),
        str(int(death_signal)),
        *(str(number) for number in identity),
        str(lock or ""),
        str(lock_wait_seconds),
    ]


def until(condition: Callable[[], bool], *, deadline: float, pause_seconds: float = 0.005) -> bool:
    """Look at `condition` until it holds or `deadline` (monotonic seconds) has passed."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_seconds)
    return True
