"""Memory is sized by the control group, not by the host."""

from pathlib import Path

import pytest

from twelvefold.engines.embedded.memory import GIB, MIB, MemoryLimits, available_bytes

HOST = 64 * GIB


def machine(tmp_path: Path, groups: str, files: dict[str, str]) -> int:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroup.mkdir()
    (proc / "meminfo").write_text(f"MemTotal: {HOST // 1024} kB\nMemFree: 1 kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroup / name).write_text(text)
    return available_bytes(proc=proc, cgroup=cgroup)


def test_without_limits_it_is_the_hosts(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/\n", {}) == HOST


def test_version_2_limit(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/app\n", {"app/memory.max": f"{512 * MIB}\n"}) == 512 * MIB


def test_version_2_no_limit(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/app\n", {"app/memory.max": "max\n"}) == HOST


def test_the_smallest_limit_above_counts(tmp_path: Path) -> None:
    files = {"a/memory.max": f"{GIB}\n", "a/b/memory.max": "max\n", "a/b/c/memory.max": f"{2 * GIB}\n"}
    assert machine(tmp_path, "0::/a/b/c\n", files) == GIB


def test_a_container_that_sees_its_group_as_the_root(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/docker/123\n", {"memory.max": f"{256 * MIB}\n"}) == 256 * MIB


def test_version_1_limit(tmp_path: Path) -> None:
    groups = "9:cpu,cpuacct:/x\n4:memory:/jobs/7\n0::/\n"
    files = {
        "memory/jobs/7/memory.limit_in_bytes": f"{GIB}\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert machine(tmp_path, groups, files) == GIB


@pytest.mark.parametrize("total", [256 * MIB, 512 * MIB, GIB, 4 * GIB, 24 * GIB, 512 * GIB])
def test_the_servers_peak_leaves_room_for_ours(total: int) -> None:
    limits = MemoryLimits.for_total(total)
    peak = limits.shared_buffers_bytes + limits.cache_bytes + 2 * (limits.valkey_bytes + limits.log_bytes)
    assert peak < total * 2 // 3
    assert limits.shared_buffers_bytes <= max(64 * MIB, total // 64)


def test_a_small_machine_gets_small_buffers() -> None:
    assert MemoryLimits.for_total(2 * GIB).shared_buffers_bytes == 64 * MIB
    assert MemoryLimits.for_total(512 * MIB).shared_buffers_bytes == 16 * MIB
