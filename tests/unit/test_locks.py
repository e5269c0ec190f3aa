"""Locks name no hosts, and every requirement is pinned by hash."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def blocks(text):
    """Each requirement with its continuation lines, comments left out."""
    found = []
    for line in text.splitlines():
        if line.startswith(("    #", "#")) or not line.strip():
            continue
        if line.startswith(" "):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def test_all_locks_are_there():
    assert [lock.name for lock in LOCKS] == ["dev.lock", "run.lock", "uv.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_host(lock):
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--\w*index|--find-links|-f|--trusted-host)\b", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_and_hashed(lock):
    requirements = blocks(lock.read_text(encoding="utf-8"))
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+==\S+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_what_runs_is_locked_to_the_same_versions_for_development():
    run, dev = (
        {block.split(" \\")[0].strip() for block in blocks((ROOT / "requirements" / name).read_text())}
        for name in ("run.lock", "dev.lock")
    )
    assert run - dev == set()
