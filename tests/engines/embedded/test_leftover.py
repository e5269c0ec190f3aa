"""What an earlier start left is waited for, asked, and killed in the end."""

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from twelvefold.engines.embedded.leftover import holder_of, wait_for_earlier
from twelvefold.engines.embedded.process import ChildProcess, until
from twelvefold.kernel.errors import EngineUnavailableError

DEADLINE = 20.0
CODE = "import signal; signal.signal(15, {reaction}); print('ready', flush=True)\nwhile 1: signal.pause()"
STUBBORN = CODE.format(reaction="signal.SIG_IGN")
POLITE = CODE.format(reaction="lambda *_: exit(0)")


def holding(lock: Path, code: str) -> ChildProcess:
    child = ChildProcess("old", [sys.executable, "-c", code], log=lock.with_suffix(".log"), lock=lock)
    child.start()
    assert until(lambda: "ready" in child.log_tail(), deadline=time.monotonic() + DEADLINE)
    return child


def test_nothing_left_is_no_wait(tmp_path: Path) -> None:
    wait_for_earlier("x", tmp_path / "lock", signal.SIGTERM, patience_seconds=0)
    assert holder_of(tmp_path / "lock") is None


def test_the_holder_is_known_by_its_pid(tmp_path: Path) -> None:
    old = holding(tmp_path / "lock", POLITE)
    assert holder_of(tmp_path / "lock") == old.pid
    old.stop(deadline_seconds=DEADLINE)
    assert holder_of(tmp_path / "lock") is None


def test_it_is_asked_first(tmp_path: Path) -> None:
    old = holding(tmp_path / "lock", POLITE)
    wait_for_earlier("x", tmp_path / "lock", signal.SIGTERM, patience_seconds=DEADLINE)
    assert old.wait(DEADLINE)
    assert old.returncode == 0


def test_then_it_is_killed(tmp_path: Path) -> None:
    old = holding(tmp_path / "lock", STUBBORN)
    wait_for_earlier("x", tmp_path / "lock", signal.SIGTERM, patience_seconds=0.2)
    assert old.wait(DEADLINE)
    assert old.returncode == -signal.SIGKILL


def test_a_pid_that_is_someone_elses_now_is_not_signalled(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    old = holding(lock, STUBBORN)
    lock.write_text(f"{old.pid} 1")
    assert holder_of(lock) == -1
    with pytest.raises(EngineUnavailableError, match="process unknown of an earlier start does not end"):
        wait_for_earlier("x", lock, signal.SIGTERM, patience_seconds=0.05)
    assert old.alive
    old.stop(deadline_seconds=0)


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    old = holding(tmp_path / "lock", STUBBORN)
    stopping = threading.Event()
    stopping.set()
    wait_for_earlier(
        "x", tmp_path / "lock", signal.SIGTERM, patience_seconds=DEADLINE, stopping=stopping.is_set
    )
    assert old.alive
    old.stop(deadline_seconds=0)
