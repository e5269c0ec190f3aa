"""Starts, watches and stops the servers that ship in wheels: PostgreSQL and three Valkeys.

Invariant: between `start` and `stop` each wanted server runs or is being brought back at the same
address, and none outlives this process. The parts: `Keeper` (one server's life), `ChildProcess` (one
process), `EmbeddedServer` (what is special about each program).
"""

from concurrent.futures import FIRST_EXCEPTION, wait

import msgspec

from twelvefold.engines.embedded.account import Account, admit, choose_account
from twelvefold.engines.embedded.data_folder import DataFolder
from twelvefold.engines.embedded.keeper import Keeper, OnEvent
from twelvefold.engines.embedded.memory import MemoryLimits
from twelvefold.engines.embedded.postgres import PostgresServer
from twelvefold.engines.embedded.server import EmbeddedServer, postgres_program, valkey_program
from twelvefold.engines.embedded.valkey_server import ValkeyServer
from twelvefold.kernel.retry import Backoff

ENGINES = ("database", "valkey", "cache", "log")
"""In starting order: the slowest first. Stopping goes the other way round."""

FAILED_START_STOP_SECONDS = 5.0

RESTART_BACKOFF = Backoff(first_seconds=0.05, cap_seconds=5.0)
"""A killed server is back before most callers ask again; one that cannot start does not burn a core."""


class EngineUrls(msgspec.Struct, frozen=True):
    """Where clients find each server; empty for one that was not wanted. The database's holds a password."""

    database: str = ""
    valkey: str = ""
    cache: str = ""
    log: str = ""

    def __repr__(self) -> str:
        return "EngineUrls(…)"


class Supervisor:
    """The servers of one data folder.

    Args:
        folder: open, and kept open until after `stop`.
        wanted: which of `ENGINES` to run.
        limits: memory bounds; by default from what this process may use.
        user: as whom to run them if we are root.
        backoff: delays between restarts of a server that keeps dying.
        on_event: called from a watching thread with (name, "exited" | "restarted" | "failed", detail).
    """

    def __init__(
        self,
        folder: DataFolder,
        wanted: frozenset[str] = frozenset(ENGINES),
        limits: MemoryLimits | None = None,
        *,
        user: str | None = None,
        backoff: Backoff = RESTART_BACKOFF,
        on_event: OnEvent | None = None,
    ) -> None:
        if unknown := wanted - set(ENGINES):
            raise ValueError(f"no such engine: {', '.join(sorted(unknown))}")
        self._folder = folder
        self._wanted = [name for name in ENGINES if name in wanted]
        self._limits = limits
        self._user = user
        self._backoff = backoff
        self._on_event = on_event or _nothing
        self._keepers: dict[str, Keeper] = {}
        self.urls = EngineUrls()
        """How to reach the servers; set by `start`."""

    def start(self) -> EngineUrls:
        """Start all at once and return when all answer.

        Raises `EngineUnavailableError` with the reason from the server's log, or `RefusedError`; then
        none is left running.
        """
        if self._keepers:
            raise RuntimeError("already started")
        limits = self._limits or MemoryLimits.for_machine()
        servers = [self._server(name, limits) for name in self._wanted]
        account = self._account()
        for server in servers:
            self._keepers[server.name] = Keeper(
                server, account, backoff=self._backoff, on_event=self._on_event
            )
        try:
            for keeper in self._keepers.values():
                keeper.begin()
            firsts = [keeper.first for keeper in self._keepers.values()]
            for first in wait(firsts, return_when=FIRST_EXCEPTION).done:
                first.result()
        except BaseException:
            self.stop(deadline_seconds=FAILED_START_STOP_SECONDS)
            raise
        self.urls = EngineUrls(**{server.name: server.url for server in servers})
        return self.urls

    def pids(self) -> dict[str, int]:
        """The process ids of the servers that live at this moment."""
        return {name: pid for name, keeper in self._keepers.items() if (pid := keeper.pid) is not None}

    def stop(self, *, deadline_seconds: float = 10) -> None:
        """Ask all to end, database last, and kill what has not ended by the deadline. May be repeated."""
        for name in reversed(self._wanted):
            if name in self._keepers:
                self._keepers[name].request_stop(deadline_seconds=deadline_seconds)
        for keeper in self._keepers.values():
            keeper.join()
        self._keepers.clear()

    def __enter__(self) -> EngineUrls:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _server(self, name: str, limits: MemoryLimits) -> EmbeddedServer:
        if name == "database":
            return PostgresServer(self._folder, limits)
        return ValkeyServer(name, self._folder, limits)

    def _account(self) -> Account | None:
        programs = [
            *(
                [postgres_program("postgres"), postgres_program("initdb")]
                if "database" in self._wanted
                else []
            ),
            *([valkey_program()] if set(self._wanted) - {"database"} else []),
        ]
        account = choose_account(
            self._folder.path,
            programs,
            user=self._user,
            keep_owner_of=[self._folder.path / name for name in ("postgres", "valkey", "log")],
        )
        if account is not None:
            admit(account, self._folder.path)
            admit(account, self._folder.runtime)
        return account


def _nothing(name: str, what: str, detail: str) -> None:
    del name, what, detail
