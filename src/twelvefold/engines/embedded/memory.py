"""How much memory the servers may take, from what this process is allowed, not from what the host has.

A container with 512 MB on a host with 256 GB must get settings for 512 MB. Reads the limits of
every control group above us (version 1 and 2), then divides.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

MIB = 1 << 20
GIB = 1 << 30

UNLIMITED_FROM = 1 << 60
"""Version 1 writes a number near 2^63 where there is no limit."""


class MemoryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for the embedded servers, in bytes."""

    total_bytes: int
    shared_buffers_bytes: int
    effective_cache_bytes: int
    work_memory_bytes: int
    maintenance_memory_bytes: int
    valkey_bytes: int
    cache_bytes: int
    log_bytes: int

    @classmethod
    def for_total(cls, total_bytes: int) -> "MemoryLimits":
        """Divide `total_bytes`, of which the servers together take well under two thirds at their peak.

        The state and log servers can briefly double while they rewrite their file (copy on write),
        so their eighths count twice.
        """
        return cls(
            total_bytes=total_bytes,
            # The operating system caches files too; 64 MB hold the hot pages of a small machine,
            # and each page costs only when first used.
            shared_buffers_bytes=_between(
                16 * MIB, total_bytes // 64, 1 * GIB, least_above_1_gib=64 * MIB, total=total_bytes
            ),
            effective_cache_bytes=max(64 * MIB, total_bytes // 2),
            work_memory_bytes=_clamp(1 * MIB, total_bytes // 512, 16 * MIB),
            maintenance_memory_bytes=_clamp(16 * MIB, total_bytes // 64, 256 * MIB),
            valkey_bytes=max(16 * MIB, total_bytes // 8),
            cache_bytes=max(8 * MIB, total_bytes // 16),
            log_bytes=max(16 * MIB, total_bytes // 8),
        )

    @classmethod
    def for_machine(cls) -> "MemoryLimits":
        """Divide what this process may use."""
        return cls.for_total(available_bytes())


def _clamp(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def _between(least: int, value: int, most: int, *, least_above_1_gib: int, total: int) -> int:
    return _clamp(least_above_1_gib if total >= GIB else least, value, most)


def available_bytes(*, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smallest of the host's memory and every control group's limit that holds for this process."""
    return min(_host_bytes(proc), *_limits(proc, cgroup), UNLIMITED_FROM)


def _host_bytes(proc: Path) -> int:
    for line in (proc / "meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return GIB


def _limits(proc: Path, cgroup: Path) -> Iterator[int]:
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0" and not controllers:
            yield from _limits_upwards(cgroup, group, "memory.max")
            yield from _limits_upwards(cgroup / "unified", group, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_upwards(cgroup / "memory", group, "memory.limit_in_bytes")


def _limits_upwards(root: Path, group: str, file: str) -> Iterator[int]:
    """A container often sees its own group at the root, so folders that are not there are passed over."""
    relative = PurePosixPath(group.lstrip("/"))
    for folder in (relative, *relative.parents):
        try:
            text = (root / folder / file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < UNLIMITED_FROM:
            yield int(text)
