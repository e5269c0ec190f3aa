"""As root the servers are dropped to an unprivileged user, with no more than it needs."""

import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import pytest

from twelvefold.engines.embedded import Supervisor
from twelvefold.engines.embedded.account import CAP_DAC_READ_SEARCH, Account, choose_account
from twelvefold.engines.embedded.process import ChildProcess
from twelvefold.kernel.errors import RefusedError

DEADLINE = 60.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="shows how root is dropped; run as root")


def test_as_root_the_servers_run_unprivileged_in_a_folder_closed_to_others(supervisor: Supervisor) -> None:
    for pid in supervisor.pids().values():
        process = psutil.Process(pid)
        assert process.uids().real != 0
        assert process.uids().saved != 0
        status = Path(f"/proc/{pid}/status").read_text()
        # pytest's temporary folder belongs to root alone: exactly the one capability to walk through it.
        assert f"CapEff:\t{1 << CAP_DAC_READ_SEARCH:016x}" in status
    path = Path(unquote(urlsplit(supervisor.urls.valkey).path))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o007 == 0


def test_an_open_way_needs_no_capability() -> None:
    account = choose_account(Path("/var/lib/twelvefold"), [Path("/bin/sh")])
    assert account is not None
    assert account.capability == -1


def test_a_closed_way_without_the_capability_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.engines.embedded.account._permitted_capabilities", lambda: 0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(RefusedError, match=r"cannot enter /.*chmod o\+x /"):
        choose_account(closed / "data", [])


def test_an_unknown_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no user nobody-like-this"):
        choose_account(tmp_path, [], user="nobody-like-this")


ORDINARY = """
import os, psutil, sys
from pathlib import Path
from twelvefold.engines.embedded import DataFolder, Supervisor
from twelvefold.kernel.errors import EngineUnavailableError
with DataFolder.open(Path(sys.argv[1])) as folder:
    supervisor = Supervisor(folder)
    try:
        supervisor.start()
    except EngineUnavailableError as error:
        print(error.message)
    uids = {psutil.Process(pid).uids().real for pid in supervisor.pids().values()}
    print("as itself", uids == {os.getuid()}, os.getuid() != 0)
    supervisor.stop()
"""


def as_account(account: Account, tmp_path: Path) -> list[str]:
    home = tmp_path / "home"
    home.mkdir()
    account.own(home)
    argv = [sys.executable, "-c", ORDINARY, str(home / "data")]
    child = ChildProcess("ordinary", argv, log=tmp_path / "log", account=account)
    child.start()
    assert child.wait(DEADLINE)
    return child.log_tail()


def test_it_runs_as_an_ordinary_user_too(tmp_path: Path) -> None:
    account = choose_account(tmp_path / "data", [Path(sys.executable).resolve()])
    assert account is not None
    assert as_account(account, tmp_path) == ["as itself True True"]


def test_a_user_without_a_name_is_told_what_is_missing(tmp_path: Path) -> None:
    """As in containers that are given any number as their user."""
    account = Account(54_321, 54_321, capability=CAP_DAC_READ_SEARCH)
    said = as_account(account, tmp_path)
    assert said[0].endswith("user 54321 has no name in /etc/passwd, which initdb needs; add a line for it")
