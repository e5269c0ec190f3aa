"""What every drill does: find a process by its role, kill it, wait for recovery, audit.

Invariant: nothing waits without a deadline, a drill signals only processes of the platform it started, and an
audit prints every number it judges, so that a reader can judge again.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.links.platform import Platform
from bench.processes import command_line, program, tree

ROLES = ("web", "worker", "valkey", "cache", "log", "database")
POLL_SECONDS = 0.05


class DrillError(Exception):
    """The drill itself could not go on: no such process, or no recovery before the deadline."""


@dataclass
class Audit:
    """Named counts, and checks over them."""

    name: str
    counts: dict[str, object] = field(default_factory=dict)
    checks: list[tuple[str, bool]] = field(default_factory=list)

    def count(self, name: str, value: object) -> None:
        """Note a number."""
        self.counts[name] = value

    def check(self, promise: str, holds: bool) -> None:  # noqa: FBT001 # the result of a comparison
        """Note whether a promise holds."""
        self.checks.append((promise, holds))

    @property
    def passed(self) -> bool:
        """Whether all promises hold."""
        return bool(self.checks) and all(holds for _, holds in self.checks)

    def __str__(self) -> str:
        lines = [f"{self.name}: {'passed' if self.passed else 'FAILED'}"]
        lines += [f"  {name:<42} {value}" for name, value in self.counts.items()]
        lines += [f"  {'yes' if holds else 'NO '} {promise}" for promise, holds in self.checks]
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same as plain data."""
        checks = [{"promise": promise, "holds": holds} for promise, holds in self.checks]
        return {"drill": self.name, "passed": self.passed, "counts": self.counts, "checks": checks}


def find(platform: Platform, role: str) -> int:
    """The process with this role. Raises `DrillError` if there is none."""
    for pid in tree(platform.server.pid):
        words = command_line(pid)
        if _is(role, program(pid), words):
            return pid
    raise DrillError(f"the platform has no process with the role '{role}'")


def kill(platform: Platform, role: str) -> tuple[int, float]:
    """SIGKILL the process with this role; gives its pid and the monotonic moment."""
    pid = find(platform, role)
    os.kill(pid, signal.SIGKILL)
    return pid, time.monotonic()


def is_replaced(platform: Platform, role: str, old_pid: int) -> bool:
    """Whether another process has the role now."""
    try:
        return find(platform, role) != old_pid
    except DrillError:
        return False


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float) -> float:
    """Wait for a condition; gives how long it took. Raises `DrillError` naming `what` after `seconds`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise DrillError(f"after {seconds:g} s still not: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started


def _is(role: str, name: str, words: list[str]) -> bool:
    if role == "database":
        return name == "postgres" and "-D" in words
    if role in ("valkey", "cache", "log"):
        # It writes its title over its command line, which is empty for a moment.
        return name == "valkey-server" and bool(words) and words[0].split(" ")[0] == f"twelvefold-{role}"
    if "twelvefold.platform.role_process" not in words:
        return False
    process = words[words.index("twelvefold.platform.role_process") + 1]
    return process == "work" if role == "worker" else process.startswith("web")
