"""Blobs over the Rust `object_store` (through obstore): memory, S3 and its kin; and a durable directory.

Invariant: see `contract`. `LocalBlobs` reads through obstore like the others, but writes by itself, because
obstore's LocalStore acknowledges a put before it is on the disk (no fsync of file or directory).
"""

import asyncio
import errno
import functools
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from twelvefold.engines.blobs.contract import (
    BlobExistsError,
    BlobInfo,
    BlobKeyError,
    BlobNotFoundError,
    BlobRangeError,
    Blobs,
    BlobStorageFullError,
    Chunks,
    check_key,
)
from twelvefold.engines.blobs.durable_files import INCOMING, DurableTree
from twelvefold.kernel.clock import to_ms
from twelvefold.kernel.errors import (
    ConfigurationError,
    EngineUnavailableError,
    OverloadedError,
    TwelvefoldError,
)

T = TypeVar("T")

MAX_UNDER_WAY = 32
"""Operations at once: a disk or a bucket gains nothing from more."""

MAX_WAITING = 1024
"""Callers that may wait for one of those; the next is refused."""

WRITER_THREADS = 4
"""An fsync blocks its thread; the journal of one disk groups a few of them, not dozens."""

MAX_BUFFERED_BYTES = 64 << 20
"""A conditional put from chunks is one request, so it is gathered first; above this it is refused."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class BlobsConfig(msgspec.Struct, frozen=True):
    """Section `blobs` of the configuration."""

    url: str = "embedded"
    """`embedded` (a directory in the data folder), `file:///dir`, `s3://bucket/prefix`, …"""
    deadline_seconds: float = 30.0
    """How long one operation, or one chunk of a stream, may take."""


def open_blobs(
    url: str, *, deadline_seconds: float = 30.0, options: Mapping[str, str] | None = None
) -> Blobs:
    """Open the store that `url` names; `options` (`endpoint`, `region`, …) and the environment go to obstore.

    Raises `ConfigurationError` for a URL that is not one, `EngineUnavailableError` where its directory cannot
    be had.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        parts = urlsplit(url)
        path = Path(unquote(parts.path, errors="surrogateescape"))
        if parts.netloc not in ("", "localhost") or not path.is_absolute() or path == Path("/"):
            raise ConfigurationError(f"blobs: write a directory as file:///dir, not {url}", field="blobs.url")
        return LocalBlobs(path, deadline_seconds=deadline_seconds)
    if scheme == "memory":
        return ObjectStoreBlobs(MemoryStore(), deadline_seconds=deadline_seconds)
    settings: Any = dict(options or {})  # its keys differ by scheme, and so does obstore's type for them
    # An endpoint without TLS is the user's explicit word; obstore wants it said twice.
    allow_http = any(value.startswith("http://") for value in settings.values())
    try:
        store = from_url(url, config=settings, client_options={"allow_http": True} if allow_http else None)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"blobs: {url}: {_first_line(error)}", field="blobs.url") from error
    return ObjectStoreBlobs(store, deadline_seconds=deadline_seconds)


class ObjectStoreBlobs(Blobs):
    """Any store that obstore knows."""

    def __init__(self, store: ObjectStore, *, deadline_seconds: float) -> None:
        self._store = store
        self._deadline_seconds = deadline_seconds
        self._slots = asyncio.Semaphore(MAX_UNDER_WAY)
        self._waiting = 0

    async def put(self, key: str, data: Chunks, *, if_absent: bool = False) -> None:
        """See `Blobs.put`."""
        check_key(key)
        if not if_absent and not isinstance(data, bytes):
            # No slot and no deadline for the whole: the source may be a client with a slow line.
            source = _Source(data)
            try:
                with _translated(key):
                    await obstore.put_async(self._store, key, source, max_concurrency=2)
            except TwelvefoldError:
                if source.failure:
                    raise source.failure from None
                raise
            return
        whole = data if isinstance(data, bytes) else await _gathered(data)
        mode: Literal["create", "overwrite"] = "create" if if_absent else "overwrite"
        async with self._slot(), self._deadline():
            with _translated(key):
                await obstore.put_async(self._store, key, whole, mode=mode)

    async def get(self, key: str) -> bytes:
        """See `Blobs.get`."""
        async with self._slot(), self._deadline():
            with _translated(check_key(key)):
                result = await obstore.get_async(self._store, key)
                return bytes(await result.bytes_async())

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """See `Blobs.get_range`."""
        if not 0 <= start <= end:
            raise BlobRangeError(f"a range begins at 0 or later and ends after that, not {start} to {end}")
        async with self._slot(), self._deadline():
            with _translated(check_key(key)):
                size = (await obstore.head_async(self._store, key))["size"]
                if start == end:
                    return b""
                if start >= size:
                    raise BlobRangeError(f"the object has {size} bytes; it has none from {start} on")
                return bytes(await obstore.get_range_async(self._store, key, start=start, end=min(end, size)))

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """See `Blobs.stream`."""
        with _translated(check_key(key)):
            async with self._slot(), self._deadline():
                chunks = aiter((await obstore.get_async(self._store, key)).stream(chunk_bytes))
            while True:
                async with self._deadline():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield bytes(chunk)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See `Blobs.list`."""
        if prefix:
            check_key(prefix, what="prefix")
        with _translated(prefix):
            pages = aiter(obstore.list(self._store, prefix or None, chunk_size=1000))
            while True:
                async with self._deadline():
                    page = await anext(pages, None)
                if page is None:
                    return
                for found in page:
                    if not found["path"].startswith(f"{INCOMING}/"):
                        yield _info(found)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Blobs.delete`."""
        async with self._slot(), self._deadline():
            with _translated(""):
                await obstore.delete_async(self._store, [check_key(key) for key in keys])

    async def head(self, key: str) -> BlobInfo:
        """See `Blobs.head`."""
        async with self._slot(), self._deadline():
            with _translated(check_key(key)):
                return _info(await obstore.head_async(self._store, key))

    def local_path(self, key: str) -> Path | None:
        """See `Blobs.local_path`."""
        check_key(key)
        return None

    async def ping(self) -> float:
        """See `Blobs.ping`."""
        started = time.perf_counter()
        with suppress(BlobNotFoundError):
            await self.head("ping")
        return time.perf_counter() - started

    async def close(self) -> None:
        """See `Blobs.close`."""

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._slots.locked() and self._waiting >= MAX_WAITING:
            raise OverloadedError("too many object operations wait already", retry_after_seconds=1.0)
        self._waiting += 1
        try:
            async with self._deadline():
                await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError as error:
            raise EngineUnavailableError("blobs", f"no answer in {self._deadline_seconds:g} s") from error


class LocalBlobs(ObjectStoreBlobs):
    """A directory whose puts and deletes are synced before they are acknowledged."""

    def __init__(self, root: Path, *, deadline_seconds: float) -> None:
        try:
            self._tree = DurableTree(root)
        except OSError as error:
            raise EngineUnavailableError("blobs", f"{root}: {error.strerror}") from error
        super().__init__(LocalStore(root), deadline_seconds=deadline_seconds)
        self._writers = ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="blobs")

    async def put(self, key: str, data: Chunks, *, if_absent: bool = False) -> None:
        """See `Blobs.put`."""
        check_key(key)
        if isinstance(data, bytes):
            await self._in_thread(key, self._tree.write, key, data, if_absent=if_absent)
            return
        incoming = await self._in_thread(key, self._tree.begin)
        try:
            async for chunk in _each(data):
                await self._in_thread(key, incoming.write, chunk)
            await self._in_thread(key, incoming.commit, key, if_absent=if_absent)
        finally:
            self._writers.submit(incoming.close)

    async def delete(self, keys: Sequence[str]) -> None:
        """See `Blobs.delete`."""
        names = [check_key(key) for key in keys]
        await self._in_thread("", self._tree.delete, names)

    def local_path(self, key: str) -> Path | None:
        """See `Blobs.local_path`."""
        return self._tree.root / check_key(key)

    async def ping(self) -> float:
        """See `Blobs.ping`."""
        started = time.perf_counter()
        await self._in_thread("", (self._tree.root / INCOMING).stat)
        return time.perf_counter() - started

    async def close(self) -> None:
        """See `Blobs.close`."""
        await asyncio.to_thread(self._writers.shutdown)

    async def _in_thread(self, key: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        bound = functools.partial(call, *args, **kwargs)
        async with self._slot(), self._deadline():
            with _translated(key):
                return await asyncio.get_running_loop().run_in_executor(self._writers, bound)


class _Source:
    """A source of chunks that remembers its own failure, which must not be taken for the store's."""

    def __init__(self, data: Chunks) -> None:
        self._data = data
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in _each(self._data):
                yield chunk
        except Exception as error:
            self.failure = error
            raise


async def _each(data: Chunks) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        yield data
    elif isinstance(data, AsyncIterable):
        async for chunk in data:
            yield chunk
    else:
        for chunk in data:
            yield chunk


async def _gathered(data: Chunks) -> bytes:
    whole = bytearray()
    async for chunk in _each(data):
        whole += chunk
        if len(whole) > MAX_BUFFERED_BYTES:
            raise OverloadedError(f"a conditional put from chunks takes at most {MAX_BUFFERED_BYTES} bytes")
    return bytes(whole)


def _info(found: Any) -> BlobInfo:
    return BlobInfo(found["path"], found["size"], to_ms(found["last_modified"]), found["e_tag"])


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn the errors of obstore and of the operating system into ours."""
    try:
        yield
    except (AlreadyExistsError, FileExistsError) as error:
        raise BlobExistsError(f"there is an object with the key {key} already", field="key") from error
    except FileNotFoundError as error:  # obstore's NotFoundError is one, too
        raise BlobNotFoundError(f"there is no object with the key {key}", field="key") from error
    except (NotADirectoryError, IsADirectoryError) as error:
        raise BlobKeyError(
            f"the key {key} cannot be beside one that is its folder, or in it", field="key"
        ) from error
    except BaseError as error:
        if "(os error 20)" in str(error):  # a directory store was asked for a key below another key
            raise BlobNotFoundError(f"there is no object with the key {key}", field="key") from error
        raise EngineUnavailableError("blobs", _first_line(error)) from error
    except OSError as error:
        if error.errno in _FULL:
            raise BlobStorageFullError(f"{error.strerror}; free some space") from error
        raise EngineUnavailableError("blobs", error.strerror or str(error)) from error
