"""The contract of `engines.blobs` on each store that this machine can run, and what a directory adds."""

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest
from tests.engines.blob_sources import failing, in_chunks, listed

from twelvefold.engines.blobs import (
    BlobExistsError,
    BlobKeyError,
    BlobNotFoundError,
    BlobRangeError,
    open_blobs,
)
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError


@pytest.fixture(params=["file", "memory"])
async def blobs(request, tmp_path):
    store = open_blobs(f"file://{tmp_path}/objects" if request.param == "file" else "memory://")
    yield store
    await store.close()


@pytest.mark.parametrize("make", [b"".join, iter, lambda c: in_chunks(*c)])
async def test_what_is_put_can_be_got(blobs, make):
    parts = [b"one", b"", b"two" * 3_000_000]
    await blobs.put("a/b.bin", make(parts))
    assert await blobs.get("a/b.bin") == b"".join(parts)


async def test_an_empty_object_is_an_object(blobs):
    await blobs.put("empty", b"")
    assert await blobs.get("empty") == b""
    assert (await blobs.head("empty")).size_bytes == 0


async def test_a_put_replaces_and_changes_the_etag(blobs):
    await blobs.put("k", b"old")
    before = await blobs.head("k")
    await blobs.put("k", b"newer")
    after = await blobs.head("k")
    assert await blobs.get("k") == b"newer"
    assert (before.size_bytes, after.size_bytes) == (3, 5)
    assert before.etag != after.etag
    assert abs(after.modified_ms - time.time() * 1000) < 60_000


@pytest.mark.parametrize("as_chunks", [False, True])
async def test_of_many_conditional_puts_exactly_one_wins_whole(blobs, as_chunks):
    async def attempt(n):
        content = f"{n:04}".encode() * 5000
        try:
            await blobs.put("k/once", iter([content]) if as_chunks else content, if_absent=True)
        except BlobExistsError:
            return None
        return content

    outcomes = await asyncio.gather(*(attempt(n) for n in range(50)))
    winners = [content for content in outcomes if content is not None]
    assert len(winners) == 1
    assert await blobs.get("k/once") == winners[0]


@pytest.mark.parametrize("if_absent", [False, True])
async def test_a_source_that_breaks_leaves_what_was_there_and_its_own_error(blobs, if_absent):
    if not if_absent:
        await blobs.put("k", b"before")
    with pytest.raises(FileNotFoundError, match="the source broke"):
        await blobs.put("k", failing(b"x" * 6_000_000, b"y" * 6_000_000), if_absent=if_absent)
    assert await listed(blobs) == ([] if if_absent else ["k"])
    if not if_absent:
        assert await blobs.get("k") == b"before"


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", ".incoming/x", "-a", "a\0b", "a\nb", "a b"),
        *("a\\b", "é", "a?b", "a#b", "a%2e", "x" * 201, "/".join(["x" * 100] * 10), "a\n"),
    ],
)
async def test_a_key_that_could_mean_something_else_is_refused_everywhere(blobs, key):
    with pytest.raises(BlobKeyError):
        await blobs.put(key, b"x")
    with pytest.raises(BlobKeyError):
        await blobs.get(key)
    with pytest.raises(BlobKeyError):
        await blobs.get_range(key, 0, 1)
    with pytest.raises(BlobKeyError):
        await blobs.head(key)
    with pytest.raises(BlobKeyError):
        await blobs.delete(["fine", key])
    with pytest.raises(BlobKeyError):
        blobs.local_path(key)
    with pytest.raises(BlobKeyError):
        await anext(blobs.stream(key))
    if key:
        with pytest.raises(BlobKeyError):
            await listed(blobs, key)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 10, b"0123456789"), (2, 5, b"234"), (9, 10, b"9"), (5, 99, b"56789"), (4, 4, b""), (99, 99, b"")],
)
async def test_a_range_is_cut_at_the_end_of_the_object(blobs, start, end, expected):
    await blobs.put("k", b"0123456789")
    assert await blobs.get_range("k", start, end) == expected


@pytest.mark.parametrize(("start", "end"), [(10, 11), (99, 100), (5, 4), (-1, 3)])
async def test_a_range_that_is_not_there_is_refused(blobs, start, end):
    await blobs.put("k", b"0123456789")
    with pytest.raises(BlobRangeError):
        await blobs.get_range("k", start, end)


async def test_a_stream_brings_the_object_in_order(blobs):
    content = os.urandom(3_000_000)
    await blobs.put("k", content)
    chunks = [chunk async for chunk in blobs.stream("k", chunk_bytes=100_000)]
    assert b"".join(chunks) == content


async def test_a_local_stream_does_not_take_the_object_into_memory(local):
    await local.put("k", bytes(3_000_000))
    assert max([len(chunk) async for chunk in local.stream("k", chunk_bytes=100_000)]) < 1_000_000


async def test_what_is_missing_is_said_to_be_missing(blobs):
    await blobs.put("file", b"")
    for key in ("nope", "a/b/c", "file/below"):
        with pytest.raises(BlobNotFoundError):
            await blobs.get(key)
        with pytest.raises(BlobNotFoundError):
            await blobs.get_range(key, 0, 0)
        with pytest.raises(BlobNotFoundError):
            await blobs.head(key)
        with pytest.raises(BlobNotFoundError):
            await anext(blobs.stream(key))
    assert await blobs.ping() >= 0


async def test_a_listing_is_by_whole_segments(blobs):
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        await blobs.put(key, b"x")
    assert await listed(blobs) == ["a/1", "a/b/2", "ab/3", "c"]
    assert await listed(blobs, "a") == ["a/1", "a/b/2"]
    assert await listed(blobs, "a/b") == ["a/b/2"]
    assert await listed(blobs, "nothing/here") == []


async def test_a_listing_during_changes_has_what_stays_once(blobs):
    staying = [f"t/stay-{n}" for n in range(50)]
    for key in staying:
        await blobs.put(key, b"")
    stop = asyncio.Event()

    async def churn():
        n = 0
        while not stop.is_set():
            keys = [f"t/come-{n}-{m}" for m in range(5)]
            for key in keys:
                await blobs.put(key, b"")
            await blobs.delete(keys)
            n += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(churn())
        for _ in range(30):
            keys = await listed(blobs, "t")
            assert [key for key in keys if "stay" in key] == sorted(staying)
        stop.set()


async def test_deleting_twice_is_deleting(blobs):
    await blobs.put("a/1", b"x")
    await blobs.put("a/2", b"x")
    await blobs.delete(["a/1", "never/was"])
    await blobs.delete(["a/1"])
    await blobs.delete([])
    assert await listed(blobs) == ["a/2"]


@pytest.fixture
def silent_port():
    """A port where connections open and nobody ever speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_store_that_does_not_answer_is_given_up(silent_port):
    options = {
        "aws_endpoint": f"http://127.0.0.1:{silent_port}",
        "aws_access_key_id": "x",
        "aws_secret_access_key": "x",
        "aws_region": "x",
    }
    store = open_blobs("s3://bucket", deadline_seconds=0.2, options=options)
    for attempt in (
        store.put("k", b"x"),
        store.put("k", b"x", if_absent=True),
        store.get("k"),
        store.get_range("k", 0, 1),
        store.head("k"),
        store.delete(["k"]),
        anext(store.stream("k")),
        listed(store),
        store.ping(),
    ):
        with pytest.raises(EngineUnavailableError, match="blobs does not answer"):
            await attempt
    await store.close()


@pytest.mark.parametrize(
    "url", ["file://", "file:///", "file://elsewhere/dir", "nonsense", "gopher://x/y", ""]
)
def test_a_url_that_names_no_store_is_a_configuration_error(url):
    with pytest.raises(ConfigurationError, match="blobs"):
        open_blobs(url)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailableError, match="file/sub"):
        open_blobs(f"file://{tmp_path}/file/sub")


async def test_a_directory_with_any_name_will_do(tmp_path):
    root = os.fsencode(tmp_path) + b"/\xff\xfe odd"
    store = open_blobs("file://" + "".join(f"%{byte:02x}" if byte > 126 else chr(byte) for byte in root))
    await store.put("k", b"x")
    assert await store.get("k") == b"x"
    assert store.local_path("k") == Path(os.fsdecode(root)) / "k"
    await store.close()
