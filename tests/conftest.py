"""Real engines for tests: PostgreSQL and the three Valkeys from the wheels, never stand-ins.

Fixtures (all lazy; a test that names none starts nothing):

`embedded`      session: the `EngineUrls` of one supervisor in a temporary folder, one for each pytest process
`supervisor`    session: that supervisor, for tests that ask for pids (do not kill what others use)
`database_url`  a new, empty database for this test, dropped afterwards
`database`      that database, open (`twelvefold.engines.database.Database`)
`eventually`    `await eventually(condition)`: looks (sync or async) until it holds; fails after 20 s
`valkey_url`    the state server; `cache_url`, `log_url` the other two; each emptied before the test
`server`        session: the real `twelvefold up`, as its users run it: `url`, `api_key`, `console_url`, `data_dir`, `pid`

With `NO_SKIP=1` (as in `.ci/run`) a skipped test fails the run.
"""

import asyncio
import inspect
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from twelvefold.engines.database import Database
from twelvefold.engines.embedded import DataFolder, EngineUrls, MemoryLimits, Supervisor
from twelvefold.engines.embedded.server import postgres_program


@pytest.fixture(scope="session")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with DataFolder.open(tmp_path_factory.mktemp("embedded")) as folder:
        supervisor = Supervisor(folder, limits=MemoryLimits.for_total(1 << 30))
        supervisor.start()
        yield supervisor
        supervisor.stop()


@pytest.fixture(scope="session")
def embedded(supervisor: Supervisor) -> EngineUrls:
    return supervisor.urls


@pytest.fixture
def database_url(embedded: EngineUrls) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    administer(embedded.database, f"CREATE DATABASE {name}")
    yield embedded.database.replace("/twelvefold?", f"/{name}?")
    administer(embedded.database, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url, name="test") as database:
        yield database


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Awaitable[None]]:
    """For what another process does, which gives no event to wait for."""

    async def wait(condition: Callable[[], Any], *, deadline_seconds: float = 20.0) -> None:
        async with asyncio.timeout(deadline_seconds):
            while True:
                found = condition()
                if (await found) if inspect.isawaitable(found) else found:
                    return
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def valkey_url(embedded: EngineUrls) -> str:
    return _emptied(embedded.valkey)


@pytest.fixture
def cache_url(embedded: EngineUrls) -> str:
    return _emptied(embedded.cache)


@pytest.fixture
def log_url(embedded: EngineUrls) -> str:
    return _emptied(embedded.log)


def administer(url: str, sql: str) -> None:
    """Through psql, so that it works in tests without an event loop and leaves none behind."""
    subprocess.run(
        [postgres_program("psql"), "--no-psqlrc", "--quiet", "--command", sql, url],
        check=True,
        capture_output=True,
        timeout=30,
    )


def _emptied(url: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(Path(unquote(urlsplit(url).path))))
        for command in (b"FLUSHALL\r\n", b"FUNCTION FLUSH\r\n", b"SCRIPT FLUSH\r\n"):
            connection.sendall(command)
            assert connection.recv(64) == b"+OK\r\n"
    return url


@dataclass(frozen=True)
class RunningServer:
    """What `twelvefold up --json` said."""

    url: str
    api_key: str
    console_url: str
    data_dir: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def start_server(data: Path, *words: str) -> tuple[subprocess.Popen[str], RunningServer]:
    """Start `twelvefold up` on any free port; returns when it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "twelvefold.cli", "up", "--json", "--port", "0", "--data", str(data), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"twelvefold up ended with {process.wait(30)}"
    return process, RunningServer(**json.loads(line))


def until(condition: Callable[[], Any], *, deadline_seconds: float = 60.0) -> None:
    """Look at the world until it is as wanted; the deadline decides, not luck."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about before the deadline"
        time.sleep(0.05)


def stop_server(process: subprocess.Popen[str]) -> int:
    """End it as an operator would, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    assert process.stdout is not None
    process.stdout.close()
    return code


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    # What a rule says is tested, not how fast this machine is: the failure policy must not speak for it.
    patient = ("-X", "limiter.answer_ms=5000")
    process, running = start_server(tmp_path_factory.mktemp("platform") / "data", *patient)
    yield running
    assert stop_server(process) == 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIP") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
