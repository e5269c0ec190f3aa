"""Many small records in one log entry: an array of byte strings, as MessagePack."""

from collections.abc import Sequence

import msgspec

MAX_ENTRY_BYTES = 256 << 10

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


def pack(records: Sequence[bytes]) -> list[bytes]:
    """Entries of at most 256 KiB, unless a single record is larger; in order."""
    packed = _encoder.encode(records)
    if len(packed) <= MAX_ENTRY_BYTES or len(records) == 1:
        return [packed]
    half = len(records) // 2
    return pack(records[:half]) + pack(records[half:])


def unpack(entry: bytes) -> list[bytes]:
    """The records of one entry. Raises `msgspec.DecodeError` for anything that `pack` did not make."""
    return _decoder.decode(entry)
