"""Click budgets: a link with `max_clicks` gives exactly so many redirects, however many ask at once.

Those who ask within one turn of the event loop share one transaction; the row's lock orders the
turns and the processes. The database is the only judge, so nothing is granted while it is away.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable


class ClickBudgets:
    """Takes clicks from limited links.

    Args:
        take: `(link_id, wanted) -> granted`, exact and durable.
    """

    def __init__(self, take: Callable[[int, int], Awaitable[int]]) -> None:
        self._take = take
        self._waiting: dict[int, deque[asyncio.Future[bool]]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def take(self, link_id: int) -> bool:
        """Whether one more click was granted."""
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._waiting.get(link_id)
        if queue is not None:
            queue.append(asked)
        else:
            self._waiting[link_id] = deque([asked])
            worker = asyncio.create_task(self._serve(link_id))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await asked

    async def _serve(self, link_id: int) -> None:
        queue = self._waiting[link_id]
        await asyncio.sleep(0)  # let all of this turn line up
        while queue:
            turn = [asked for asked in queue if not asked.done()]
            queue.clear()
            try:
                granted = await self._take(link_id, len(turn)) if turn else 0
            except BaseException as error:  # noqa: BLE001 - every asker gets the same error
                for asked in turn:
                    if not asked.done():
                        asked.set_exception(error)
                continue
            for place, asked in enumerate(turn):
                if not asked.done():
                    asked.set_result(place < granted)
        del self._waiting[link_id]
