"""Doctor's findings about a data folder."""

import os
import time
from pathlib import Path

import pytest

from twelvefold.engines.embedded import DataFolder, MemoryLimits, Supervisor
from twelvefold.engines.embedded.checks import Finding, examine


def found(path: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(path)}


def test_a_folder_that_is_not_there_is_well(tmp_path: Path) -> None:
    findings = found(tmp_path / "absent")
    assert all(finding.ok for finding in findings.values()), findings
    assert "the first start makes it" in findings["data folder"].detail
    assert {"disk", "clock", "open files", "memory", "engine programs"} < set(findings)


def test_a_running_folder_names_its_processes(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        supervisor = Supervisor(folder, frozenset({"cache"}), MemoryLimits.for_total(1 << 30))
        supervisor.start()
        findings = found(folder.path)
        assert findings["data folder"].detail.endswith(f"in use by process {os.getpid()}")
        assert findings["engine cache"].detail == f"process {supervisor.pids()['cache']}"
        supervisor.stop()
        assert found(folder.path)["engine cache"].detail == "not running"
        assert all(finding.ok for finding in found(folder.path).values())


def test_open_modes_are_found_with_the_command_that_helps(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.secrets.get("key")
    key = tmp_path / "data" / "secrets" / "key"
    key.chmod(0o644)
    finding = found(tmp_path / "data")["data folder modes"]
    assert not finding.ok
    assert finding.advice == f"run chmod go-rwx {key}"


def test_a_newer_format_is_found(tmp_path: Path) -> None:
    DataFolder.open(tmp_path / "data").close()
    (tmp_path / "data" / "FORMAT").write_text("99")
    assert (
        found(tmp_path / "data")["data folder format"].advice == "install the newer Twelvefold that wrote it"
    )


def test_a_clock_that_was_set_back_is_found(tmp_path: Path) -> None:
    DataFolder.open(tmp_path / "data").close()
    ahead = time.time() + 3600
    os.utime(tmp_path / "data" / "lock", (ahead, ahead))
    finding = found(tmp_path / "data")["clock"]
    assert not finding.ok
    assert "behind the newest file" in finding.detail


def test_too_little_disk_or_memory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twelvefold.engines.embedded.checks.available_bytes", lambda: 128 << 20)
    monkeypatch.setattr("twelvefold.engines.embedded.checks.LEAST_FREE_BYTES", 1 << 60)
    findings = found(tmp_path)
    assert not findings["memory"].ok
    assert not findings["disk"].ok


def test_every_failing_finding_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("x")
    tmp_path.chmod(0o777)
    for finding in examine(tmp_path):
        assert finding.ok or finding.advice, finding
