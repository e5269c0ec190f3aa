"""`twelvefold up`: one process that starts the rest, watches it, and ends it in order.

Order of starting: data folder (its lock), port, engines, roles; of ending: web (drains), worker,
engines. Invariant: while it lives, what died is brought back; when it ends, nothing is left running,
and what ended badly is said in one sentence.
"""

import json
import os
import queue
import resource
import signal
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from twelvefold.engines.embedded import DataFolder, EngineUrls, Supervisor
from twelvefold.engines.embedded.keeper import Keeper
from twelvefold.engines.embedded.supervisor import RESTART_BACKOFF
from twelvefold.kernel.config import Loaded
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, TwelvefoldError
from twelvefold.platform import runtime
from twelvefold.platform.catalogue import SYSTEMS
from twelvefold.platform.config import SERVER_ENGINES, Config, default_processes, embedded_engines
from twelvefold.platform.places import owner_key
from twelvefold.platform.roles import RoleServer
from twelvefold.web.ports import reserve

STOP_SECONDS = 30.0
OnEvent = Callable[[str, str, str], None]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller is told once everything answers."""

    url: str
    api_key: str
    console_url: str
    data_dir: str
    pid: int


class StartError(TwelvefoldError):
    """Twelvefold could not start."""

    code = "platform.start"


class Up:
    """A platform on one machine. `start`, then `wait`, then `stop`.

    Args:
        data: the data folder.
        loaded: the configuration and its origins.
        systems: which systems to run; empty means all that exist.
        on_event: told (name, "exited" | "restarted" | "failed", detail) about every process.
    """

    def __init__(self, data: Path, loaded: Loaded[Config], systems: Sequence[str], on_event: OnEvent) -> None:
        unknown = [name for name in systems if name not in SYSTEMS]
        if unknown:
            raise ConfigurationError(f"no system is called '{unknown[0]}'; there are: {', '.join(SYSTEMS)}")
        self._data = data
        self._config = loaded.value
        self._systems = tuple(systems) or SYSTEMS
        self._on_event = on_event
        self._folder: DataFolder | None = None
        self._supervisor: Supervisor | None = None
        self._keepers: list[Keeper] = []
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._starting = False

    def start(self) -> Started:
        """Start everything. Raises a `TwelvefoldError` in one sentence; then nothing runs.

        From here on SIGTERM and SIGINT end it in order: while it starts as a `KeyboardInterrupt`,
        later through `wait`.
        """
        _raise_file_limit()
        self._starting = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            started = self._start()
            self._starting = False
        except BaseException:
            self._starting = False
            self.stop()
            raise
        return started

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals.put(number)
        if self._starting:
            self._starting = False  # a second one must not break off the stopping
            raise KeyboardInterrupt

    def _start(self) -> Started:
        server = self._config.server
        self._folder = DataFolder.open(self._data)
        port = reserve(server.host, server.port)
        with port:
            runtime.remove(self._folder.path)
            # Web and worker import their modules while the engines start, and then wait for the note.
            self._begin_roles(self._folder)
            self._supervisor = Supervisor(
                self._folder, embedded_engines(self._config), on_event=self._on_event
            )
            embedded = self._supervisor.start()
            number = port.getsockname()[1]
            url = server.public_url or f"http://{shown_host(server.host)}:{number}"
            config = _with_free_doors(self._config) if server.port == 0 else self._config
            config = msgspec.structs.replace(config, server=msgspec.structs.replace(server, port=number))
            note = runtime.Runtime(
                pid=os.getpid(),
                url=url,
                data_dir=str(self._folder.path),
                started_at_ms=time.time_ns() // 1_000_000,
                systems=self._systems,
                engine_urls=engine_urls(config, embedded),
                config=config,
            )
            runtime.write(self._folder.path, note)
            self._await_roles()
        key = owner_key(self._folder.path)
        local = f"http://{shown_host(server.host)}:{number}"
        return Started(
            url=url,
            api_key=key,
            console_url=url + _login_path(local, key),
            data_dir=str(self._folder.path),
            pid=os.getpid(),
        )

    def _begin_roles(self, folder: DataFolder) -> None:
        count = self._config.server.processes or default_processes()
        for name in (*(f"web-{number}" for number in range(count)), "work"):
            role = RoleServer(name, folder.path, folder.runtime)
            keeper = Keeper(role, None, backoff=RESTART_BACKOFF, on_event=self._on_event)
            self._keepers.append(keeper)
            keeper.begin()

    def _await_roles(self) -> None:
        for keeper in self._keepers:
            error = keeper.first.exception()
            if error is not None:
                raise StartError(str(error).partition("it did not start: ")[2] or str(error)) from error

    def wait(self) -> None:
        """Return when SIGTERM or SIGINT comes."""
        self._signals.get()

    def stop(self) -> None:
        """End everything in order; may be called at any point of a start."""
        for keeper in self._keepers:
            keeper.request_stop(deadline_seconds=STOP_SECONDS)
        for keeper in self._keepers:
            keeper.join()
        self._keepers.clear()
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._folder is not None:
            runtime.remove(self._folder.path)
            self._folder.close()
            self._folder = None


def engine_urls(config: Config, embedded: EngineUrls) -> EngineUrls:
    """Where each engine is: embedded, or what the configuration names."""
    return EngineUrls(
        **{name: getattr(embedded, name) or getattr(config, name).url for name in SERVER_ENGINES}
    )


def _with_free_doors(config: Config) -> Config:
    """Where the web takes any free port, so do the limiter's doors, unless they are closed or were named."""
    free = {}
    usual = Config().limiter
    for name in ("grpc_port", "resp_port"):
        if getattr(config.limiter, name) == getattr(usual, name):
            with reserve(config.limiter.host, 0) as door:
                free[name] = door.getsockname()[1]
    return msgspec.structs.replace(config, limiter=msgspec.structs.replace(config.limiter, **free))


def shown_host(host: str) -> str:
    """An address to connect to, for a host to listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _login_path(url: str, key: str) -> str:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/v1/session/links", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            path: str = json.loads(answer.read())["path"]
            return path
    except (OSError, ValueError, KeyError) as error:
        raise EngineUnavailableError("web", f"it started but does not answer: {error}") from error


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 20)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
