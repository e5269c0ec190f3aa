"""Servers that die, hang or are left behind: brought back, ended, waited for."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.kernel.errors import EngineUnavailableError

DEADLINE = 60.0
LIMITS = MemoryLimits.for_total(1 << 30)


@pytest.mark.drill
@pytest.mark.parametrize("name", ["database", "valkey"])
def test_a_killed_server_is_brought_back_at_the_same_address(
    folder: DataFolder, name: str, valkey: Any, sql: Any, running: Any
) -> None:
    events: queue.Queue[tuple[str, str, str]] = queue.Queue()
    supervisor = running(folder, name, events=events)
    urls = supervisor.start()
    for _ in range(2):
        before = supervisor.pids()[name]
        os.kill(before, signal.SIGKILL)
        assert events.get(timeout=DEADLINE) == (name, "exited", "killed by SIGKILL")
        assert events.get(timeout=DEADLINE)[:2] == (name, "restarted")
        assert supervisor.pids()[name] != before
        assert (
            sql(urls.database, "SELECT 1") == "1"
            if name == "database"
            else valkey(urls.valkey, "PING") == b"+PONG\r\n"
        )
    supervisor.stop()


@pytest.mark.drill
@pytest.mark.parametrize("name", ["database", "log"])
def test_a_stopped_server_does_not_hold_up_the_stop(
    folder: DataFolder, name: str, wait_until: Any, gone: Any, running: Any
) -> None:
    supervisor = running(folder, name)
    supervisor.start()
    pid = supervisor.pids()[name]
    below = psutil.Process(pid).children(recursive=True)
    for process in (*below, psutil.Process(pid)):
        process.suspend()
    supervisor.stop(deadline_seconds=1)
    assert gone(pid)
    for process in below:
        wait_until(lambda process=process: gone(process.pid))  # type: ignore[misc]


def test_a_server_that_keeps_failing_is_reported_and_tried_again(
    folder: DataFolder, valkey: Any, running: Any
) -> None:
    events: queue.Queue[tuple[str, str, str]] = queue.Queue()
    supervisor = running(folder, "valkey", events=events)
    urls = supervisor.start()
    manifest = next((folder.path / "valkey" / "appendonlydir").glob("*.manifest"))
    good = manifest.read_bytes()
    manifest.write_text("nonsense\n")
    os.kill(supervisor.pids()["valkey"], signal.SIGKILL)
    assert events.get(timeout=DEADLINE)[1] == "exited"
    what = [events.get(timeout=DEADLINE) for _ in range(2)]
    assert {event[1] for event in what} == {"failed"}
    manifest.write_bytes(good)
    while events.get(timeout=DEADLINE)[1] != "restarted":
        pass
    assert valkey(urls.valkey, "PING") == b"+PONG\r\n"
    supervisor.stop()


def test_a_listener_that_fails_does_not_end_the_watch(
    folder: DataFolder, wait_until: Any, answers: Any
) -> None:
    def fail(*_: str) -> None:
        raise RuntimeError("a listener's fault")

    supervisor = Supervisor(folder, frozenset({"cache"}), LIMITS, on_event=fail)
    urls = supervisor.start()
    before = supervisor.pids()["cache"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: supervisor.pids().get("cache", before) != before)
    wait_until(lambda: answers(urls.cache))
    supervisor.stop()


PARENT = """
import json, signal, sys
from pathlib import Path
from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
supervisor = Supervisor(DataFolder.open(Path(sys.argv[1])), limits=MemoryLimits.for_total(1 << 30))
urls = supervisor.start()
print(json.dumps([supervisor.pids(), urls.database, urls.valkey]), flush=True)
signal.pause()
"""


def parent_with_servers(path: Path) -> tuple["subprocess.Popen[str]", dict[str, int], str, str]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids, database, valkey_url = json.loads(parent.stdout.readline())
    return parent, pids, database, valkey_url


def kill(parent: "subprocess.Popen[str]") -> None:
    parent.kill()
    parent.wait(DEADLINE)
    assert parent.stdout is not None
    parent.stdout.close()


@pytest.mark.drill
def test_sigkill_of_the_parent_leaves_no_server(tmp_path: Path, wait_until: Any, gone: Any) -> None:
    parent, pids, _, _ = parent_with_servers(tmp_path / "data")
    everyone = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
    assert set(pids.values()) < set(everyone)
    kill(parent)
    for pid in everyone:
        wait_until(lambda pid=pid: gone(pid))  # type: ignore[misc]


@pytest.mark.drill
def test_a_start_right_after_the_parents_sigkill_waits_for_the_old_servers(
    tmp_path: Path, valkey: Any, sql: Any
) -> None:
    parent, _, database, valkey_url = parent_with_servers(tmp_path / "data")
    sql(database, "CREATE TABLE t AS SELECT 7 AS n")
    valkey(valkey_url, "SET k 7")
    kill(parent)
    with DataFolder.open(tmp_path / "data") as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert sql(urls.database, "SELECT n FROM t") == "7"
        assert valkey(urls.valkey, "GET k") == b"$1\r\n7\r\n"


@pytest.mark.drill
def test_an_old_server_that_was_stopped_is_ended(tmp_path: Path, gone: Any, valkey: Any, sql: Any) -> None:
    parent, pids, _, _ = parent_with_servers(tmp_path / "data")
    for name in ("database", "log"):
        os.kill(pids[name], signal.SIGSTOP)
    kill(parent)
    assert not gone(pids["database"])
    with DataFolder.open(tmp_path / "data") as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert gone(pids["database"])
        assert gone(pids["log"])
        assert sql(urls.database, "SELECT 1") == "1"
        assert valkey(urls.log, "PING") == b"+PONG\r\n"


def test_stale_pid_files_and_sockets_do_not_matter(
    folder: DataFolder, supervisor: Supervisor, valkey: Any, sql: Any, running: Any
) -> None:
    other = supervisor.pids()["cache"]
    supervisor = running(folder, "database", "valkey")
    urls = supervisor.start()
    pid_file = (folder.path / "postgres" / "postmaster.pid").read_text().splitlines()
    supervisor.stop()
    # As after a container's restart: the pid now belongs to another program of the same user.
    pid_file[0] = str(other)
    (folder.path / "postgres" / "postmaster.pid").write_text("\n".join(pid_file) + "\n")
    for url in (urls.database, urls.valkey):
        path = (
            unquote(url.partition("host=")[2]) + "/.s.PGSQL.5432"
            if "host=" in url
            else unquote(urlsplit(url).path)
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
            stale.bind(path)
    Path(unquote(urls.database.partition("host=")[2]), ".s.PGSQL.5432.lock").write_text(
        "\n".join(pid_file) + "\n"
    )
    supervisor.start()
    assert sql(urls.database, "SELECT 1") == "1"
    assert valkey(urls.valkey, "PING") == b"+PONG\r\n"
    supervisor.stop()


@pytest.mark.drill
def test_a_full_disk_is_named(tmp_path: Path, sql: Any, running: Any) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here; run as root with CAP_SYS_ADMIN")
    try:
        with DataFolder.open(disk / "data") as folder:
            supervisor = running(folder, "database")
            with pytest.raises(EngineUnavailableError, match=r"disk that holds .* is full; free some space"):
                supervisor.start()
            # With room again the same start succeeds: nothing half-made is in its way.
            subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
            urls = supervisor.start()
            assert sql(urls.database, "SELECT 1") == "1"
            supervisor.stop()
    finally:
        subprocess.run(["umount", disk], check=True)
