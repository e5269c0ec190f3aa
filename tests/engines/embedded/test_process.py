"""One child: it ends with us, it ends when asked, it ends when it does not want to."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from twelvefold.engines.embedded.process import ChildProcess, trim_log
from twelvefold.kernel.errors import EngineUnavailableError

DEADLINE = 20.0


def python(code: str, tmp_path: Path, **options: object) -> ChildProcess:
    return ChildProcess("child", [sys.executable, "-c", code], log=tmp_path / "log", **options)  # type: ignore[arg-type]


def said(child: ChildProcess, word: str) -> bool:
    return any(word in line for line in child.log_tail(50))


SLEEPER = "import signal; print('ready', flush=True); signal.pause()"
CODE = "import signal; signal.signal(15, {reaction}); print('ready', flush=True)\nwhile 1: signal.pause()"
STUBBORN = CODE.format(reaction="signal.SIG_IGN")
POLITE = CODE.format(reaction="lambda *_: exit(5)")


def test_exit_code_output_and_callback(tmp_path: Path) -> None:
    seen: list[int] = []
    exited = threading.Event()
    child = python(
        "print('hello'); raise SystemExit(3)",
        tmp_path,
        on_exit=lambda code: (seen.append(code), exited.set()),
    )
    child.start()
    assert child.wait(DEADLINE)
    assert exited.wait(DEADLINE)
    assert (child.returncode, seen, child.log_tail()) == (3, [3], ["hello"])
    assert not child.alive


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    child = ChildProcess("nothing", ["/does/not/exist"], log=tmp_path / "log")
    child.start()
    assert child.wait(DEADLINE)
    assert child.returncode == 77
    assert "cannot run /does/not/exist: No such file" in child.log_tail()[-1]


def test_a_log_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    child = ChildProcess("child", [sys.executable], log=tmp_path / "absent" / "log")
    with pytest.raises(EngineUnavailableError, match="cannot be started: No such file or directory"):
        child.start()


def test_the_log_tail_is_of_this_run_only(tmp_path: Path) -> None:
    for word in ("first", "second"):
        child = python(f"print('{word}')", tmp_path)
        child.start()
        assert child.wait(DEADLINE)
    assert child.log_tail() == ["second"]


def test_it_inherits_only_the_descriptors_it_is_given(tmp_path: Path) -> None:
    given, hidden = os.pipe()
    os.set_inheritable(hidden, True)
    try:
        code = "import os, json; print(json.dumps(sorted(map(int, os.listdir('/proc/self/fd')))))"
        child = python(code, tmp_path, pass_fds=[given])
        child.start()
        assert child.wait(DEADLINE)
        descriptors = json.loads(child.log_tail()[-1])
        assert given in descriptors
        assert hidden not in descriptors
    finally:
        os.close(given)
        os.close(hidden)


def test_stop_asks_first(tmp_path: Path, wait_until: Any) -> None:
    child = python(POLITE, tmp_path)
    child.start()
    wait_until(lambda: said(child, "ready"))
    assert child.stop(deadline_seconds=DEADLINE)
    assert child.returncode == 5


def test_stop_kills_what_does_not_end(tmp_path: Path, wait_until: Any) -> None:
    child = python(STUBBORN, tmp_path)
    child.start()
    wait_until(lambda: said(child, "ready"))
    assert child.stop(deadline_seconds=0.1)
    assert child.returncode == -signal.SIGKILL


def test_stop_ends_a_stopped_child_in_its_own_way(tmp_path: Path, wait_until: Any) -> None:
    child = python(POLITE, tmp_path)
    child.start()
    wait_until(lambda: said(child, "ready"))
    child.signal(signal.SIGSTOP)
    assert child.stop(deadline_seconds=DEADLINE)
    assert child.returncode == 5


def test_killing_takes_the_grandchildren_along_even_stopped_ones(
    tmp_path: Path, wait_until: Any, gone: Any
) -> None:
    code = (
        "import subprocess, sys, signal, os; signal.signal(15, signal.SIG_IGN)\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        "os.kill(grandchild.pid, signal.SIGSTOP); print('grandchild', grandchild.pid, flush=True)\n"
        "while 1: signal.pause()"
    )
    child = python(code, tmp_path)
    child.start()
    wait_until(lambda: said(child, "grandchild"))
    grandchild = int(child.log_tail()[-1].split()[1])
    assert child.stop(deadline_seconds=0.1)
    wait_until(lambda: gone(grandchild))


def test_it_ends_when_this_process_is_killed(tmp_path: Path, wait_until: Any, gone: Any) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from twelvefold.engines.embedded import ChildProcess\n"
        f"log = Path({str(tmp_path / 'inner')!r})\n"
        f"child = ChildProcess('inner', [sys.executable, '-c', {SLEEPER!r}], log=log)\n"
        "child.start(); print('inner', child.pid, flush=True); signal.pause()"
    )
    parent = python(code, tmp_path)
    parent.start()
    wait_until(lambda: said(parent, "inner"))
    inner = int(parent.log_tail()[-1].split()[1])
    assert not gone(inner)
    parent.signal(signal.SIGKILL)
    wait_until(lambda: gone(inner))


def test_the_end_of_the_thread_that_started_it_does_not_end_it(tmp_path: Path, wait_until: Any) -> None:
    child = python(SLEEPER, tmp_path)
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join()
    wait_until(lambda: said(child, "ready"))
    assert not child.wait(0.2)
    child.stop(deadline_seconds=DEADLINE)


def test_a_lock_lives_as_long_as_any_heir(tmp_path: Path, wait_until: Any) -> None:
    lock = tmp_path / "lock"
    code = (
        "import subprocess, sys\n"
        f"heir = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], close_fds=False)\n"
        "print('heir', heir.pid, flush=True)"
    )
    first = python(code, tmp_path, lock=lock)
    first.start()
    assert first.wait(DEADLINE)
    wait_until(lambda: said(first, "ready"))
    wait_until(lambda: said(first, "heir"))
    second = python("print('got it')", tmp_path, lock=lock, lock_wait_seconds=0.05)
    second.start()
    assert second.wait(DEADLINE)
    assert second.returncode == 75
    os.kill(int(next(line for line in first.log_tail() if "heir" in line).split()[1]), signal.SIGKILL)
    third = python("print('got it')", tmp_path, lock=lock, lock_wait_seconds=DEADLINE)
    third.start()
    assert third.wait(DEADLINE)
    assert third.log_tail()[-1] == "got it"


def test_a_long_log_is_cut_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        for number in range(1000):
            writer.write(b"line %d\n" % number)
        trim_log(log, limit_bytes=4000)
        writer.write(b"after\n")
    lines = log.read_text().splitlines()
    assert lines[-2:] == ["line 999", "after"]
    assert lines[0].startswith("line ")
    assert log.stat().st_size < 600
