"""News about what was said and who is in: each is an entry of the sequence, and a change in the same transaction."""

import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError, OverloadedError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import (
    AlreadyAMemberError,
    AlreadyBannedError,
    BannedError,
    Change,
    ConversationFullError,
    EventType,
    MessageNotFoundError,
    NewMessage,
    NotAllowedError,
    NotAMemberError,
    NotBannedError,
    Role,
    Sent,
)
from twelvefold.systems.chat.rules import standing as rules
from twelvefold.systems.chat.rules.bodies import KINDS, SALT_BYTES, Body, body_of, pack
from twelvefold.systems.chat.rules.standing import Standing
from twelvefold.systems.chat.service.pace import Pace
from twelvefold.systems.chat.service.rooms import Room, Rooms
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.conversations import Changes, ConversationStore
from twelvefold.systems.chat.store.messages import MessageStore, Stored

ATTEMPTS = 8
SALTS = 256


class ConversationChanges:
    """The part of `Chat` that changes conversations and messages."""

    def __init__(
        self, *, conversations: ConversationStore, messages: MessageStore, rooms: Rooms, pace: Pace,
        ids: SnowflakeGenerator, clock: Clock, settings: ChatSettings,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:  # fmt: skip
        self._conversations = conversations
        self._messages = messages
        self._rooms = rooms
        self._pace = pace
        self._ids = ids
        self._clock = clock
        self._settings = settings
        self._random_bytes = random_bytes
        self._salts: list[bytes] = []
        self.on_seated: Callable[[TenantId, int, Sequence[str]], None] = lambda *_: None
        """Told who has become a member of a conversation that they may not have known."""

    # -- messages -------------------------------------------------------------------------------

    async def edit(self, tenant: TenantId, user: str, conversation_id: int, seq: int, text: str) -> Sent:
        """Say it otherwise. What was said before is gone, everywhere."""

        async def work(changes: Changes, body: Body) -> None:
            new = body_of(
                NewMessage(text=text, data=msgspec.Raw(body.data) if body.data else None), body.attachments
            )
            kept = msgspec.structs.replace(body, text=new.text, edited=True)
            await changes.rewrite(seq, pack(kept, self._salt()), gone=False)

        return await self._amend(tenant, user, conversation_id, seq, "edited", rules.may_edit, work)

    async def delete(self, tenant: TenantId, user: str, conversation_id: int, seq: int) -> Sent:
        """Take it back. Text, data, attachments and reactions are gone; its place in the sequence stays."""

        async def work(changes: Changes, body: Body) -> None:
            await changes.rewrite(seq, pack(Body(deleted=True), self._salt()), gone=True)
            if body.attachments:
                await changes.forget_media([int(one.media_id) for one in body.attachments])

        return await self._amend(tenant, user, conversation_id, seq, "deleted", rules.may_delete, work)

    async def react(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int, emoji: str, *, added: bool = True
    ) -> Sent:
        """Put a reaction to a message, or take it away."""
        body = Body(target=seq, emoji=emoji, added=added)

        self._pace.keep(tenant, user)

        async def judge(_: Room, standing: Standing) -> None:
            rules.may_send(standing)
            await self._target(conversation_id, standing, seq)

        return await self._change(
            tenant, user, conversation_id, "reaction", body, judge,
            lambda changes, _seq, _counted: changes.react(seq, emoji, user, self._clock.now_ms(), added=added),
        )  # fmt: skip

    # -- members --------------------------------------------------------------------------------

    async def join(self, tenant: TenantId, user: str, conversation_id: int) -> Sent:
        """Become a member of an open conversation."""

        async def judge(room: Room, standing: Standing) -> None:
            if standing.banned:
                raise BannedError
            if room.conversation.access != "open":
                raise NotAllowedError("this conversation is not open; somebody in it can add you")
            await self._refuse_again(room, user)
            self._refuse_full(room)

        return await self._member(tenant, user, conversation_id, user, "joined", "member", judge)

    async def add(
        self, tenant: TenantId, user: str, conversation_id: int, other: str, role: Role = "member"
    ) -> Sent:
        """Take somebody in; for moderators."""

        async def judge(room: Room, standing: Standing) -> None:
            rules.may_moderate(standing)
            if room.conversation.kind == "direct":
                raise NotAllowedError("a direct conversation has its two members")
            if (await self._rooms.standing(room, other)).banned:
                raise BannedError("they are banned; lift the ban first")
            rules.may_give(standing, role)
            await self._refuse_again(room, other)
            self._refuse_full(room)

        return await self._member(tenant, user, conversation_id, other, "joined", role, judge)

    async def admit(self, tenant: TenantId, user: str, conversation_id: int, *, member: bool = False) -> None:
        """Let in whom the tenant itself sends: by a subscription token, or by its server.

        In an open conversation everybody is in already, unless they shall be a `member`. Raises `BannedError`.
        """
        room, standing = await self._rooms.place(tenant, conversation_id, user)
        if standing.banned:
            raise BannedError
        if standing.role is not None and not (member and room.conversation.access == "open"):
            return
        if member and await self._is_member(room, user):
            return

        async def judge(room: Room, standing: Standing) -> None:
            if standing.banned:
                raise BannedError
            self._refuse_full(room)

        await self._member(tenant, user, conversation_id, user, "joined", "member", judge)

    async def leave(self, tenant: TenantId, user: str, conversation_id: int) -> Sent:
        """Go."""

        async def judge(room: Room, standing: Standing) -> None:
            if standing.role is None or not await self._is_member(room, user):
                raise NotAMemberError
            if room.conversation.kind == "direct":
                raise NotAllowedError("a direct conversation has its two members")
            others = standing.role == "owner" and room.conversation.members > 1
            if others and not await self._conversations.has_owner_but(conversation_id, user):
                raise NotAllowedError(
                    "you are its only owner", hint="make another member an owner before you leave"
                )

        return await self._member(tenant, user, conversation_id, user, "left", None, judge)

    async def remove(self, tenant: TenantId, user: str, conversation_id: int, other: str) -> Sent:
        """Put somebody out; they see nothing from here on."""
        return await self._moderate(tenant, user, conversation_id, other, "removed")

    async def ban(
        self, tenant: TenantId, user: str, conversation_id: int, other: str, reason: str = ""
    ) -> Sent:
        """Put somebody out for good."""
        return await self._moderate(tenant, user, conversation_id, other, "banned", reason=reason)

    async def unban(self, tenant: TenantId, user: str, conversation_id: int, other: str) -> Sent:
        """Let somebody come back."""
        return await self._moderate(tenant, user, conversation_id, other, "unbanned")

    async def give_role(
        self, tenant: TenantId, user: str, conversation_id: int, other: str, role: Role
    ) -> Sent:
        """Make somebody something else."""
        return await self._moderate(tenant, user, conversation_id, other, "role", role=role)

    async def settle(
        self,
        tenant: TenantId,
        user: str,
        conversation_id: int,
        *,
        name: str | None = None,
        slow_mode_seconds: int | None = None,
    ) -> Sent:
        """Change a conversation's name or its slow mode."""
        if name is None and slow_mode_seconds is None:
            raise InvalidInputError("say name or slow_mode_seconds", field="name")

        async def judge(_: Room, standing: Standing) -> None:
            rules.may_moderate(standing)

        return await self._change(
            tenant, user, conversation_id, "conversation", Body(name=name, slow_mode_seconds=slow_mode_seconds), judge,
            lambda changes, _seq, _counted: changes.settle(name, slow_mode_seconds), raises=True,
        )  # fmt: skip

    # -- how ------------------------------------------------------------------------------------

    async def _seat(
        self, tenant: TenantId, conversation_id: int, user: str, others: Sequence[str], *, direct: bool
    ) -> None:
        """The first members of a new conversation, with its first entry."""
        owner: Role = "member" if direct else "owner"
        seats: list[tuple[str, Role]] = [(user, owner), *((other, "member") for other in others)]
        key = b"seats" + bytes(11)  # one founding a conversation, whoever of a pair is quicker
        data = pack(Body(user=user, change="joined", role=owner), self._salt())
        at_ms = self._clock.now_ms()
        event_id = self._ids.make()

        async def work(changes: Changes, seq: int, counted: int) -> None:
            await changes.add(tenant, seats, at_ms=at_ms, from_seq=seq, counted=counted)

        placed = await self._conversations.change(
            conversation_id, event_id, KINDS["member"], user, data, work, fence=-1, key=key, raises=True
        )
        self._rooms.stale(conversation_id)
        if placed is not None:
            self.on_seated(tenant, conversation_id, [name for name, _ in seats])

    async def _amend(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, tenant: TenantId, user: str, conversation_id: int, seq: int, kind: EventType,
        may: Callable[[Standing, str, str], None], work: Callable[[Changes, Body], Awaitable[None]],
    ) -> Sent:  # fmt: skip
        found: list[Body] = []
        self._pace.keep(tenant, user)

        async def judge(_: Room, standing: Standing) -> None:
            rules.may_send(standing)  # what is there is not for others to find out
            stored, body = await self._target(conversation_id, standing, seq)
            may(standing, user, stored.author)
            found[:] = [body]

        return await self._change(
            tenant, user, conversation_id, kind, Body(target=seq), judge,
            lambda changes, _seq, _counted: work(changes, found[0]),
        )  # fmt: skip

    async def _target(self, conversation_id: int, standing: Standing, seq: int) -> tuple[Stored, Body]:
        found = await self._messages.body(conversation_id, seq) if standing.sees(seq) else None
        if found is None or found[0].kind != KINDS["message"] or found[1].deleted:
            raise MessageNotFoundError(seq=seq)
        return found

    async def _moderate(
        self, tenant: TenantId, user: str, conversation_id: int, other: str, change: Change, *,
        role: Role | None = None, reason: str = "",
    ) -> Sent:  # fmt: skip
        if other == user:
            raise InvalidInputError("you cannot do that to yourself", field="user")

        async def judge(room: Room, standing: Standing) -> None:
            target = await self._rooms.standing(room, other)
            rules.may_moderate(standing)
            if change in ("removed", "role") and (
                target.role is None or not await self._is_member(room, other)
            ):
                raise NotAMemberError("they are not in this conversation")
            rules.may_change_member(standing, room.conversation.kind, change, target.role, role)
            if change == "banned" and target.banned:
                raise AlreadyBannedError
            if change == "unbanned" and not target.banned:
                raise NotBannedError

        return await self._member(tenant, user, conversation_id, other, change, role, judge, reason=reason)

    async def _member(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, tenant: TenantId, user: str, conversation_id: int, other: str, change: Change, role: Role | None,
        judge: Callable[[Room, Standing], Awaitable[None]], *, reason: str = "",
    ) -> Sent:  # fmt: skip
        at_ms = self._clock.now_ms()
        full_history = (await self._rooms.get(tenant, conversation_id)).conversation.history == "all"

        async def work(changes: Changes, seq: int, counted: int) -> None:
            if change == "joined":
                seat: list[tuple[str, Role]] = [(other, role or "member")]
                await changes.add(
                    tenant, seat, at_ms=at_ms, from_seq=1 if full_history else seq, counted=counted
                )
            elif change == "unbanned":
                await changes.unban(other)
            elif change == "role" and role is not None:
                await changes.give_role(other, role)
            else:
                if change == "banned":
                    await changes.ban(other, by=user, at_ms=at_ms, reason=reason)
                await changes.remove(other, to_seq=seq)

        body = Body(user=other, change=change, role=role)
        sent = await self._change(tenant, user, conversation_id, "member", body, judge, work, raises=True)
        if change == "joined":
            self.on_seated(tenant, conversation_id, [other])
        return sent

    async def _change(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, tenant: TenantId, user: str, conversation_id: int, kind: EventType, body: Body,
        judge: Callable[[Room, Standing], Awaitable[None]],
        work: Callable[[Changes, int, int], Awaitable[None]], *, raises: bool = False,
    ) -> Sent:  # fmt: skip
        """Judge, append, do; again if the conversation changed in between."""
        for _ in range(ATTEMPTS):
            room, standing = await self._rooms.place(tenant, conversation_id, user)
            await judge(room, standing)
            event_id = self._ids.make()
            data = pack(body, self._salt())
            placed = await self._conversations.change(
                conversation_id, event_id, KINDS[kind], user, data, work, fence=room.fence, raises=raises
            )
            if raises or placed is None:
                self._rooms.stale(conversation_id)
            if placed is not None:
                self._messages.on_stored(
                    {conversation_id: [Stored(conversation_id, placed, event_id, KINDS[kind], user, data)]}
                )
                return Sent(event_id, placed)
        raise OverloadedError("this conversation changes too fast; try again", retry_after_seconds=1)

    async def _is_member(self, room: Room, user: str) -> bool:
        """By the list of members; in an open conversation others have a standing, too."""
        (facts,) = await self._conversations.facts([(room.tenant, room.conversation.id, user)])
        return facts.role is not None

    async def _refuse_again(self, room: Room, user: str) -> None:
        if await self._is_member(room, user):
            raise AlreadyAMemberError

    def _refuse_full(self, room: Room) -> None:
        if room.conversation.members >= self._settings.max_members:
            raise ConversationFullError(max_members=self._settings.max_members)

    def _salt(self) -> bytes:
        if not self._salts:
            drawn = self._random_bytes(SALTS * SALT_BYTES)
            self._salts = [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
        return self._salts.pop()
