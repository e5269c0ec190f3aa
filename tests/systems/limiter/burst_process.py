"""One of several processes that ask for one key at once: for each line read, how many checks were admitted."""

import asyncio
import sys

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.settings import LimiterSettings


async def main(url: str, mode: str, count: int) -> None:
    rule = Rule(name="burst", limit=100, period_seconds=86_400, mode=mode)  # type: ignore[arg-type]
    async with open_limiter(url, settings=LimiterSettings(answer_ms=5000)) as limiter:
        while await asyncio.to_thread(sys.stdin.readline):
            decisions = await asyncio.gather(*(limiter.check(rule, "k") for _ in range(count)))
            sys.stdout.write(f"{sum(decision.allowed for decision in decisions)}\n")
            sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
