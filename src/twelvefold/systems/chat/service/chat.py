"""Chat as a library: conversations, messages, history. Sockets and REST call the same methods.

`user` is whom the caller acts for; routes make sure that they may. A returned `Sent` is on disk.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.kernel.ids import MAX_ID, SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import (
    MAX_PAGE,
    Attachment,
    Conversation,
    ConversationNotFoundError,
    Event,
    Found,
    Listed,
    Member,
    MessageNotFoundError,
    NewConversation,
    NewMessage,
    Sent,
    SlowModeError,
)
from twelvefold.systems.chat.rules.bodies import KINDS, body_of, fingerprint, key_of, pack
from twelvefold.systems.chat.rules.standing import (
    FOR_EVER,
    RANK,
    Standing,
    may_follow,
    may_moderate,
    may_read,
    may_send,
)
from twelvefold.systems.chat.service.changes import ConversationChanges
from twelvefold.systems.chat.service.media import MediaLibrary
from twelvefold.systems.chat.service.pace import Pace
from twelvefold.systems.chat.service.rooms import Room, Rooms
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.conversations import ConversationStore, pair_key
from twelvefold.systems.chat.store.messages import Acknowledge, Head, MessageStore

EPOCH_BYTES = 4
CHANNEL_NAME = re.compile(r"[!-~]{1,255}")


class Chat(ConversationChanges):
    """See the module. Its parts are injected; `platform.chat` wires them."""

    def __init__(
        self,
        *,
        conversations: ConversationStore,
        messages: MessageStore,
        rooms: Rooms,
        media: MediaLibrary,
        pace: Pace,
        ids: SnowflakeGenerator,
        clock: Clock,
        settings: ChatSettings,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        super().__init__(
            conversations=conversations, messages=messages, rooms=rooms, pace=pace, ids=ids, clock=clock, settings=settings,
            random_bytes=random_bytes,
        )  # fmt: skip
        self._media = media
        messages.fence_for = rooms.fence_for

    # -- conversations --------------------------------------------------------------------------

    async def create(self, tenant: TenantId, user: str, wanted: NewConversation) -> Conversation:
        """Begin a conversation with `user` as its owner; the direct one of a pair is given again."""
        others = tuple(dict.fromkeys(name for name in wanted.members if name != user))
        pair = None
        if wanted.kind == "direct":
            if len(others) != 1:
                raise InvalidInputError("a direct conversation has exactly one other member", field="members")
            if wanted.slow_mode_seconds:
                raise InvalidInputError("a direct conversation has no slow mode", field="slow_mode_seconds")
            pair = pair_key(user, others[0])
        if len(others) >= self._settings.max_members:
            raise InvalidInputError(f"at most {self._settings.max_members} members", field="members")
        if wanted.channel is not None and _is_id(wanted.channel):
            raise InvalidInputError(
                "a channel's name must not look like a conversation's id", field="channel"
            )
        event_id = self._ids.make()
        made = Conversation(
            id=event_id,
            kind=wanted.kind,
            name=wanted.name,
            channel=wanted.channel,
            access="private" if wanted.kind == "direct" else wanted.access,
            history="all" if wanted.kind == "direct" else wanted.history,
            slow_mode_seconds=wanted.slow_mode_seconds,
            members=0,
            created_at_ms=self._clock.now_ms(),
            created_by=user,
        )
        found = await self._conversations.create(tenant, made, pair, self._random_bytes(EPOCH_BYTES).hex())
        if found == made.id or pair is not None:
            await self._seat(tenant, found, user, others, direct=pair is not None)
        return (await self._rooms.get(tenant, found)).conversation

    async def get(self, tenant: TenantId, user: str, conversation_id: int) -> Conversation:
        """A conversation that `user` is in."""
        room, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)
        return room.conversation

    async def check_reader(self, tenant: TenantId, user: str, conversation_id: int) -> None:
        """Raises unless there is a part of it that `user` may read, were it a past one."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_read(standing)

    async def check_speaker(self, tenant: TenantId, user: str, conversation_id: int) -> None:
        """Raises unless `user` may say something there."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_send(standing)

    async def by_channel(self, tenant: TenantId, channel: str, *, make_for: str | None = None) -> int:
        """The conversation of a channel name; with `make_for`, an open channel is begun where there is none.

        Raises `ConversationNotFoundError`.
        """
        if not CHANNEL_NAME.fullmatch(channel):
            raise InvalidInputError(
                "a channel's name is 1 to 255 printable ASCII characters", field="channel"
            )
        found = await self._rooms.by_channel(tenant, channel)
        if found is None and _is_id(channel):
            found = (await self._rooms.get(tenant, int(channel))).conversation.id
        if found is None and make_for is not None:
            wanted = NewConversation(
                kind="channel", name=channel[:200], channel=channel, access="open", history="all"
            )
            try:
                found = (await self.create(tenant, make_for, wanted)).id
            except TwelvefoldError:
                found = await self._rooms.by_channel(tenant, channel)  # somebody was quicker
        if found is None:
            raise ConversationNotFoundError(channel=channel)
        return found

    async def of_user(self, tenant: TenantId, user: str, *, cursor: int | None, limit: int) -> list[Listed]:
        """The conversations that `user` is in, newest first."""
        return await self._conversations.of_user(
            tenant, user, FOR_EVER if cursor is None else cursor, min(limit, 500)
        )

    async def members(
        self, tenant: TenantId, user: str, conversation_id: int, *, after: str = "", limit: int = 100
    ) -> list[Member]:
        """Members by name, and how far they are."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_follow(standing)
        return await self._conversations.members(tenant, conversation_id, after, min(limit, MAX_PAGE))

    async def bans(self, tenant: TenantId, user: str, conversation_id: int) -> "list[dict[str, Any]]":
        """Who is banned; for moderators."""
        _, standing = await self._rooms.place(tenant, conversation_id, user)
        may_moderate(standing)
        return await self._conversations.bans(conversation_id)

    # -- messages -------------------------------------------------------------------------------

    async def send(self, tenant: TenantId, conversation_id: int, user: str, message: NewMessage) -> Sent:
        """Store a message; returns when it is on disk. The same `client_msg_id` again gives the same `Sent`."""
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()

        done = _resolve(future)
        if not self.submit_known(tenant, conversation_id, user, message, done):
            await self.submit(tenant, conversation_id, user, message, done)
        return await future

    def submit_known(
        self, tenant: TenantId, conversation_id: int, user: str, message: NewMessage, done: Acknowledge
    ) -> bool:
        """`submit` without waiting, where all that is needed is known; False if it is not. Raises why not."""
        room = self._rooms.known(tenant, conversation_id)
        if room is None or room.conversation.slow_mode_seconds or message.attachments:
            return False
        if message.reply_to is not None or message.thread is not None:
            return False
        standing = room.standings.get(user)
        if standing is None:
            return False
        may_send(standing)
        self._pace.keep(tenant, user)
        self._put(conversation_id, user, message, (), room.fence, done)
        return True

    async def submit(
        self, tenant: TenantId, conversation_id: int, user: str, message: NewMessage, done: Acknowledge
    ) -> None:
        """Judge a message and hand it to the next commit; `done` hears the outcome.

        Raises why it may not be sent. Two calls, one after the other, are stored in that order.
        """
        room, standing = await self._rooms.place(tenant, conversation_id, user)
        may_send(standing)
        attachments: tuple[Attachment, ...] = ()
        if message.attachments:
            attachments = await self._media.attach(tenant, conversation_id, user, message.attachments)
        for seq, field in ((message.reply_to, "reply_to"), (message.thread, "thread")):
            if seq is not None:
                await self._refuse_unseen(conversation_id, standing, seq, field)
        if room.conversation.slow_mode_seconds and RANK[standing.role or "member"] < RANK["moderator"]:
            await self._slow_down(room, user, message)
        self._pace.keep(tenant, user)
        self._put(conversation_id, user, message, attachments, room.fence, done)

    def _put(  # noqa: PLR0917 - a place in a conversation, and what to do there
        self, conversation_id: int, user: str, message: NewMessage, attachments: tuple[Attachment, ...], fence: int,
        done: Acknowledge,
    ) -> None:  # fmt: skip
        body = body_of(message, attachments)
        event_id = self._ids.make()
        if message.client_msg_id is None:
            key, print_ = b"id" + event_id.to_bytes(14, "big"), b""
        else:
            key, print_ = key_of(user, message.client_msg_id), fingerprint(body)
        self._messages.submit(
            conversation_id, event_id, user, pack(body, self._salt()), key, print_, fence, done
        )

    async def _refuse_unseen(self, conversation_id: int, standing: Standing, seq: int, field: str) -> None:
        """What is answered is a message that the sender can see; one that was taken back still has its place."""
        found = await self._messages.body(conversation_id, seq) if standing.sees(seq) else None
        if found is None or found[0].kind != KINDS["message"]:
            raise MessageNotFoundError("there is no such message to answer", field=field, seq=seq)
        if field == "thread" and found[1].thread is not None:
            raise InvalidInputError(
                "this message is in a thread itself", field=field, hint=f"its thread is {found[1].thread}"
            )

    async def _slow_down(self, room: Room, user: str, message: NewMessage) -> None:
        seconds = room.conversation.slow_mode_seconds
        said = message.client_msg_id or str(self._ids.make())
        if wait := await self._pace.slow(room.conversation.id, user, seconds, said):
            raise SlowModeError(retry_after_seconds=wait)

    async def history(
        self, tenant: TenantId, user: str, conversation_id: int, *, after: int | None = None, before: int | None = None,
        limit: int = 50,
    ) -> Sequence[Event]:  # fmt: skip
        """Events after a sequence (ascending) or before one (descending; the newest without either).

        What `user` may not see is left out, so a page can be short; it is empty only if nothing is left.
        """
        if after is not None and before is not None:
            raise InvalidInputError("say after or before, not both", field="before")
        _, standing = await self._rooms.fresh_place(tenant, conversation_id, user)
        may_read(standing)
        limit = min(limit, MAX_PAGE)
        if after is not None:
            found = await self._messages.after(conversation_id, standing.forward(after), limit)
        else:
            found = await self._messages.before(conversation_id, standing.back(before or FOR_EVER), limit)
        return [event for event in found if standing.sees(event.seq)]

    async def fresh_place(self, tenant: TenantId, conversation_id: int, user: str) -> tuple[Room, Standing]:
        """A conversation as it is now, and where `user` stands in it; for those who go on to `events_after`."""
        return await self._rooms.fresh_place(tenant, conversation_id, user)

    async def events_after(self, conversation_id: int, seq: int, limit: int) -> list[Event]:
        """Events after a sequence, whoever may see them: the caller judges by the standing it has."""
        return await self._messages.after(conversation_id, seq, limit)

    async def message(self, tenant: TenantId, user: str, conversation_id: int, seq: int) -> Event:
        """One event. Raises `MessageNotFoundError`, also for what `user` may not see."""
        _, standing = await self._rooms.fresh_place(tenant, conversation_id, user)
        may_read(standing)
        found = await self._messages.some(conversation_id, [seq]) if standing.sees(seq) else []
        if not found:
            raise MessageNotFoundError(seq=seq)
        return found[0]

    async def thread(
        self, tenant: TenantId, user: str, conversation_id: int, seq: int, *, after: int = 0, limit: int = 50
    ) -> Sequence[Event]:
        """The answers in the thread that began with `seq`, ascending."""
        _, standing = await self._rooms.fresh_place(tenant, conversation_id, user)
        may_read(standing)
        while found := await self._messages.thread(
            conversation_id, seq, standing.forward(after), min(limit, MAX_PAGE)
        ):
            if seen := [event for event in found if standing.sees(event.seq)]:
                return seen
            after = found[-1].seq
        await self.message(tenant, user, conversation_id, seq)  # raises if nothing could ever be there
        return []

    async def events_before(self, conversation_id: int, seq: int, limit: int) -> list[Event]:
        """Events before a sequence, descending; as `events_after`."""
        return await self._messages.before(conversation_id, seq, limit)

    async def head(self, tenant: TenantId, conversation_id: int) -> Head:
        """Where a conversation's log stands: its epoch, its first and its last sequence."""
        await self._rooms.get(tenant, conversation_id)
        return await self._messages.head(conversation_id)

    async def channels(self, tenant: TenantId, prefix: str, limit: int = 1000) -> "list[tuple[str, int]]":
        """Channel names that begin so, with their conversations."""
        return await self._conversations.channels(tenant, prefix, limit)

    async def publish(self, tenant: TenantId, conversation_id: int, message: NewMessage) -> Sent:
        """Send as the tenant itself, who needs no place in a conversation."""
        await self._rooms.get(tenant, conversation_id)
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self._put(conversation_id, "", message, (), -1, _resolve(future))
        return await future

    async def audit(self, tenant: TenantId, conversation_id: int) -> Any:
        """Check that a conversation's sequence is dense and its chain holds; for the tenant itself."""
        await self._rooms.get(tenant, conversation_id)
        return await self._messages.audit(conversation_id)

    async def search(
        self, tenant: TenantId, user: str, text: str, *, conversation_id: int | None = None, cursor: int | None = None,
        limit: int = 20,
    ) -> Found:  # fmt: skip
        """Messages with these words that `user` could see when they were sent, newest first."""
        if not text.strip():
            raise InvalidInputError("say what to look for", field="q")
        limit = min(limit, 100)
        rows = await self._messages.search(
            tenant, user, text, conversation_id, FOR_EVER if cursor is None else cursor, limit
        )
        found: list[Event] = []
        for conversation, seq, _ in rows:
            found += [
                event
                for event in await self._messages.some(conversation, [seq])
                if event.type == "message" and not event.deleted
            ]
        return Found(tuple(found), str(rows[-1][2]) if len(rows) == limit else None)


def _is_id(channel: str) -> bool:
    """Where a channel is asked for, an id is, too: no name may take its place. Ids have had 15 digits for long."""
    return channel.isdigit() and 15 <= len(channel) < 20 and int(channel) <= MAX_ID


def _resolve(future: "asyncio.Future[Sent]") -> Acknowledge:
    def done(outcome: Sent | TwelvefoldError) -> None:
        if not future.done():
            if isinstance(outcome, Sent):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    return done
