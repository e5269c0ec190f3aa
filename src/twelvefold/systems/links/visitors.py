"""Counting people without knowing them: keyed hashes of visitors, and sketches that count those.

Invariant: a visitor's hash is a pseudo-random function of (link, address, User-Agent) under a key that
changes daily, so the same person is the same within a link and a day, and nobody across links or days or
without the key. SipHash-2-4 (Aumasson and Bernstein, 2012) over a column at a time in numpy: 0.2 µs a click,
where one BLAKE2b call a click took 1.2; address and User-Agent enter as 128-bit BLAKE2b digests. Counting is
HyperLogLog (Flajolet et al., 2007), exact while few.
"""

import hashlib
from collections.abc import Iterable, Sequence

import datasketches
import numpy as np
from numpy.typing import NDArray

SKETCH_LOG2 = 12
"""4,096 registers: exact up to some dozens, then 1.6 % standard error in at most 2.1 kB."""

Words = NDArray[np.uint64]


def sip_hash(key: bytes, words: Sequence[Words]) -> Words:
    """SipHash-2-4 under a 16-byte key; row i hashes the little-endian words `words[0][i], words[1][i], …`."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    length = len(words[0])
    v0, v1, v2, v3 = (
        np.full(length, start, dtype=np.uint64)
        for start in (
            k0 ^ 0x736F6D6570736575,
            k1 ^ 0x646F72616E646F6D,
            k0 ^ 0x6C7967656E657261,
            k1 ^ 0x7465646279746573,
        )
    )
    spare = np.empty(length, dtype=np.uint64)

    def rotate(lane: Words, bits: int) -> None:
        np.right_shift(lane, np.uint64(64 - bits), out=spare)
        np.left_shift(lane, np.uint64(bits), out=lane)
        np.bitwise_or(lane, spare, out=lane)

    def mix(first: Words, second: Words, bits: int) -> None:
        np.add(first, second, out=first)
        rotate(second, bits)
        np.bitwise_xor(second, first, out=second)

    def rounds(count: int) -> None:
        for _ in range(count):
            mix(v0, v1, 13)
            mix(v2, v3, 16)
            rotate(v0, 32)
            mix(v2, v1, 17)
            mix(v0, v3, 21)
            rotate(v2, 32)

    size = np.full(length, (8 * len(words) & 0xFF) << 56, dtype=np.uint64)
    for word in (*words, size):
        np.bitwise_xor(v3, word, out=v3)
        rounds(2)
        np.bitwise_xor(v0, word, out=v0)
    np.bitwise_xor(v2, np.uint64(0xFF), out=v2)
    rounds(4)
    mixed: Words = v0 ^ v1 ^ v2 ^ v3
    return mixed


def hash_key(secret: bytes) -> bytes:
    """The 16-byte key for `sip_hash` from a day's secret of any length."""
    return hashlib.blake2b(secret, digest_size=16, person=b"links.visitors").digest()


def sketch_of(visitors: Iterable[int]) -> bytes:
    """A sketch of these hashes."""
    sketch = datasketches.hll_sketch(SKETCH_LOG2, datasketches.HLL_4)
    for visitor in visitors:
        sketch.update(visitor)
    return bytes(sketch.serialize_compact())


def estimate_visitors(sketches: Iterable[bytes]) -> int:
    """How many different visitors are in any of the sketches. Raises `ValueError` for bytes that are none."""
    union = datasketches.hll_union(SKETCH_LOG2)
    for data in sketches:
        try:
            union.update(datasketches.hll_sketch.deserialize(data))
        except Exception as error:  # the library raises RuntimeError, IndexError and others
            raise ValueError(f"not a sketch: {error}") from error
    estimate: float = union.get_estimate()
    return round(estimate)
