"""Three Valkey servers from the wheel, which differ in what they may forget.

`valkey` holds state (loses at most the last second if the machine dies, nothing if only it dies),
`log` holds what was promised (on disk before it is acknowledged), `cache` may drop anything.
Three processes rather than one, because eviction and the append-only policy hold for a whole server.
"""

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from twelvefold.engines.embedded.account import Account
from twelvefold.engines.embedded.data_folder import DataFolder, write_atomically
from twelvefold.engines.embedded.memory import MemoryLimits
from twelvefold.engines.embedded.process import ChildProcess
from twelvefold.engines.embedded.server import own_folder, program_env, refuse_if_gone, valkey_program

SETTINGS = """\
# Written by Twelvefold at every start.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
daemonize no
loglevel warning
databases 1
maxclients 4000
maxmemory {memory_bytes}
maxmemory-policy {eviction}
appendonly {append_only}
appendfsync {append_sync}
# The snapshot of the append-only file is enough; a second kind of file would double the writes.
save ""
aof-use-rdb-preamble yes
# A torn tail after a power cut is what was never acknowledged; cut it and start.
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
# One thread: our clients write in large batches, and a second one would take a core of two.
io-threads 1
# Freed in the background, so that dropping a large key does not stop everyone.
lazyfree-lazy-eviction yes
lazyfree-lazy-expire yes
lazyfree-lazy-user-del yes
lazyfree-lazy-user-flush no
latency-tracking no
proc-title-template "twelvefold-{name}"
enable-debug-command no
enable-module-command no
"""

PROBE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Policy:
    """What one of the servers keeps."""

    append_only: str
    append_sync: str
    eviction: str


POLICIES = {
    "valkey": Policy("yes", "everysec", "noeviction"),
    "cache": Policy("no", "everysec", "allkeys-lru"),
    "log": Policy("yes", "always", "noeviction"),
}


class ValkeyServer:
    """See `EmbeddedServer`; `name` is a key of `POLICIES`."""

    stop_signal = signal.SIGTERM

    def __init__(self, name: str, folder: DataFolder, limits: MemoryLimits) -> None:
        self.name = name
        self._path = folder.path / name
        self._sockets = folder.runtime / name
        self._socket = self._sockets / "s"
        self._memory_bytes = {
            "valkey": limits.valkey_bytes,
            "cache": limits.cache_bytes,
            "log": limits.log_bytes,
        }[name]
        self.lock = folder.path / f"{name}.lock"
        self.log = folder.path / "logs" / f"{name}.log"
        self.url = f"unix://{quote(str(self._socket))}"

    def prepare(self, account: Account | None, stopping: Callable[[], bool]) -> None:
        """See `EmbeddedServer.prepare`."""
        del stopping  # nothing here takes long
        if POLICIES[self.name].append_only == "yes":
            refuse_if_gone(self._path, self.lock)
        own_folder(self._path, account)
        own_folder(self._sockets, account)
        self._socket.unlink(missing_ok=True)
        policy = POLICIES[self.name]
        settings = SETTINGS.format(
            name=self.name,
            socket=_quoted(str(self._socket)),
            folder=_quoted(str(self._path)),
            memory_bytes=self._memory_bytes,
            eviction=policy.eviction,
            append_only=policy.append_only,
            append_sync=policy.append_sync,
        )
        file = self._sockets / "valkey.conf"
        write_atomically(file, settings.encode(errors="surrogateescape"))
        if account is not None:
            account.own(file)

    def child(self, account: Account | None, on_exit: Callable[[int], None]) -> ChildProcess:
        """See `EmbeddedServer.child`."""
        return ChildProcess(
            self.name,
            [str(valkey_program()), str(self._sockets / "valkey.conf")],
            log=self.log,
            env=program_env(),
            cwd=self._sockets,
            account=account,
            stop_signal=self.stop_signal,
            death_signal=self.stop_signal,
            lock=self.lock,
            on_exit=on_exit,
        )

    def is_ready(self, child: ChildProcess) -> bool:
        """Whether it answers PING; it says LOADING while it reads its file."""
        del child  # the lock lets only one process have this socket
        return ping(self._socket)

    def explain(self, log_lines: Sequence[str]) -> str:
        """See `EmbeddedServer.explain`."""
        text = "\n".join(log_lines)
        if "No space left on device" in text:
            return f"the disk that holds {self._path} is full; free some space and start again"
        if "Bad file format reading the append only file" in text or "Unrecoverable error" in text:
            return (
                f"its append-only file in {self._path} is damaged; restore it from a backup ({log_lines[-1]})"
            )
        if "Can't handle RDB format version" in text:
            return f"{self._path} was written by a newer Valkey; run the Twelvefold that wrote it"
        return log_lines[-1] if log_lines else ""


def ping(path: Path) -> bool:
    """Whether the server behind a unix socket answers PING with PONG within a fifth of a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PROBE_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
