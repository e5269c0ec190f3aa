"""The bytes of a click batch: what a web process hands to the log and the worker takes back.

Invariant: `decode(encode(clicks))` gives the same clicks in the same order, and bytes that `encode`
did not make raise `MalformedClickBatchError`; they never give wrong clicks. Columns instead of rows
and one table of contexts (most clicks of a moment share host, headers and address) keep a click at 20
bytes and about 0.7 µs to pack, 0.3 µs to unpack. Layout, little-endian:

    magic "TFCB", version u16, reserved u16, clicks u32, contexts u32, table bytes u32, CRC-32 of the rest u32
    timestamps f64[clicks] (seconds since 1970), link ids i64[clicks], context indices u32[clicks]
    context table: msgpack array of [client text, tail bytes]
"""

import math
import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from twelvefold.kernel.errors import TwelvefoldError

MAGIC = b"TFCB"
VERSION = 1
MAX_CLICKS = 1_000_000
"""A batch above this is refused on both sides; at 20 bytes a click it is 20 MB, far above any flush."""

_HEADER = struct.Struct("<4sHHIIII")
_BYTES_PER_CLICK = 20


class MalformedClickBatchError(TwelvefoldError):
    """These bytes are not a click batch that this version can read."""

    code = "links.malformed_click_batch"


class ClickContext(Protocol):
    """What clicks share: who asked, and the request's head after its target."""

    @property
    def client(self) -> str:
        """The peer's address, as text."""

    @property
    def tail(self) -> bytes:
        r"""The head as sent after the target: `b" HTTP/1.1\r\nHost: …\r\n…"`."""


class StoredContext(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A context as it comes back from a batch."""

    client: str
    tail: bytes


class ClickBatch(msgspec.Struct, frozen=True):
    """A decoded batch; the three columns have one entry a click.

    `timestamps` are float64 seconds since 1970, `link_ids` int64, `context_indices` uint32 into `contexts`.
    They are views of the received bytes (`numpy.frombuffer` takes them without a copy).
    """

    timestamps: "memoryview[float]"
    link_ids: "memoryview[int]"
    context_indices: "memoryview[int]"
    contexts: list[StoredContext]

    def __len__(self) -> int:
        return len(self.timestamps)


_encode_table = msgspec.msgpack.Encoder().encode
_decode_table = msgspec.msgpack.Decoder(list[StoredContext]).decode


def encode(clicks: Sequence[tuple[float, int, ClickContext]]) -> bytes:
    """Pack `(seconds since 1970, link id, context)` triples; a context object is stored once, by identity.

    Raises `ValueError` for an empty batch or one above `MAX_CLICKS`.
    """
    if not 0 < len(clicks) <= MAX_CLICKS:
        raise ValueError(f"a batch has 1 to {MAX_CLICKS} clicks, not {len(clicks)}")
    timestamps, link_ids, contexts = zip(*clicks, strict=True)
    # map() keeps these loops in C, which costs half of a comprehension.
    identities = list(map(id, contexts))
    distinct = dict(zip(identities, contexts, strict=True))
    positions = dict(zip(distinct, range(len(distinct)), strict=True))
    table = _encode_table([(context.client, context.tail) for context in distinct.values()])
    body = b"".join(
        (
            struct.pack(f"<{len(clicks)}d", *timestamps),
            struct.pack(f"<{len(clicks)}q", *link_ids),
            struct.pack(f"<{len(clicks)}I", *map(positions.__getitem__, identities)),
            table,
        )
    )
    header = _HEADER.pack(MAGIC, VERSION, 0, len(clicks), len(distinct), len(table), zlib.crc32(body))
    return header + body


def decode(data: bytes) -> ClickBatch:
    """Take a batch apart. Raises `MalformedClickBatchError`, saying what is wrong."""
    if len(data) < _HEADER.size:
        raise MalformedClickBatchError(f"{len(data)} bytes are too few for a click batch's header")
    magic, version, _, clicks, contexts, table_bytes, checksum = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedClickBatchError(f"a click batch begins with {MAGIC!r}, not {magic!r}")
    if version != VERSION:
        raise MalformedClickBatchError(f"click batch version {version}; this code reads version {VERSION}")
    if not 0 < clicks <= MAX_CLICKS:
        raise MalformedClickBatchError(f"a click batch has 1 to {MAX_CLICKS} clicks, not {clicks}")
    body = memoryview(data)[_HEADER.size :]
    expected = clicks * _BYTES_PER_CLICK + table_bytes
    if len(body) != expected:
        raise MalformedClickBatchError(f"the header announces {expected} bytes, {len(body)} follow")
    if zlib.crc32(body) != checksum:
        raise MalformedClickBatchError("the checksum does not match")
    ids_from, indices_from, table_from = clicks * 8, clicks * 16, clicks * 20
    batch = ClickBatch(
        timestamps=body[:ids_from].cast("d"),
        link_ids=body[ids_from:indices_from].cast("q"),
        context_indices=body[indices_from:table_from].cast("I"),
        contexts=_contexts(body[table_from:]),
    )
    _check(batch, contexts)
    return batch


def _contexts(table: memoryview) -> list[StoredContext]:
    try:
        return _decode_table(table)
    except msgspec.DecodeError as error:
        raise MalformedClickBatchError(f"the context table cannot be read: {error}") from error


def _check(batch: ClickBatch, contexts: int) -> None:
    """The checksum only says that the bytes are as written; these say that they were written right."""
    if len(batch.contexts) != contexts:
        raise MalformedClickBatchError(f"{contexts} contexts announced, {len(batch.contexts)} found")
    if max(batch.context_indices) >= contexts:
        raise MalformedClickBatchError(
            f"a click refers to context {max(batch.context_indices)} of {contexts}"
        )
    if not all(map(math.isfinite, batch.timestamps)):
        raise MalformedClickBatchError("a timestamp is not a number")
