"""One question for all who ask in the same moment.

What is asked while a question is under way goes into the next one, never into that one: an answer is never
older than the asking. A storm of reconnections costs a handful of queries, not one a client.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEYS = 1_000
"""In one question."""


class Gather(Generic[K, V]):
    """`load(keys)` answers for all keys, in their order."""

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Sequence[V]]]) -> None:
        self._load = load
        self._asked: dict[K, asyncio.Future[V]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V:
        """The value of one key. Raises what `load` raises."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run(), name="chat: gather")
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._asked:
                keys = list(self._asked)[:MAX_KEYS]
                futures = [self._asked.pop(key) for key in keys]
                try:
                    values = await self._load(keys)
                except Exception as error:  # noqa: BLE001 - each of those who asked is told
                    for future in futures:
                        future.set_exception(error)
                        future.exception()  # whoever asked may have gone
                else:
                    for future, value in zip(futures, values, strict=True):
                        future.set_result(value)
        finally:
            self._task = None
