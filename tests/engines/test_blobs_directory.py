"""What a directory adds to the contract of `engines.blobs`: durable when acknowledged, whole or absent."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engines.blob_sources import failing, in_chunks, listed

from twelvefold.engines.blobs import (
    BlobExistsError,
    BlobKeyError,
    BlobStorageFullError,
    open_blobs,
)


def incoming(root):
    return list((root / ".incoming").iterdir())


def file_of(handle):
    return str(Path(f"/proc/self/fd/{handle}").readlink())


@pytest.fixture
def synced(monkeypatch):
    """The paths that were synced, in order, by real syncs."""
    paths = []
    real = os.fsync

    def record(handle):
        paths.append(file_of(handle))
        real(handle)

    monkeypatch.setattr(os, "fsync", record)
    return paths


@pytest.mark.parametrize("if_absent", [False, True])
async def test_a_local_put_syncs_content_then_name_before_it_answers(local, monkeypatch, tmp_path, if_absent):
    steps = []
    root = tmp_path / "objects"

    def spy(name, describe):
        real = getattr(os, name)

        def record(*args, **kwargs):
            steps.append((name, describe(*args)))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, record)

    spy("fsync", file_of)
    spy("link", lambda _, target: str(target))
    spy("rename", lambda _, target: str(target))
    await local.put("new/deep/k", b"x", if_absent=if_absent)
    assert ".incoming" in steps[0][1]
    assert steps[1:] == [
        ("fsync", str(root)),
        ("fsync", str(root / "new")),
        ("link" if if_absent else "rename", str(root / "new/deep/k")),
        ("fsync", str(root / "new/deep")),
    ]


async def test_losing_a_conditional_put_also_waits_until_the_winner_is_durable(local, synced):
    await local.put("k", b"winner", if_absent=True)
    synced.clear()
    with pytest.raises(BlobExistsError):
        await local.put("k", b"loser", if_absent=True)
    assert synced[-1] == str(local.local_path("k").parent)


async def test_a_local_delete_is_synced(local, synced):
    await local.put("d/k", b"x")
    synced.clear()
    await local.delete(["d/k"])
    assert synced == [str(local.local_path("d/k").parent)]


async def test_nothing_is_left_in_incoming(local, tmp_path):
    await local.put("a", b"x")
    await local.put("a", in_chunks(b"x", b"y"))
    with pytest.raises(BlobExistsError):
        await local.put("a", b"x", if_absent=True)
    with pytest.raises(FileNotFoundError):
        await local.put("b", failing(b"x"))
    await local.close()  # waits for the threads
    assert incoming(tmp_path / "objects") == []


async def test_a_key_beside_its_own_folder_is_refused_in_a_directory(local):
    await local.put("a/b", b"x")
    with pytest.raises(BlobKeyError):
        await local.put("a", b"x")
    with pytest.raises(BlobKeyError):
        await local.put("a/b/c", b"x")
    assert await local.get("a/b") == b"x"


PUT_FOREVER = """
import asyncio, sys
from twelvefold.engines.blobs import open_blobs

async def chunks():
    while True:
        yield b"x" * 100_000
        print("chunk", flush=True)

async def main():
    await open_blobs(sys.argv[1]).put("k/half", chunks())

asyncio.run(main())
"""


def kill_in_the_middle_of_a_put(root):
    command = [sys.executable, "-c", PUT_FOREVER, f"file://{root}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for _ in range(5):
            assert child.stdout.readline() == "chunk\n"
        child.kill()


async def test_kill_9_in_the_middle_of_a_put_leaves_no_object(tmp_path):
    root = tmp_path / "objects"
    kill_in_the_middle_of_a_put(root)

    store = open_blobs(f"file://{root}")
    assert await listed(store) == []
    [abandoned] = incoming(root)
    await store.close()

    os.utime(abandoned, (0, 0))
    await open_blobs(f"file://{root}").close()
    assert incoming(root) == []


async def test_a_file_size_limit_is_a_full_store_and_leaves_nothing(local, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(BlobStorageFullError):
            await local.put("k", b"x" * (2 << 20))
        with pytest.raises(BlobStorageFullError):
            await local.put("k", iter([b"x" * (1 << 19)] * 4))
        await local.put("small", b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await listed(local) == ["small"]


FILL_THE_DISK = """
import asyncio, os, subprocess, sys
from twelvefold.engines.blobs import BlobStorageFullError, open_blobs

async def main():
    root = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    store = open_blobs(f"file://{root}/objects")
    await store.put("first", b"x" * 300_000)
    try:
        await store.put("second", b"y" * 2_000_000)
    except BlobStorageFullError as error:
        print(error.status, error.message)
    print([info.key async for info in store.list()], len(await store.get("first")))
    await store.put("third", b"z" * 300_000)
    await store.close()
    print(os.listdir(f"{root}/objects/.incoming"))

asyncio.run(main())
"""


def test_a_full_disk_refuses_clearly_and_recovers(tmp_path):
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs a user namespace to mount a small disk: sysctl kernel.unprivileged_userns_clone=1")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", FILL_THE_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "503 blobs does not answer: No space left on device; free some space",
        "['first'] 300000",
        "[]",
    ]
