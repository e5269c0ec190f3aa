"""Secrets: generated once, kept, refused when others could have read them."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from twelvefold.engines.embedded import DataFolder, Secrets
from twelvefold.kernel.errors import RefusedError


def test_a_secret_is_stable_and_private(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        first = folder.secrets.get("cookie_key")
        other = folder.secrets.get("database_password", 16)
    with DataFolder.open(tmp_path) as folder:
        assert folder.secrets.get("cookie_key") == first
        assert folder.secrets.get("database_password", 16) == other
    assert (len(first), len(other)) == (32, 16)
    assert (tmp_path / "secrets" / "cookie_key").stat().st_mode & 0o777 == 0o600


def test_threads_that_ask_at_once_get_the_same(tmp_path: Path) -> None:
    folders = [Secrets(tmp_path / "secrets") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda secrets: secrets.get("key"), folders))) == 1
    assert [entry.name for entry in (tmp_path / "secrets").iterdir()] == ["key"]


@pytest.mark.parametrize("which", ["secrets", "secrets/key"])
def test_what_others_can_read_is_refused(tmp_path: Path, which: str) -> None:
    with DataFolder.open(tmp_path) as folder:
        folder.secrets.get("key")
    path = tmp_path / which
    path.chmod(path.stat().st_mode | 0o004)
    with pytest.raises(RefusedError, match=f"{path} can be read by others.*chmod"):
        DataFolder.open(tmp_path)


def test_a_secret_loosened_later_is_refused(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.get("key")
    (tmp_path / "secrets" / "key").chmod(0o640)
    with pytest.raises(RefusedError, match="can be read by others"):
        secrets.get("key")


def test_a_cut_secret_is_refused_not_replaced(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.get("key")
    os.truncate(tmp_path / "secrets" / "key", 5)
    with pytest.raises(RefusedError, match="5 bytes instead of 32"):
        secrets.get("key")


@pytest.mark.parametrize("name", ["", "../up", "Key", "a b", ".hidden"])
def test_odd_names_are_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a secret's name"):
        Secrets(tmp_path / "secrets").get(name)
