"""What this process knows about conversations: their rules, their fences, and where their people stand.

A copy may be old; that does no harm. Every append carries the fence under which the copy was read, and the
timeline refuses it if that fence was raised since. Then the copy is read again and the sender judged again.
"""

import asyncio

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Conversation, ConversationNotFoundError
from twelvefold.systems.chat.rules.standing import Standing, may_send, standing_of
from twelvefold.systems.chat.service.gather import Gather
from twelvefold.systems.chat.store.conversations import ConversationStore

MAX_ROOMS = 50_000
MAX_STANDINGS = 20_000
"""Of one conversation; beyond it, its standings are forgotten and asked for again."""


class Room:
    """A conversation under one fence."""

    __slots__ = ("conversation", "epoch", "fence", "standings", "tenant")

    def __init__(self, tenant: TenantId, conversation: Conversation, fence: int, epoch: str) -> None:
        self.tenant = tenant
        self.conversation = conversation
        self.fence = fence
        self.epoch = epoch
        self.standings: dict[str, Standing] = {}


class Rooms:
    """See the module."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._rooms: dict[int, Room] = {}
        self._loading: dict[tuple[int, int], asyncio.Task[Room]] = {}
        self._channels: dict[tuple[int, str], int] = {}
        self._tenants: dict[int, TenantId] = {}
        self._facts = Gather(store.facts)
        self._fences = Gather(store.fences)

    def known(self, tenant: TenantId, conversation_id: int) -> Room | None:
        """The copy, if there is one."""
        room = self._rooms.get(conversation_id)
        return room if room is not None and room.tenant == tenant else None

    async def get(self, tenant: TenantId, conversation_id: int) -> Room:
        """A conversation. Raises `ConversationNotFoundError`, also for another tenant's."""
        room = self.known(tenant, conversation_id)
        if room is not None:
            return room
        key = (tenant, conversation_id)
        # Never one that began before the copy was found stale.
        task = self._loading.get(key)
        if task is None:
            # Many ask for a conversation at once when a server has just started: one of them reads.
            task = asyncio.get_running_loop().create_task(self._load(tenant, conversation_id))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(task)

    async def standing(self, room: Room, user: str) -> Standing:
        """Where somebody stands in it."""
        known = room.standings.get(user)
        if known is not None:
            return known
        facts = await self._facts.get((room.tenant, room.conversation.id, user))
        standing = standing_of(
            role=facts.role, banned=facts.banned, access=room.conversation.access, intervals=facts.intervals
        )
        if len(room.standings) >= MAX_STANDINGS:
            room.standings.clear()
        room.standings[user] = standing
        return standing

    async def place(self, tenant: TenantId, conversation_id: int, user: str) -> tuple[Room, Standing]:
        """A conversation, and where somebody stands in it."""
        room = await self.get(tenant, conversation_id)
        return room, await self.standing(room, user)

    async def fresh_place(self, tenant: TenantId, conversation_id: int, user: str) -> tuple[Room, Standing]:
        """`place`, for showing what was said: never from a copy that is older than this call."""
        room = self.known(tenant, conversation_id)
        if room is not None and await self._fences.get(conversation_id) != room.fence:
            self.stale(conversation_id)
        return await self.place(tenant, conversation_id, user)

    async def fence_for(self, conversation_id: int, author: str) -> int:
        """Judge a sender again, under the fence of now. Raises why they may not send."""
        tenant = self._tenants.get(conversation_id)
        if tenant is None:
            raise ConversationNotFoundError(conversation=str(conversation_id))
        self.stale(conversation_id)
        room = await self.get(tenant, conversation_id)
        if author:
            may_send(await self.standing(room, author))
        return room.fence

    async def by_channel(self, tenant: TenantId, channel: str) -> int | None:
        """The conversation of a channel name; names are never given twice."""
        found = self._channels.get((tenant, channel))
        if found is None:
            found = await self._store.by_channel(tenant, channel)
            if found is not None:
                if len(self._channels) >= MAX_ROOMS:
                    self._channels.clear()
                self._channels[tenant, channel] = found
        return found

    def members_of(self, conversation_id: int) -> int:
        """How many members it has, as far as this process knows."""
        room = self._rooms.get(conversation_id)
        return room.conversation.members if room is not None else 0

    def stale(self, conversation_id: int) -> None:
        """Something about it has changed; its next user reads it again, and no reading under way counts."""
        self._rooms.pop(conversation_id, None)
        tenant = self._tenants.get(conversation_id)
        if tenant is not None:
            self._loading.pop((tenant, conversation_id), None)

    def _loaded(self, key: tuple[int, int], task: "asyncio.Task[Room]") -> None:
        if self._loading.get(key) is task:
            del self._loading[key]
            if not task.cancelled() and task.exception() is None:
                self._keep(task.result())

    async def _load(self, tenant: TenantId, conversation_id: int) -> Room:
        row = await self._store.load(tenant, conversation_id)
        return Room(tenant, row.conversation, row.fence, row.epoch)

    def _keep(self, room: Room) -> None:
        while len(self._rooms) >= MAX_ROOMS:
            self._rooms.pop(next(iter(self._rooms)))
        if len(self._tenants) >= 20 * MAX_ROOMS:
            self._tenants = {id_: room.tenant for id_, room in self._rooms.items()}
        self._rooms[room.conversation.id] = room
        self._tenants[room.conversation.id] = room.tenant
