"""`/v1/chat`: conversations, members, messages, receipts.

The caller is the user of a `Chat-Token`, or whoever an API key names in `Chat-User`.
"""

from typing import Annotated, Any, Literal

from litestar import Request, Router, delete, get, patch, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.systems.chat.contracts import Sent
from twelvefold.systems.chat.routes.caller import Caller, Callers
from twelvefold.systems.chat.routes.requests import (
    BanRequest,
    ConversationRequest,
    MemberRequest,
    MessageRequest,
    ReactionRequest,
    ReceiptRequest,
    RoleRequest,
    SettingsRequest,
    TextRequest,
    number,
)
from twelvefold.systems.chat.routes.views import (
    ConversationView,
    EventList,
    EventView,
    ListedView,
    MemberView,
    SentView,
)
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.progress import Progress

Ask = Request[Any, Any, Any]
Id = Annotated[str, PathParameter(description="The conversation's id.", max_length=20)]
SeqParameter = Annotated[int, PathParameter(ge=1, le=1 << 62)]
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]
UserName = Annotated[str, PathParameter(max_length=128)]


def sent_view(sent: Sent) -> SentView:
    """As the API shows it."""
    return SentView(message_id=str(sent.id), seq=sent.seq, existed=sent.existed)


def conversation_routes(chat: Chat, callers: Callers) -> Router:
    """Conversations and their members."""

    async def who(request: Ask, scope: Literal["read", "write"]) -> Caller:
        return await callers.of(request, f"chat:{scope}")

    @post("/", summary="Begin a conversation")
    async def create(request: Ask, data: JSONBody[ConversationRequest]) -> ConversationView:
        caller = await who(request, "write")
        return ConversationView.of(await chat.create(caller.tenant, caller.user, data.to_contract()))

    @get("/", summary="Your conversations, newest first, with what is unread")
    async def list_(
        request: Ask, cursor: Cursor = None, limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50
    ) -> dict[str, Any]:
        caller = await who(request, "read")
        before = None if cursor is None else number(cursor, "cursor")
        found = await chat.of_user(caller.tenant, caller.user, cursor=before, limit=limit)
        following = str(found[-1].conversation.id) if len(found) == limit else None
        return {"items": [ListedView.of(one) for one in found], "next_cursor": following}

    @get("/{conversation:str}", summary="One conversation")
    async def get_(request: Ask, conversation: Id) -> ConversationView:
        caller = await who(request, "read")
        return ConversationView.of(
            await chat.get(caller.tenant, caller.user, number(conversation, "conversation"))
        )

    @patch("/{conversation:str}", summary="Change its name or slow mode")
    async def settle(request: Ask, conversation: Id, data: JSONBody[SettingsRequest]) -> ConversationView:
        caller, place = await who(request, "write"), number(conversation, "conversation")
        await chat.settle(
            caller.tenant, caller.user, place, name=data.name, slow_mode_seconds=data.slow_mode_seconds
        )
        return ConversationView.of(await chat.get(caller.tenant, caller.user, place))

    @get("/{conversation:str}/members", summary="Members, and how far they are")
    async def members(
        request: Ask, conversation: Id, cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        caller = await who(request, "read")
        found = await chat.members(
            caller.tenant, caller.user, number(conversation, "conversation"), after=cursor or "", limit=limit
        )
        return {
            "items": [MemberView.of(one) for one in found],
            "next_cursor": found[-1].user if len(found) == limit else None,
        }

    @post("/{conversation:str}/members", summary="Take somebody in")
    async def add(request: Ask, conversation: Id, data: JSONBody[MemberRequest]) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.add(caller.tenant, caller.user, place, data.user, data.role))

    @patch("/{conversation:str}/members/{user:str}", summary="Give a role")
    async def give_role(
        request: Ask, conversation: Id, user: UserName, data: JSONBody[RoleRequest]
    ) -> SentView:
        caller = await who(request, "write")
        if data.user is not None and data.user != user:
            raise InvalidInputError("the body names another user than the address", field="user")
        place = number(conversation, "conversation")
        return sent_view(await chat.give_role(caller.tenant, caller.user, place, user, data.role))

    @delete("/{conversation:str}/members/{user:str}", status_code=200, summary="Put somebody out")
    async def remove(request: Ask, conversation: Id, user: UserName) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.remove(caller.tenant, caller.user, place, user))

    @post("/{conversation:str}/join", status_code=200, summary="Join an open conversation")
    async def join(request: Ask, conversation: Id) -> SentView:
        caller = await who(request, "write")
        return sent_view(await chat.join(caller.tenant, caller.user, number(conversation, "conversation")))

    @post("/{conversation:str}/leave", status_code=200, summary="Leave")
    async def leave(request: Ask, conversation: Id) -> SentView:
        caller = await who(request, "write")
        return sent_view(await chat.leave(caller.tenant, caller.user, number(conversation, "conversation")))

    @get("/{conversation:str}/bans", summary="Who is banned")
    async def bans(request: Ask, conversation: Id) -> dict[str, Any]:
        caller = await who(request, "read")
        found = await chat.bans(caller.tenant, caller.user, number(conversation, "conversation"))
        return {
            "items": [
                {"user": one["user_id"], "by": one["banned_by"], "reason": one["reason"]} for one in found
            ]
        }

    @post("/{conversation:str}/bans", status_code=200, summary="Ban somebody")
    async def ban(request: Ask, conversation: Id, data: JSONBody[BanRequest]) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.ban(caller.tenant, caller.user, place, data.user, data.reason))

    @delete("/{conversation:str}/bans/{user:str}", status_code=200, summary="Lift a ban")
    async def unban(request: Ask, conversation: Id, user: UserName) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.unban(caller.tenant, caller.user, place, user))

    return Router(
        "/v1/chat/conversations",
        route_handlers=[
            create,
            list_,
            get_,
            settle,
            members,
            add,
            give_role,
            remove,
            join,
            leave,
            bans,
            ban,
            unban,
        ],
        tags=["Chat"],
    )


def message_routes(chat: Chat, progress: Progress, callers: Callers) -> Router:
    """What is said in a conversation, and how far everybody is."""

    async def who(request: Ask, scope: Literal["read", "write"]) -> Caller:
        return await callers.of(request, f"chat:{scope}")

    @post("/", summary="Send a message; answered when it is on disk")
    async def send(request: Ask, conversation: Id, data: JSONBody[MessageRequest]) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.send(caller.tenant, place, caller.user, data.to_contract()))

    @get("/", summary="History, by sequence")
    async def history(
        request: Ask,
        conversation: Id,
        after: Annotated[int | None, QueryParameter(ge=0, le=1 << 62)] = None,
        before: Annotated[int | None, QueryParameter(ge=1, le=1 << 62)] = None,
        limit: Limit = 50,
    ) -> EventList:
        caller = await who(request, "read")
        place = number(conversation, "conversation")
        found = await chat.history(caller.tenant, caller.user, place, after=after, before=before, limit=limit)
        return EventList([EventView.of(event) for event in found], str(found[-1].seq) if found else None)

    @get("/{seq:int}", summary="One message")
    async def one(request: Ask, conversation: Id, seq: SeqParameter) -> EventView:
        caller = await who(request, "read")
        place = number(conversation, "conversation")
        return EventView.of(await chat.message(caller.tenant, caller.user, place, seq))

    @patch("/{seq:int}", summary="Edit a message of yours")
    async def edit(
        request: Ask, conversation: Id, seq: SeqParameter, data: JSONBody[TextRequest]
    ) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        return sent_view(await chat.edit(caller.tenant, caller.user, place, seq, data.text))

    @delete("/{seq:int}", status_code=200, summary="Delete a message")
    async def remove(request: Ask, conversation: Id, seq: SeqParameter) -> SentView:
        caller = await who(request, "write")
        return sent_view(
            await chat.delete(caller.tenant, caller.user, number(conversation, "conversation"), seq)
        )

    @put("/{seq:int}/reactions", summary="React, or take it back")
    async def react(
        request: Ask, conversation: Id, seq: SeqParameter, data: JSONBody[ReactionRequest]
    ) -> SentView:
        caller = await who(request, "write")
        place = number(conversation, "conversation")
        sent = await chat.react(caller.tenant, caller.user, place, seq, data.emoji, added=data.added)
        return sent_view(sent)

    @get("/{seq:int}/thread", summary="The answers in a thread")
    async def thread(
        request: Ask,
        conversation: Id,
        seq: SeqParameter,
        after: Annotated[int, QueryParameter(ge=0, le=1 << 62)] = 0,
        limit: Limit = 50,
    ) -> EventList:
        caller = await who(request, "read")
        place = number(conversation, "conversation")
        found = await chat.thread(caller.tenant, caller.user, place, seq, after=after, limit=limit)
        return EventList([EventView.of(event) for event in found], str(found[-1].seq) if found else None)

    @get("/{seq:int}/receipts", summary="How many have it, how many read it")
    async def seen(request: Ask, conversation: Id, seq: SeqParameter) -> dict[str, int]:
        caller = await who(request, "read")
        place = number(conversation, "conversation")
        delivered, read = await progress.of_message(caller.tenant, caller.user, place, seq)
        return {"delivered": delivered, "read": read}

    return Router(
        "/v1/chat/conversations/{conversation:str}/messages",
        route_handlers=[send, history, one, edit, remove, react, thread, seen],
        tags=["Chat"],
    )


def receipt_routes(progress: Progress, callers: Callers) -> Router:
    """Watermarks."""

    @get("/", summary="How far the members are")
    async def receipts(
        request: Ask, conversation: Id, cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        caller = await callers.of(request, "chat:read")
        place = number(conversation, "conversation")
        found = await progress.receipts(caller.tenant, caller.user, place, after=cursor or "", limit=limit)
        return {"items": list(found), "next_cursor": found[-1].user if len(found) == limit else None}

    @put("/", status_code=204, summary="Say how far you are")
    async def report(request: Ask, conversation: Id, data: JSONBody[ReceiptRequest]) -> None:
        caller = await callers.of(request, "chat:write")
        place = number(conversation, "conversation")
        if data.delivered_seq is None and data.read_seq is None:
            raise InvalidInputError("say delivered_seq or read_seq", field="delivered_seq")
        if data.delivered_seq is not None:
            await progress.delivered(
                caller.tenant, caller.user, place, data.delivered_seq, device=data.device
            )
        if data.read_seq is not None:
            await progress.read(caller.tenant, caller.user, place, data.read_seq)

    return Router(
        "/v1/chat/conversations/{conversation:str}/receipts", route_handlers=[receipts, report], tags=["Chat"]
    )
