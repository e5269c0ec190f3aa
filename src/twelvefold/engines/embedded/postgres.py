"""PostgreSQL from the wheel, as the `database` engine.

Invariants: the cluster appears under its name only when it is complete (it is made beside it and
renamed), every commit is on disk before it is acknowledged, and only our own processes can connect:
the socket lies in a private folder and the role has a generated password. Password and not trust,
because a folder's mode is one mistaken chmod away and this role may run programs; its cost is kept
near nothing by one SCRAM iteration, which a 256-bit random password does not need more of.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from twelvefold.engines.embedded.account import Account
from twelvefold.engines.embedded.data_folder import DataFolder, write_atomically
from twelvefold.engines.embedded.memory import MemoryLimits
from twelvefold.engines.embedded.process import ChildProcess, until
from twelvefold.engines.embedded.server import own_folder, postgres_program, program_env, refuse_if_gone
from twelvefold.kernel.errors import EngineUnavailableError, RefusedError

MAJOR_VERSION = "18"
ROLE = "twelvefold"
DATABASE = "twelvefold"
PORT = 5432
"""Only names the socket: no TCP port is opened."""

INITDB_DEADLINE_SECONDS = 120.0
"""Half a second on an idle disk; a hundred times that on a busy network disk."""

SETTINGS = """\
# Written by Twelvefold at every start. Your own settings go to postgresql.user.conf beside this file.
listen_addresses = ''
port = {port}
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
cluster_name = 'twelvefold'
# Web and worker processes hold pools of at most 10; a connection costs about 2 MB resident.
max_connections = 60
superuser_reserved_connections = 3

shared_buffers = {shared_buffers_kb}kB
effective_cache_size = {effective_cache_kb}kB
work_mem = {work_memory_kb}kB
maintenance_work_mem = {maintenance_memory_kb}kB
# Requests are short: no process pools for parallel plans, no compiler for single rows.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
max_parallel_workers = 0
max_worker_processes = 2
jit = off
# Reading in the backend itself saves three I/O processes that an idle machine would carry.
io_method = sync
# Nobody subscribes to us; saves the replication launcher. Two senders stay for online backups.
max_logical_replication_workers = 0
max_wal_senders = 2
max_replication_slots = 2
wal_level = replica

wal_compression = on
# Half of the default: a small disk is not filled by recycled segments.
max_wal_size = 512MB
min_wal_size = 64MB
checkpoint_timeout = 5min
# Before recovery after a crash; one call instead of a thousand: back in 0.6 s, not 4.4 s, on a busy disk.
recovery_init_sync_method = {sync_method}

autovacuum = on
autovacuum_max_workers = 2
autovacuum_worker_slots = 2
# Small hot tables (leases, jobs) churn; look often, it is cheap.
autovacuum_naptime = 20s
random_page_cost = 1.1

# A client that has gone must not keep locks until its statement ends.
client_connection_check_interval = 500ms
idle_in_transaction_session_timeout = 60s
password_encryption = 'scram-sha-256'
scram_iterations = 1

log_destination = 'stderr'
logging_collector = off
log_min_messages = warning
# Neither statements nor rows: they hold people's data, and the client was told the whole.
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
log_line_prefix = '%m [%p] '
log_timezone = 'UTC'
timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'

include_if_exists = 'postgresql.user.conf'

# Durable means durable: after the user's file, so that it cannot say otherwise.
fsync = on
synchronous_commit = on
full_page_writes = on
"""

ACCESS = """\
# Written by Twelvefold at every start: only the socket, only with the password.
local all all scram-sha-256
local replication all scram-sha-256
"""

_COMPLAINT = re.compile(r"(?:PANIC|FATAL|initdb: error|launch): +(.*)")


class PostgresServer:
    """See `EmbeddedServer`."""

    name = "database"
    stop_signal = signal.SIGINT
    """Fast shutdown: ends the sessions, writes a checkpoint."""

    def __init__(self, folder: DataFolder, limits: MemoryLimits) -> None:
        self._limits = limits
        self._path = folder.path / "postgres"
        self._sockets = folder.runtime / "database"
        self._password = folder.secrets.get("database_password").hex()
        self.lock = folder.path / "postgres.lock"
        self.log = folder.path / "logs" / "database.log"
        self.url = (
            f"postgresql://{ROLE}:{self._password}@/{DATABASE}?host={quote(str(self._sockets), safe='')}"
        )

    def prepare(self, account: Account | None, stopping: Callable[[], bool]) -> None:
        """See `EmbeddedServer.prepare`; makes the cluster at the first start."""
        refuse_if_gone(self._path, self.lock)
        own_folder(self._sockets, account)
        if not self._path.exists():
            self._make_cluster(account, stopping)
        if stopping():
            return
        self._check_version()
        self._write("postgresql.conf", self._settings(), account)
        self._write("pg_hba.conf", ACCESS, account)
        self._forget_the_dead()

    def child(self, account: Account | None, on_exit: Callable[[int], None]) -> ChildProcess:
        """See `EmbeddedServer.child`."""
        return self._program("postgres", ["-D", str(self._path)], account, lock=self.lock, on_exit=on_exit)

    def is_ready(self, child: ChildProcess) -> bool:
        """The postmaster writes its state into its pid file; reading it costs no connection."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[0].strip() == str(child.pid) and lines[7].strip() == "ready"

    def explain(self, log_lines: Sequence[str]) -> str:
        """See `EmbeddedServer.explain`."""
        text = "\n".join(log_lines)
        if "No space left on device" in text:
            return f"the disk that holds {self._path} is full; free some space and start again"
        if "shared memory" in text and ("could not create" in text or "could not map" in text):
            return "the machine has too little memory for it; give it more, or close other programs"
        if "could not look up effective user ID" in text:
            return f"user {os.geteuid()} has no name in /etc/passwd, which initdb needs; add a line for it"
        found = [match[1] for line in log_lines if (match := _COMPLAINT.search(line))]
        return found[-1] if found else " / ".join(log_lines[-2:])

    def _make_cluster(self, account: Account | None, stopping: Callable[[], bool]) -> None:
        half_made = self._path.with_name("postgres.new")
        if half_made.exists():
            shutil.rmtree(half_made)
        own_folder(half_made, account)
        password = self._sockets / "password"
        first = self._sockets / "first.sql"
        try:
            _write_for(password, self._password + "\n", account)
            self._run(
                "initdb",
                [
                    f"--pgdata={half_made}", f"--username={ROLE}", f"--pwfile={password}",
                    "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                    "--auth=scram-sha-256", "--data-checksums", "--set=scram_iterations=1",
                    "--set=max_connections=10", "--set=io_method=sync", "--set=shared_buffers=16MB",
                    f"--sync-method={sync_method()}", "--no-instructions",
                ],
                account,
                stopping,
            )  # fmt: skip
            _write_for(first, f"CREATE DATABASE {DATABASE}\n", account)
            self._run(
                "postgres",
                ["--single", "-j", "-D", str(half_made), "postgres"],
                account,
                stopping,
                stdin=first,
            )
        finally:
            password.unlink(missing_ok=True)
            first.unlink(missing_ok=True)
        if stopping():
            return
        half_made.rename(self._path)
        _sync_folder(self._path.parent)

    def _check_version(self) -> None:
        found = (self._path / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != MAJOR_VERSION:
            raise RefusedError(
                f"{self._path} holds data of PostgreSQL {found}, and this Twelvefold brings {MAJOR_VERSION}; "
                f"run the Twelvefold that wrote it, or move the data with pg_dump"
            )

    def _settings(self) -> str:
        limits = self._limits
        return SETTINGS.format(
            port=PORT,
            sync_method=sync_method(),
            sockets=_quoted(str(self._sockets)),
            shared_buffers_kb=limits.shared_buffers_bytes >> 10,
            effective_cache_kb=limits.effective_cache_bytes >> 10,
            work_memory_kb=limits.work_memory_bytes >> 10,
            maintenance_memory_kb=limits.maintenance_memory_bytes >> 10,
        )

    def _write(self, name: str, text: str, account: Account | None) -> None:
        file = self._path / name
        write_atomically(file, text.encode())
        if account is not None:
            account.own(file)

    def _forget_the_dead(self) -> None:
        """Remove pids that another program may have now, as after a container's restart.

        PostgreSQL would take that program for a running server and refuse. Called with no process of
        an earlier start alive (the lock says so). With a dead pid in its main file PostgreSQL copes by
        itself, and then also frees the old shared memory, so that file stays.
        """
        for suffix in ("", ".lock"):
            (self._sockets / f".s.PGSQL.{PORT}{suffix}").unlink(missing_ok=True)
        lines = self._pid_file()
        if lines and lines[0].strip().isdigit() and Path(f"/proc/{lines[0].strip()}").exists():
            (self._path / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self._path / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []

    def _run(
        self,
        program: str,
        arguments: list[str],
        account: Account | None,
        stopping: Callable[[], bool],
        *,
        stdin: Path | None = None,
    ) -> None:
        child = self._program(program, arguments, account, stdin=stdin)
        child.start()
        deadline = time.monotonic() + INITDB_DEADLINE_SECONDS
        until(lambda: stopping() or not child.alive, deadline=deadline)
        if child.alive:
            child.kill_tree()
            if stopping():
                return
            raise EngineUnavailableError(
                self.name, f"{program} took longer than {INITDB_DEADLINE_SECONDS:.0f} s"
            )
        if child.returncode != 0:
            raise EngineUnavailableError(self.name, self.explain(child.log_tail(8)) or f"{program} failed")

    def _program(
        self,
        program: str,
        arguments: list[str],
        account: Account | None,
        *,
        lock: Path | None = None,
        stdin: Path | None = None,
        on_exit: Callable[[int], None] | None = None,
    ) -> ChildProcess:
        return ChildProcess(
            self.name,
            [str(postgres_program(program)), *arguments],
            log=self.log,
            env=program_env(),
            cwd=self._sockets,
            stdin=stdin,
            account=account,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
            lock=lock,
            on_exit=on_exit,
        )


def sync_method(release: str = os.uname().release) -> str:
    """`syncfs` where the kernel tells of write errors in it (from 5.8 on), else `fsync` of each file."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return "syncfs" if found and (int(found[1]), int(found[2])) >= (5, 8) else "fsync"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _write_for(file: Path, text: str, account: Account | None) -> None:
    write_atomically(file, text.encode())
    if account is not None:
        account.own(file)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
