"""What the tests of the embedded servers share.

`folder`      an open data folder of this test's own
`running`     `running(folder, "database", events=queue)`: a supervisor of some engines, not started
`sql`         `sql(url, statement)`: what psql prints
`valkey`      `valkey(url, command)`: the raw reply
`answers`     `answers(url)`: whether a Valkey says PONG
`gone`        `gone(pid)`: whether a process has ended
`wait_until`  `wait_until(condition)`: for what another process does; fails after a minute
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.engines.embedded.process import until
from twelvefold.engines.embedded.server import postgres_program
from twelvefold.kernel.retry import Backoff

DEADLINE = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def running() -> Callable[..., Supervisor]:
    def make(
        folder: DataFolder, *wanted: str, events: Queue[tuple[str, str, str]] | None = None
    ) -> Supervisor:
        return Supervisor(
            folder,
            frozenset(wanted),
            MemoryLimits.for_total(1 << 30),
            backoff=Backoff(first_seconds=0.01, cap_seconds=0.1),
            on_event=(lambda *event: events.put(event)) if events is not None else None,
        )

    return make


@pytest.fixture
def sql() -> Callable[[str, str], str]:
    def run(url: str, statement: str) -> str:
        arguments = [postgres_program("psql"), "--no-psqlrc", "-Atqc", statement, url]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=DEADLINE)
        return done.stdout.strip()

    return run


@pytest.fixture
def valkey() -> Callable[[str, str], bytes]:
    def say(url: str, command: str) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(unquote(urlsplit(url).path))
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65536)

    return say


@pytest.fixture
def answers(valkey: Callable[[str, str], bytes]) -> Callable[[str], bool]:
    def look(url: str) -> bool:
        try:
            return valkey(url, "PING") == b"+PONG\r\n"
        except OSError:
            return False

    return look


@pytest.fixture
def gone() -> Callable[[int], bool]:
    def look(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return look


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        assert until(condition, deadline=time.monotonic() + DEADLINE)

    return wait
