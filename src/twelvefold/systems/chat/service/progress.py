"""Receipts and cursors: reports are gathered for a moment and written together.

Invariant: a watermark only rises, and never above what there is to read; news of receipts are one bounded
notice a conversation and moment, however many read at once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import MessageNotFoundError, Receipt
from twelvefold.systems.chat.rules.standing import may_follow
from twelvefold.systems.chat.service.gather import Gather
from twelvefold.systems.chat.service.rooms import Rooms
from twelvefold.systems.chat.store.messages import MessageStore
from twelvefold.systems.chat.store.progress import ProgressStore

log = structlog.get_logger("chat")

GATHER_SECONDS = 0.05
SHOWN = 50
"""Receipts in one notice; of more, only their number is told, and whoever wants them asks."""

Tell = Callable[[int, dict[str, Any]], None]


class Progress:
    """See the module. `tell(conversation_id, notice)` reaches those who follow."""

    def __init__(self, store: ProgressStore, messages: MessageStore, rooms: Rooms, tell: Tell) -> None:
        self._store = store
        self._cursors = Gather(store.cursors)
        self._messages = messages
        self._rooms = rooms
        self._tell = tell
        self._moves: dict[tuple[TenantId, str, str, int], int] = {}
        self._reports: list[_Report] = []
        self._task: asyncio.Task[None] | None = None

    async def delivered(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int, *, device: str | None = None
    ) -> None:
        """A device has everything up to `seq`. Returns when it is stored."""
        await self._judge(tenant, user, conversation_id)
        if device is not None:
            key = (tenant, user, device, conversation_id)
            self._moves[key] = max(seq, self._moves.get(key, 0))
        await self._gather(conversation_id, user, (seq, 0))

    async def read(self, tenant: TenantId, user: str, conversation_id: int, seq: int) -> None:
        """Somebody has read everything up to `seq`. Returns when it is stored."""
        await self._judge(tenant, user, conversation_id)
        await self._gather(conversation_id, user, (seq, seq))

    async def receipts(
        self, tenant: TenantId, user: str, conversation_id: int, *, after: str = "", limit: int = 100
    ) -> Sequence[Receipt]:
        """How far the members are, by name."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)
        return await self._store.receipts(conversation_id, after, min(limit, 1000))

    async def of_message(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int
    ) -> tuple[int, int]:
        """How many members a message was delivered to, and how many read it."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)
        if not standing.sees(seq) or seq > (await self._messages.last_seqs([conversation_id])).get(
            conversation_id, 0
        ):
            raise MessageNotFoundError(seq=seq)
        return await self._store.of_message(conversation_id, seq)

    async def cursors(self, tenant: TenantId, user: str, device: str) -> dict[int, int]:
        """Where a device stands in each conversation of its user."""
        return await self._cursors.get((tenant, user, device))

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

    async def _judge(self, tenant: TenantId, user: str, conversation_id: int) -> None:
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)

    async def _gather(self, conversation_id: int, user: str, mark: tuple[int, int]) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reports.append(_Report(conversation_id, user, *mark, waiter))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="chat: receipts")
        await waiter

    async def _run(self) -> None:
        try:
            while self._reports:
                await asyncio.sleep(GATHER_SECONDS)
                reports, self._reports = self._reports, []
                moves, self._moves = self._moves, {}
                try:
                    await self._write(reports, moves)
                except TwelvefoldError as error:
                    for report in reports:
                        if not report.waiter.done():
                            report.waiter.set_exception(error)
        finally:
            self._task = None

    async def _write(
        self, reports: "list[_Report]", moves: dict[tuple[TenantId, str, str, int], int]
    ) -> None:
        heads = await self._messages.last_seqs(list({report.conversation_id for report in reports}))
        good = []
        for report in reports:
            if report.delivered <= heads.get(report.conversation_id, 0):
                good.append(report)
            elif not report.waiter.done():
                report.waiter.set_exception(
                    InvalidInputError("this conversation has not come so far", field="seq")
                )
        counted = await self._counted(
            {(report.conversation_id, report.read) for report in good if report.read}
        )
        marks: dict[tuple[int, str], tuple[int, int, int]] = {}
        for report in good:
            key = (report.conversation_id, report.user)
            old = marks.get(key, (0, 0, 0))
            through = counted.get((report.conversation_id, report.read), 0)
            marks[key] = (max(old[0], report.delivered), max(old[1], report.read), max(old[2], through))
        rose = await self._store.raise_marks(marks) if marks else set()
        moves = {key: seq for key, seq in moves.items() if seq <= heads.get(key[3], 0)}
        if moves:
            await self._store.move_cursors(moves)
        for report in good:
            if not report.waiter.done():
                report.waiter.set_result(None)
        self._tell_all(rose, marks)

    async def _counted(self, places: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """How many messages there are up to each of these places."""
        wanted: dict[int, list[int]] = {}
        for conversation_id, seq in places:
            wanted.setdefault(conversation_id, []).append(seq)
        return {
            (conversation_id, seq): counted
            for conversation_id, seqs in wanted.items()
            for seq, counted in (await self._store.counted_at(conversation_id, seqs)).items()
        }

    def _tell_all(
        self, rose: set[tuple[int, str]], marks: dict[tuple[int, str], tuple[int, int, int]]
    ) -> None:
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


class _Report(NamedTuple):
    """Somebody says how far they are."""

    conversation_id: int
    user: str
    delivered: int
    read: int
    waiter: "asyncio.Future[None]"
