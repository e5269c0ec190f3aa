"""One of several processes that ask for one key at once; prints how many of its checks were admitted."""

import asyncio
import sys

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.settings import LimiterSettings


async def main(url: str, mode: str, count: int) -> int:
    rule = Rule(name="burst", limit=100, period_seconds=86_400, mode=mode)  # type: ignore[arg-type]
    async with open_limiter(url, settings=LimiterSettings(answer_ms=5000)) as limiter:
        admitted = 0
        # In leased mode a slice may be with another process at this moment: ask until it is used or comes back.
        for _ in range(3):
            decisions = await asyncio.gather(*(limiter.check(rule, "k") for _ in range(count)))
            admitted += sum(decision.allowed for decision in decisions)
            if mode == "exact":
                break
            await asyncio.sleep(1.2)
        return admitted


sys.stdout.write(str(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
