"""A latency histogram of 24 fixed buckets, each twice as wide as the one before.

A duration's bucket is the number of bits of its microseconds: counting one costs an int's
`bit_length`, merging processes costs an addition. A quantile is off by at most the width of its
bucket; within it we interpolate.
"""

from collections.abc import Iterable, Sequence

BUCKETS = 24
"""Below 1 µs, below 2 µs, … below 4.2 s, and all above."""

UPPER_SECONDS: tuple[float, ...] = (*(float(1 << bits) / 1e6 for bits in range(BUCKETS - 1)), float("inf"))
"""Upper bounds."""


def bucket_of(seconds: float) -> int:
    """The bucket of a duration."""
    return min(BUCKETS - 1, int(seconds * 1e6).bit_length())


def quantile_ms(counts: Sequence[int], q: float) -> float | None:
    """The `q`-quantile (0.99) of what was counted, in milliseconds; None if nothing was."""
    total = sum(counts)
    if not total:
        return None
    rank = q * total
    seen = 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= rank:
            lower = 0.0 if bucket == 0 else float(1 << (bucket - 1))
            width = 1.0 if bucket == 0 else lower
            return round((lower + width * max(0.0, rank - seen) / count) / 1000, 4)
        seen += count
    raise AssertionError("the ranks of a histogram end with its total")


def merge(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of several."""
    total = [0] * BUCKETS
    for counts in histograms:
        for bucket, count in enumerate(counts):
            total[bucket] += count
    return total


class LaneTimings:
    """How long a lane's answers take: all that were awaited, and a few a second of those that were not."""

    __slots__ = ("awaited", "sampled")

    def __init__(self) -> None:
        self.awaited = [0] * BUCKETS
        self.sampled = [0] * BUCKETS

    def take(self, requests: int) -> list[int]:
        """A histogram of `requests` answers since the last call; it starts anew.

        What was not timed is spread as the sample was.
        """
        awaited, self.awaited = self.awaited, [0] * BUCKETS
        sampled = self.sampled
        untimed = max(0, requests - sum(awaited))
        size = sum(sampled)
        if not size:
            sampled, size = _UNKNOWN, 1
        for bucket, count in enumerate(sampled):
            awaited[bucket] += untimed * count // size
        rest = requests - sum(awaited)
        if rest > 0:
            awaited[max(range(BUCKETS), key=sampled.__getitem__)] += rest
        if requests and sum(self.sampled):
            self.sampled = [0] * BUCKETS
        return awaited


_UNKNOWN = [0] * BUCKETS
_UNKNOWN[bucket_of(10e-6)] = 1
"""Before the first sample of a process: what this machine measures."""
