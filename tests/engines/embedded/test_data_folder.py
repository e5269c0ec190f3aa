"""The data folder: one holder, private, never opened by older code, never someone's home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twelvefold.engines.embedded import DataFolder
from twelvefold.engines.embedded.data_folder import FORMAT, SOCKET_PATH_BYTES, holder
from twelvefold.kernel.errors import RefusedError


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "deep" / "data") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert folder.runtime.stat().st_mode & 0o777 == 0o700
        assert (folder.path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_second_open_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(RefusedError, match=rf"in use by process {os.getpid()};"):
        DataFolder.open(tmp_path)


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from twelvefold.engines.embedded import DataFolder\n"
        f"DataFolder.open(Path({str(tmp_path)!r}))"
    )
    with DataFolder.open(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"in use by process {os.getpid()}" in done.stderr


def test_closing_frees_the_folder(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    assert holder(tmp_path) is None
    DataFolder.open(tmp_path).close()


def test_holder_names_the_process_without_taking_the_folder(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path / "absent") is None


def test_a_refused_open_frees_the_lock(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    (tmp_path / "FORMAT").write_text("nonsense")
    for _ in range(2):
        with pytest.raises(RefusedError, match="damaged"):
            DataFolder.open(tmp_path)
    assert holder(tmp_path) is None


def test_a_newer_folder_is_refused(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    (tmp_path / "FORMAT").write_text(f"{FORMAT + 1}\n")
    with pytest.raises(RefusedError, match=f"newer Twelvefold \\(folder format {FORMAT + 1}"):
        DataFolder.open(tmp_path)
    assert (tmp_path / "FORMAT").read_text() == f"{FORMAT + 1}\n"


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    tmp_path.chmod(0o755)
    with pytest.raises(RefusedError, match="not empty and is no Twelvefold data folder"):
        DataFolder.open(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_loosened_folder_is_tightened(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    tmp_path.chmod(0o755)
    DataFolder.open(tmp_path).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(RefusedError, match="cannot be used as the data folder: File exists"):
        DataFolder.open(tmp_path / "data")


def test_control_characters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="control character"):
        DataFolder.open(tmp_path / "a\nb")


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with DataFolder.open(Path("data")) as folder:
        assert folder.path == tmp_path / "data"


def test_a_long_path_gets_a_short_private_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = tmp_path / ("x" * 90)
    with DataFolder.open(path) as folder:
        runtime = folder.runtime
        assert len(str(runtime)) < SOCKET_PATH_BYTES - 40
        assert runtime.stat().st_mode & 0o777 == 0o700
    with DataFolder.open(path) as again:
        assert again.runtime == runtime
        (runtime / "database").mkdir()
        (runtime / "database" / "leftover").touch()
    assert not runtime.exists()


def test_a_runtime_folder_planted_by_someone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = tmp_path / ("y" * 90)
    with DataFolder.open(path) as folder:
        runtime = folder.runtime
    runtime.symlink_to(tmp_path)
    try:
        with pytest.raises(RefusedError, match="belongs to someone else"):
            DataFolder.open(path)
    finally:
        runtime.unlink()
