"""What an earlier start may have left running.

After SIGKILL of the supervisor its servers get a signal and end by themselves, but that takes a
moment. Invariant: nothing is prepared or started while one of them still lives. The proof of life is
the lock that they inherited, not a pid: pids are used again, in containers all the time.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from twelvefold.engines.embedded.process import until
from twelvefold.kernel.errors import EngineUnavailableError

PATIENCE_SECONDS = 10.0
"""How long an old server may take to end once asked, and again once killed."""


def wait_for_earlier(
    name: str,
    lock: Path,
    stop_signal: int,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Return when no process of an earlier start holds `lock`, or `stopping`; ask, then kill, who stays.

    Raises `EngineUnavailableError` naming the process if even SIGKILL does not end it.
    """
    if _is_free(lock):
        return
    process = _holder(lock)
    for number in (stop_signal, signal.SIGKILL):
        if process is not None:
            _signal_tree(process, number)
        if _free_within(lock, patience_seconds, stopping):
            return
    pid = process.pid if process is not None else "unknown"
    raise EngineUnavailableError(
        name, f"process {pid} of an earlier start does not end and still holds {lock}"
    )


def _free_within(lock: Path, seconds: float, stopping: Callable[[], bool]) -> bool:
    return until(
        lambda: stopping() or _is_free(lock), deadline=time.monotonic() + seconds, pause_seconds=0.01
    )


def holder_of(lock: Path) -> int | None:
    """The pid of the server that holds `lock`: None if nobody does, -1 if it cannot be told who."""
    if _is_free(lock):
        return None
    process = _holder(lock)
    return process.pid if process is not None else -1


def _is_free(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _holder(lock: Path) -> psutil.Process | None:
    """The process that wrote itself into the lock, if it is still that very process."""
    try:
        pid, born = (int(word) for word in lock.read_text(encoding="ascii").split())
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        if int(stat.rpartition(b")")[2].split()[19]) == born:
            return psutil.Process(pid)
    except (OSError, ValueError, IndexError, psutil.Error):
        pass
    return None


def _signal_tree(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        below = process.children(recursive=True) if number == signal.SIGKILL else []
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # it may have been stopped before it could hear of our death
        for child in below:
            child.kill()
