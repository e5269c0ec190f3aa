"""Receipts and cursors: reports are gathered for a moment and written together.

Invariant: a watermark only rises, and never above what there is to read; news of receipts are one bounded
notice a conversation and moment, however many read at once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Receipt
from twelvefold.systems.chat.rules.standing import may_follow, may_read
from twelvefold.systems.chat.service.rooms import Rooms
from twelvefold.systems.chat.store.messages import MessageStore
from twelvefold.systems.chat.store.progress import ProgressStore

log = structlog.get_logger("chat")

GATHER_SECONDS = 0.05
SHOWN = 50
"""Receipts in one notice; of more, only their number is told, and whoever wants them asks."""

Tell = Callable[[int, dict[str, Any]], None]
_Waiters = list["asyncio.Future[None]"]


class Progress:
    """See the module. `tell(conversation_id, notice)` reaches those who follow."""

    def __init__(self, store: ProgressStore, messages: MessageStore, rooms: Rooms, tell: Tell) -> None:
        self._store = store
        self._messages = messages
        self._rooms = rooms
        self._tell = tell
        self._marks: dict[tuple[int, str], tuple[int, int, int]] = {}
        self._moves: dict[tuple[TenantId, str, str, int], int] = {}
        self._waiters: _Waiters = []
        self._task: asyncio.Task[None] | None = None

    async def delivered(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int, *, device: str | None = None
    ) -> None:
        """A device has everything up to `seq`. Returns when it is stored."""
        await self._judge(tenant, user, conversation_id, seq)
        if device is not None:
            key = (tenant, user, device, conversation_id)
            self._moves[key] = max(seq, self._moves.get(key, 0))
        await self._gather(conversation_id, user, (seq, 0, 0))

    async def read(self, tenant: TenantId, user: str, conversation_id: int, seq: int) -> None:
        """Somebody has read everything up to `seq`. Returns when it is stored."""
        await self._judge(tenant, user, conversation_id, seq)
        counted = await self._store.counted_at(conversation_id, seq)
        await self._gather(conversation_id, user, (seq, seq, counted))

    async def receipts(
        self, tenant: TenantId, user: str, conversation_id: int, *, after: str = "", limit: int = 100
    ) -> Sequence[Receipt]:
        """How far the members are, by name."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_read(standing)
        return await self._store.receipts(conversation_id, after, min(limit, 1000))

    async def of_message(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int
    ) -> tuple[int, int]:
        """How many members a message was delivered to, and how many read it."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_read(standing)
        return await self._store.of_message(conversation_id, seq)

    async def cursors(self, tenant: TenantId, user: str, device: str) -> dict[int, int]:
        """Where a device stands in each conversation of its user."""
        return await self._store.cursors(tenant, user, device)

    async def devices(self, tenant: TenantId, user: str) -> Sequence[str]:
        """A user's devices that have cursors."""
        return await self._store.devices(tenant, user)

    async def forget_device(self, tenant: TenantId, user: str, device: str) -> None:
        """A device that is gone for good."""
        await self._store.forget_device(tenant, user, device)

    async def close(self) -> None:
        """Write what was gathered."""
        if self._task is not None:
            with contextlib.suppress(TwelvefoldError):
                await self._task

    async def _judge(self, tenant: TenantId, user: str, conversation_id: int, seq: int) -> None:
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)
        if seq > (await self._messages.head(conversation_id)).last_seq:
            raise InvalidInputError("this conversation has not come so far", field="seq")

    async def _gather(self, conversation_id: int, user: str, mark: tuple[int, int, int]) -> None:
        key = (conversation_id, user)
        old = self._marks.get(key, (0, 0, 0))
        self._marks[key] = (max(old[0], mark[0]), max(old[1], mark[1]), max(old[2], mark[2]))
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="chat: receipts")
        await waiter

    async def _run(self) -> None:
        try:
            while self._waiters:
                await asyncio.sleep(GATHER_SECONDS)
                marks, self._marks = self._marks, {}
                moves, self._moves = self._moves, {}
                waiters, self._waiters = self._waiters, []
                await self._write(marks, moves, waiters)
        finally:
            self._task = None

    async def _write(
        self, marks: dict[tuple[int, str], tuple[int, int, int]], moves: dict[tuple[TenantId, str, str, int], int],
        waiters: _Waiters,
    ) -> None:  # fmt: skip
        try:
            rose = await self._store.raise_marks(marks)
            if moves:
                await self._store.move_cursors(moves)
        except TwelvefoldError as error:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        news: dict[int, list[dict[str, Any]]] = {}
        for conversation_id, user in sorted(rose):
            delivered, read, _ = marks[conversation_id, user]
            news.setdefault(conversation_id, []).append(
                {"user": user, "delivered_seq": delivered, "read_seq": read}
            )
        for conversation_id, items in news.items():
            notice: dict[str, Any] = {"type": "receipts", "items": items[:SHOWN]}
            if len(items) > SHOWN:
                notice["more"] = len(items) - SHOWN
            self._tell(conversation_id, notice)
