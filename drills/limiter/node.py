"""A node that asks a leased rule without end; what it has admitted stands in a file that outlives it.

Usage: python -m drills.limiter.node VALKEY_URL COUNT_FILE LIMIT LEASE_SECONDS
"""

import asyncio
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.settings import LimiterSettings

PACE = 4
"""Checks between two breaths of a millisecond, so that a node is killed in the middle of its lease."""


def leased_rule(limit: int) -> Rule:
    """Nothing comes back by time: what is admitted beyond the limit came from a lease."""
    return Rule(
        name="leased", limit=limit, mode="leased", algorithm="fixed_window", calendar="year", failure="closed"
    )


def admitted_in(files: Iterable[Path]) -> int:
    """What the nodes with these count files have admitted so far."""
    return sum(int.from_bytes(file.read_bytes(), "big") for file in files)


async def main(url: str, file: str, limit: int, lease_seconds: float) -> None:
    settings = LimiterSettings(answer_ms=5000, lease_seconds=lease_seconds)
    with Path(file).open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as count:  # noqa: ASYNC230 - once, before anything waits
        async with open_limiter(url, settings=settings) as limiter:
            rule, admitted = leased_rule(limit), 0
            while True:
                for _ in range(PACE):
                    if (await limiter.check(rule, "k")).allowed:
                        admitted += 1
                        count[:] = admitted.to_bytes(8, "big")
                await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
