"""The embedded servers: private, unprivileged, brought back, stopped, never left behind."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from twelvefold.engines.embedded import DataFolder, EngineUrls, MemoryLimits, Supervisor
from twelvefold.engines.embedded.account import CAP_DAC_READ_SEARCH, choose_account
from twelvefold.engines.embedded.process import ChildProcess, until
from twelvefold.engines.embedded.server import postgres_program
from twelvefold.kernel.errors import EngineUnavailableError, RefusedError
from twelvefold.kernel.retry import Backoff

DEADLINE = 30.0
LIMITS = MemoryLimits.for_total(1 << 30)
Events = "queue.Queue[tuple[str, str, str]]"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="shows how root is dropped; run as root")


def wait_until(condition: Callable[[], bool]) -> None:
    assert until(condition, deadline=time.monotonic() + DEADLINE)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def valkey(url: str, command: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(unquote(urlsplit(url).path))
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(65536)


def sql(url: str, statement: str) -> str:
    arguments = [postgres_program("psql"), "--no-psqlrc", "-Atqc", statement, url]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=DEADLINE)
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


def running(
    folder: DataFolder, *wanted: str, events: "queue.Queue[tuple[str, str, str]] | None" = None
) -> Supervisor:
    return Supervisor(
        folder,
        frozenset(wanted),
        LIMITS,
        backoff=Backoff(first_seconds=0.01, cap_seconds=0.1),
        on_event=(lambda *event: events.put(event)) if events is not None else None,
    )


def test_the_servers_answer_and_keep_what_they_promised(folder: DataFolder) -> None:
    supervisor = Supervisor(folder, limits=LIMITS)
    urls = supervisor.start()
    sql(urls.database, "CREATE TABLE t AS SELECT 42 AS n")
    for url in (urls.valkey, urls.cache, urls.log):
        assert valkey(url, "SET k v") == b"+OK\r\n"
    supervisor.stop()
    assert supervisor.pids() == {}

    assert supervisor.start() == urls
    assert sql(urls.database, "SELECT n FROM t") == "42"
    assert valkey(urls.valkey, "GET k") == b"$1\r\nv\r\n"
    assert valkey(urls.log, "GET k") == b"$1\r\nv\r\n"
    assert valkey(urls.cache, "GET k") == b"$-1\r\n"
    supervisor.stop()


def test_the_database_is_set_up_as_promised(embedded: EngineUrls) -> None:
    settings = {
        name: sql(embedded.database, f"SHOW {name}")
        for name in (
            "synchronous_commit", "fsync", "full_page_writes", "jit", "io_method", "listen_addresses",
            "server_encoding", "data_checksums", "password_encryption", "autovacuum",
        )
    }  # fmt: skip
    assert settings == {
        "synchronous_commit": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "off",
        "io_method": "sync",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "autovacuum": "on",
    }
    assert sql(embedded.database, "SELECT lower('ÄÖÜÉ')") == "äöüé"
    assert (
        sql(embedded.database, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['b','B','a','ä']) x")
        == "Babä"
    )


def test_the_extensions_of_the_wheel_can_be_made(database_url: str) -> None:
    for name in ("pg_trgm", "btree_gist", "unaccent", "citext", "vector"):
        sql(database_url, f"CREATE EXTENSION {name}")


def test_the_valkeys_differ_in_eviction_and_durability(embedded: EngineUrls) -> None:
    def setting(url: str, name: str) -> str:
        return valkey(url, f"CONFIG GET {name}").decode().split("\r\n")[4]

    assert {
        name: (setting(url, "maxmemory-policy"), setting(url, "appendonly"), setting(url, "appendfsync"))
        for name, url in (("valkey", embedded.valkey), ("cache", embedded.cache), ("log", embedded.log))
    } == {
        "valkey": ("noeviction", "yes", "everysec"),
        "cache": ("allkeys-lru", "no", "everysec"),
        "log": ("noeviction", "yes", "always"),
    }
    assert int(setting(embedded.valkey, "maxmemory")) == LIMITS.valkey_bytes


def test_the_password_is_needed(embedded: EngineUrls) -> None:
    wrong = embedded.database.replace(urlsplit(embedded.database).password or "", "wrong")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sql(wrong, "SELECT 1")
    assert "password authentication failed" in caught.value.stderr
    assert "twelvefold" not in repr(embedded)


@as_root
def test_as_root_the_servers_run_unprivileged_in_a_folder_closed_to_others(supervisor: Supervisor) -> None:
    for pid in supervisor.pids().values():
        process = psutil.Process(pid)
        assert process.uids().real != 0
        assert process.uids().saved != 0
        status = Path(f"/proc/{pid}/status").read_text()
        # pytest's temporary folder belongs to root alone: exactly the one capability to walk through it.
        assert f"CapEff:\t{1 << CAP_DAC_READ_SEARCH:016x}" in status
    path = Path(unquote(urlsplit(supervisor.urls.valkey).path))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o007 == 0


@as_root
def test_an_open_way_needs_no_capability() -> None:
    account = choose_account(Path("/var/lib/twelvefold"), [Path("/bin/sh")])
    assert account is not None
    assert account.capability == -1


@as_root
def test_a_closed_way_without_the_capability_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.engines.embedded.account._permitted_capabilities", lambda: 0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(RefusedError, match=r"cannot enter /.*chmod o\+x /"):
        choose_account(closed / "data", [])


@as_root
def test_an_unknown_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no user nobody-like-this"):
        choose_account(tmp_path, [], user="nobody-like-this")


@as_root
def test_it_runs_as_an_ordinary_user_too(tmp_path: Path) -> None:
    """A parent that is not root: no account is chosen, servers run as itself."""
    account = choose_account(tmp_path / "data", [Path(sys.executable).resolve()])
    assert account is not None
    home = tmp_path / "home"
    home.mkdir()
    account.own(home)
    code = (
        "import os, psutil; from pathlib import Path; from twelvefold.engines.embedded import *\n"
        f"with DataFolder.open(Path({str(home / 'data')!r})) as folder:\n"
        "  s = Supervisor(folder); s.start()\n"
        "  uids = {psutil.Process(pid).uids().real for pid in s.pids().values()}\n"
        "  print('uids', uids == {os.getuid()}, os.getuid() != 0)\n"
        "  s.stop()"
    )
    child = ChildProcess("ordinary", [sys.executable, "-c", code], log=tmp_path / "log", account=account)
    child.start()
    assert child.wait(DEADLINE)
    assert child.log_tail() == ["uids True True"]


@pytest.mark.drill
@pytest.mark.parametrize("name", ["database", "valkey"])
def test_a_killed_server_is_brought_back_at_the_same_address(folder: DataFolder, name: str) -> None:
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
def test_a_stopped_server_does_not_hold_up_the_stop(folder: DataFolder, name: str) -> None:
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


def test_a_server_that_keeps_failing_is_reported_and_tried_again(folder: DataFolder) -> None:
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


def test_a_listener_that_fails_does_not_end_the_watch(folder: DataFolder) -> None:
    def fail(*_: str) -> None:
        raise RuntimeError("a listener's fault")

    supervisor = Supervisor(folder, frozenset({"cache"}), LIMITS, on_event=fail)
    urls = supervisor.start()
    before = supervisor.pids()["cache"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: supervisor.pids().get("cache", before) != before)
    wait_until(lambda: answers(urls.cache))
    supervisor.stop()


def answers(url: str) -> bool:
    try:
        return valkey(url, "PING") == b"+PONG\r\n"
    except OSError:
        return False


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
def test_sigkill_of_the_parent_leaves_no_server(tmp_path: Path) -> None:
    parent, pids, _, _ = parent_with_servers(tmp_path / "data")
    everyone = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
    assert set(pids.values()) < set(everyone)
    kill(parent)
    for pid in everyone:
        wait_until(lambda pid=pid: gone(pid))  # type: ignore[misc]


@pytest.mark.drill
def test_a_start_right_after_the_parents_sigkill_waits_for_the_old_servers(tmp_path: Path) -> None:
    parent, _, database, valkey_url = parent_with_servers(tmp_path / "data")
    sql(database, "CREATE TABLE t AS SELECT 7 AS n")
    valkey(valkey_url, "SET k 7")
    kill(parent)
    with DataFolder.open(tmp_path / "data") as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert sql(urls.database, "SELECT n FROM t") == "7"
        assert valkey(urls.valkey, "GET k") == b"$1\r\n7\r\n"


@pytest.mark.drill
def test_an_old_server_that_was_stopped_is_ended(tmp_path: Path) -> None:
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


def test_stale_pid_files_and_sockets_do_not_matter(folder: DataFolder) -> None:
    supervisor = running(folder, "database", "valkey")
    urls = supervisor.start()
    pid_file = (folder.path / "postgres" / "postmaster.pid").read_text().splitlines()
    supervisor.stop()
    # As after a container's restart: the pid now belongs to another program of the same user.
    pid_file[0] = str(os.getpid())
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


def test_data_of_another_postgresql_is_refused(folder: DataFolder) -> None:
    supervisor = running(folder, "database")
    supervisor.start()
    supervisor.stop()
    (folder.path / "postgres" / "PG_VERSION").write_text("19\n")
    with pytest.raises(RefusedError, match="holds data of PostgreSQL 19, and this Twelvefold brings 18"):
        supervisor.start()
    assert supervisor.pids() == {}


@pytest.mark.parametrize(("name", "lost"), [("database", "postgres"), ("log", "log"), ("valkey", "valkey")])
def test_data_that_has_gone_is_not_replaced_by_an_empty_server(
    folder: DataFolder, name: str, lost: str
) -> None:
    supervisor = running(folder, name)
    supervisor.start()
    supervisor.stop()
    (folder.path / lost).rename(folder.path / "moved")
    with pytest.raises(RefusedError, match=f"{lost} has gone, though it was there before"):
        supervisor.start()
    (folder.path / "moved").rename(folder.path / lost)
    supervisor.start()
    supervisor.stop()


def test_a_cluster_that_was_half_made_is_made_again(folder: DataFolder) -> None:
    half = folder.path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    supervisor = running(folder, "database")
    urls = supervisor.start()
    assert sql(urls.database, "SELECT 1") == "1"
    assert not half.exists()
    supervisor.stop()


def test_a_failed_start_is_one_sentence_and_leaves_nothing_running(folder: DataFolder) -> None:
    supervisor = running(folder, "database", "cache")
    supervisor.start()
    supervisor.stop()
    (folder.path / "postgres" / "postgresql.user.conf").write_text("shared_buffers = 'lots'\n")
    with pytest.raises(EngineUnavailableError) as caught:
        supervisor.start()
    assert caught.value.engine == "database"
    assert "contains errors" in caught.value.message
    assert "\n" not in caught.value.message
    assert supervisor.pids() == {}


def test_a_path_full_of_odd_letters_works(tmp_path: Path) -> None:
    name = b'it\'s "odd" #1 \\ %20 \xfc \xc3\xbc'
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    with DataFolder.open(path) as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert sql(urls.database, "SELECT 1") == "1"
        for url in (urls.valkey, urls.cache, urls.log):
            assert valkey(url, "PING") == b"+PONG\r\n"


def test_a_path_too_long_for_sockets_works(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / ("long" * 30)) as folder:
        with Supervisor(folder, limits=LIMITS) as urls:
            assert sql(urls.database, "SELECT 1") == "1"
            assert valkey(urls.valkey, "PING") == b"+PONG\r\n"
        for name in ("database", "valkey", "cache", "log"):
            for file in (folder.runtime / name).iterdir():
                file.unlink()
            (folder.runtime / name).rmdir()
        folder.runtime.rmdir()


def test_only_what_is_wanted_is_started(folder: DataFolder) -> None:
    supervisor = running(folder, "cache")
    urls = supervisor.start()
    assert list(supervisor.pids()) == ["cache"]
    assert (urls.database, urls.valkey, urls.log) == ("", "", "")
    supervisor.stop()
    with pytest.raises(ValueError, match="no such engine: kafka"):
        Supervisor(folder, frozenset({"kafka"}))


@pytest.mark.drill
def test_a_full_disk_is_named(tmp_path: Path) -> None:
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
