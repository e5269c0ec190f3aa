"""What every object store behind Twelvefold promises.

Invariant: a reader sees a whole object or none. When `put` returns, the object survives the loss of the
process and, where the store has a disk, of power; when it raises, either nothing changed or the whole
object is there (an answer can be lost on the way), never a part.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from twelvefold.kernel.errors import ConflictError, EngineUnavailableError, InvalidInputError, NotFoundError

MAX_KEY_BYTES = 900
"""S3 stops at 1,024; the rest is left for a bucket's own prefix."""

MAX_SEGMENT_BYTES = 200
"""File names stop at 255."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+@,~-]*")


class BlobNotFoundError(NotFoundError):
    """There is no object with this key."""

    code = "blobs.not_found"


class BlobExistsError(ConflictError):
    """There is an object with this key already."""

    code = "blobs.exists"


class BlobKeyError(InvalidInputError):
    """An object's key must be segments of letters, digits and _.=+@,~- between single slashes."""

    code = "blobs.key"


class BlobRangeError(InvalidInputError):
    """The object does not have these bytes."""

    code = "blobs.range"
    status = 416


class BlobStorageFullError(EngineUnavailableError):
    """The place that holds the objects is full."""

    code = "blobs.full"

    def __init__(self, reason: str) -> None:
        super().__init__("blobs", reason, retry_after_seconds=30)


class BlobInfo(msgspec.Struct, frozen=True):
    """What a listing says about an object. `etag` changes when the content does."""

    key: str
    size_bytes: int
    modified_ms: int
    etag: str | None


Chunks = bytes | Iterable[bytes] | AsyncIterable[bytes]


class Blobs(Protocol):
    """Objects by key. All methods raise `BlobKeyError`, `EngineUnavailableError` and `OverloadedError`.

    A key that is also the folder of another (`a` beside `a/b`) works on S3 and not in a directory: rely on
    neither.
    """

    async def put(self, key: str, data: Chunks, *, if_absent: bool = False) -> None:
        """Store an object, replacing one of that key, unless `if_absent`: then the first of several wins.

        Raises `BlobExistsError` to the others, once the winner's object is as durable as their own would be.
        A source of chunks is read one chunk at a time; if it raises, nothing is stored.
        """

    async def get(self, key: str) -> bytes:
        """The whole object. Raises `BlobNotFoundError`."""

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` (inclusive) to `end` (exclusive), fewer where the object ends before.

        Raises `BlobNotFoundError`, and `BlobRangeError` where the range begins at the object's end or after.
        """

    def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """The whole object in chunks of about `chunk_bytes`. Raises `BlobNotFoundError` at the first."""

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """Objects under a folder (`prefix` is whole segments; "" is all), in no promised order.

        Whatever exists from the call to the last item is listed once; what comes or goes meanwhile may be.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, durably; those that are not there count as removed."""

    async def head(self, key: str) -> BlobInfo:
        """An object's size and time. Raises `BlobNotFoundError`."""

    def local_path(self, key: str) -> Path | None:
        """The file that holds this object, for libraries that read files; None where there is none."""

    async def ping(self) -> float:
        """Seconds that the store took to answer."""

    async def close(self) -> None:
        """Wait for what is under way, and let go."""


def check_key(key: str, *, what: str = "key") -> str:
    """Return `key` if it is one. Raises `BlobKeyError` for `..`, absolute paths, NUL and all else."""
    segments = key.split("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise BlobKeyError(field=what, key=key)
    if len(key) > MAX_KEY_BYTES or max(map(len, segments)) > MAX_SEGMENT_BYTES:
        raise BlobKeyError(
            f"a key has at most {MAX_KEY_BYTES} bytes, {MAX_SEGMENT_BYTES} between two slashes", field=what
        )
    return key
