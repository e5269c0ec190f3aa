"""Servers under measurement: started on chosen cores, weighed by what the kernel says, ended by their id.

Invariant: only processes that were started here are ever signalled; a server that a failed run left is ended
when its context closes. CPU time is utime + stime of every process of the tree, threads and reaped children
included, from `/proc`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TICKS = os.sysconf("SC_CLK_TCK")
ENGINES = ("postgres", "valkey-server", "redis-server", "mariadbd")
STOP_SECONDS = 20.0


class NotStartedError(Exception):
    """A server did not come up; the message has the last lines of its log."""


@dataclass(frozen=True)
class Usage:
    """What some processes took: CPU seconds since their start, and memory now."""

    cpu_seconds: float
    rss_bytes: int
    pss_bytes: int


class Server:
    """A server and its children."""

    def __init__(self, process: "subprocess.Popen[bytes]", name: str, log: Path) -> None:
        self.process = process
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def pids(self, role: Callable[[Sequence[str]], str] | None = None) -> dict[str, list[int]]:
        """The tree's processes by role, which `role` says by the command line; engines are always apart."""
        groups: dict[str, list[int]] = {"server": [], "engines": []}
        for pid in tree(self.pid):
            words = command_line(pid)
            if program(pid) in ENGINES:
                groups["engines"].append(pid)
            else:
                groups.setdefault(role(words) if role else "server", []).append(pid)
        return groups

    def stop(self) -> None:
        """SIGTERM to the server we started; SIGKILL to what of its tree is left after a while."""
        born = {pid: _born(pid) for pid in tree(self.pid)}
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        left = [pid for pid, moment in born.items() if moment and _born(pid) == moment]
        for pid in left:  # a pid that was born at another moment is somebody else's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while any(_born(pid) == born[pid] for pid in left) and time.monotonic() < deadline:
            time.sleep(0.01)


@contextlib.contextmanager
def running(
    words: Sequence[str],
    *,
    name: str,
    folder: Path,
    cpus: str | None = None,
    env: Mapping[str, str] | None = None,
    ready: Callable[[], bool] | None = None,
    ready_seconds: float = 60.0,
    stdout: IO[bytes] | int | None = None,
    cwd: Path | None = None,
) -> Iterator[Server]:
    """Start a server pinned to `cpus` (a taskset list), wait until `ready`, and end it on leaving."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned(words, cpus),
            stdout=out if stdout is None else stdout,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )
    server = Server(process, name, log)
    try:
        deadline = time.monotonic() + ready_seconds
        while ready is not None and not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                raise NotStartedError(f"{name} did not start (exit {process.poll()}):\n{tail}")
            time.sleep(0.05)
        yield server
    finally:
        server.stop()


def pinned(words: Sequence[str], cpus: str | None) -> list[str]:
    """A command that runs on `cpus` (a taskset list) alone; as it is where that is None or cannot be done."""
    return ["taskset", "-c", cpus, *words] if cpus and shutil.which("taskset") else list(words)


def finished(
    words: Sequence[str], *, cpus: str | None, timeout_seconds: float = 300, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, pinned; what it said is in the result."""
    return subprocess.run(
        pinned(words, cpus), capture_output=True, text=True, check=False, timeout=timeout_seconds, cwd=cwd
    )


def tree(root: int) -> list[int]:
    """A process and all its descendants that live now."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents[int(entry.name)] = int(fields[1])
    found = [root] if root in parents else []
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def usage(pids: Sequence[int]) -> Usage:
    """What these processes took; those that have ended meanwhile count nothing."""
    cpu = rss = pss = 0.0
    for pid in pids:
        fields = _stat(pid)
        if not fields:
            continue
        cpu += sum(map(int, fields[11:15])) / TICKS  # utime, stime and those of reaped children
        rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            pss += 1024 * next(
                int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
            )
    return Usage(cpu, int(rss), int(pss))


def command_line(pid: int) -> list[str]:
    """A process's words; empty when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def program(pid: int) -> str:
    """The kernel's name of a process."""
    fields = _stat(pid)
    return fields[-1] if fields else ""


def cores() -> tuple[str | None, str | None]:
    """`taskset` lists for the server and for the load generator; None where there is only one core."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) == 1:
        return None, None
    return str(available[0]), str(available[-1])


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> Callable[[], bool]:
    """Whether somebody takes connections on a local port."""

    def check() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check


def disk_bytes(folder: Path) -> int:
    """Blocks that a folder takes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/pid/stat after the name (state, ppid, …), and the name; none when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return [] if fields[0] == "Z" else [*fields, name]


def _born(pid: int) -> str:
    """When a process started, in ticks since boot: with the pid, its identity. Empty when it has ended."""
    fields = _stat(pid)
    return fields[19] if fields else ""
