"""Codes for new links, taken from leased blocks of the counter.

Invariant: a counter is used once. A block belongs to the process that leased it; what a crash
leaves over is skipped, never given again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from twelvefold.systems.links.rules.codes import CodeSpace, is_reserved


class CodeAllocator:
    """Hands out codes of one space.

    Args:
        space: the permuted codes.
        lease: `count -> first counter` of a block that nobody else gets.
        block: how many counters are leased at a time when few are asked for.
    """

    def __init__(self, space: CodeSpace, lease: Callable[[int], Awaitable[int]], block: int) -> None:
        self._space = space
        self._lease = lease
        self._block = block
        self._codes: deque[str] = deque()
        self._leasing = asyncio.Lock()

    async def take(self, count: int) -> list[str]:
        """`count` codes that were never given before and are not reserved words."""
        async with self._leasing:
            while len(self._codes) < count:
                wanted = max(self._block, count - len(self._codes))
                first = await self._lease(wanted)
                self._codes.extend(code for code in self._space.codes(first, wanted) if not is_reserved(code))
            return [self._codes.popleft() for _ in range(count)]
