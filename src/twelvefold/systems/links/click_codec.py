"""The bytes of a click batch: what a web process hands to the log and the worker takes back.

Invariant: `decode(encode(clicks))` gives the same clicks in the same order, and bytes that `encode`
did not make raise `MalformedClickBatchError`; they never give wrong clicks. Columns instead of rows
and one table of contexts (most clicks of a moment share host, headers and address) keep a click at 20
bytes, and no object is made of a context: its head stays a piece of one text. Layout, little-endian:

    magic "TFCB", version u16, reserved u16, clicks u32, contexts u32, table bytes u32, CRC-32 of the rest u32
    timestamps f64[clicks] (seconds since 1970), link ids i64[clicks], context indices u32[clicks]
    context table: msgpack array of [clients, sizes of their tails u32[contexts], tails with a line feed between]
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.kernel.errors import TwelvefoldError

MAGIC = b"TFCB"
VERSION = 2
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


class ContextTable(msgspec.Struct, frozen=True, array_like=True):
    """Contexts as columns: who asked, and the tails as one text with a line feed between any two."""

    clients: list[str]
    sizes: bytes
    """The tails' sizes, as uint32."""
    tails: bytes

    def __len__(self) -> int:
        return len(self.clients)

    @property
    def tail_sizes(self) -> NDArray[np.int64]:
        """Bytes of each tail, without the line feed."""
        return np.frombuffer(self.sizes, dtype="<u4").astype(np.int64)


class ClickBatch(msgspec.Struct, frozen=True):
    """A decoded batch; the three columns have one entry a click.

    `timestamps` are float64 seconds since 1970, `link_ids` int64, `context_indices` uint32 into `contexts`.
    They are views of the received bytes (`numpy.frombuffer` takes them without a copy).
    """

    timestamps: "memoryview[float]"
    link_ids: "memoryview[int]"
    context_indices: "memoryview[int]"
    contexts: ContextTable

    def __len__(self) -> int:
        return len(self.timestamps)


_encode_table = msgspec.msgpack.Encoder().encode
_decode_table = msgspec.msgpack.Decoder(ContextTable).decode


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
    tails = [context.tail for context in distinct.values()]
    sizes = struct.pack(f"<{len(tails)}I", *map(len, tails))
    clients = [context.client for context in distinct.values()]
    table = _encode_table(ContextTable(clients, sizes, b"\n".join(tails)))
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


def _contexts(table: memoryview) -> ContextTable:
    try:
        contexts = _decode_table(table)
    except msgspec.DecodeError as error:
        raise MalformedClickBatchError(f"the context table cannot be read: {error}") from error
    count = len(contexts)
    if len(contexts.sizes) != 4 * count or int((contexts.tail_sizes + 1).sum()) != len(contexts.tails) + 1:
        raise MalformedClickBatchError("the context table cannot be read: its sizes do not fit")
    return contexts


def _check(batch: ClickBatch, contexts: int) -> None:
    """The checksum only says that the bytes are as written; these say that they were written right."""
    if len(batch.contexts) != contexts:
        raise MalformedClickBatchError(f"{contexts} contexts announced, {len(batch.contexts)} found")
    highest = int(np.asarray(batch.context_indices).max())
    if highest >= contexts:
        raise MalformedClickBatchError(f"a click refers to context {highest} of {contexts}")
    if not np.isfinite(np.asarray(batch.timestamps)).all():
        raise MalformedClickBatchError("a timestamp is not a number")
