"""`/v1/chat`: users, tokens, presence, search, media, push subscriptions."""

from typing import Annotated, Any, Literal

from litestar import Response, Router, delete, get, post
from litestar.enums import MediaType
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from twelvefold.kernel.errors import ForbiddenError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Medium, UserId
from twelvefold.systems.chat.routes.api import Ask, Cursor, Id, UserName
from twelvefold.systems.chat.routes.caller import Caller, Callers
from twelvefold.systems.chat.routes.requests import PushRequest, TokenRequest, number
from twelvefold.systems.chat.routes.views import EventList, EventView, MediumView
from twelvefold.systems.chat.rules.files import byte_range, disposition
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.media import MediaLibrary
from twelvefold.systems.chat.service.presence import MAX_LOOKED_AT, PresenceService, user_key
from twelvefold.systems.chat.service.progress import Progress
from twelvefold.systems.chat.service.subscriptions import PushSubscriptions
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.web.guard import principal_of, requires

OptionalId = Annotated[str | None, QueryParameter(max_length=20)]
REVOKED = b'{"type":"revoked"}'


def _by_key(caller: Caller) -> None:
    if not caller.by_key:
        raise ForbiddenError("this is for the tenant's API key, not for a user's token")


def user_routes(
    tokens: Tokens, presence: PresenceService, progress: Progress, delivery: Delivery, subscriptions: PushSubscriptions,
    callers: Callers,
) -> Router:  # fmt: skip
    """Users: tokens, presence, devices, push."""

    @post("/tokens", guards=[requires("chat:write")], summary="A token for one of your users")
    async def make_token(request: Ask, data: JSONBody[TokenRequest]) -> dict[str, Any]:
        tenant = principal_of(request).tenant_id
        token, expires = tokens.make(tenant, data.user, seconds=data.seconds, channel=data.channel)
        return {"token": token, "user": data.user, "expires": expires}

    @get(
        "/token-secret",
        guards=[requires("chat:admin")],
        summary="What your own programs sign tokens with (HS256)",
    )
    async def token_secret(request: Ask) -> dict[str, str]:
        tenant = principal_of(request).tenant_id
        return {"secret": tokens.secret_of(tenant), "kid": str(tenant), "alg": "HS256"}

    @post(
        "/users/{user:str}/revoke",
        status_code=204,
        guards=[requires("chat:write")],
        summary="End a user's tokens and sockets",
    )
    async def revoke(request: Ask, user: UserName) -> None:
        tenant = principal_of(request).tenant_id
        await tokens.revoke(tenant, user)
        delivery.tell_user(user_key(tenant, user), REVOKED)

    @get("/users/{user:str}/presence", summary="Whether somebody is there")
    async def presence_of(request: Ask, user: UserName) -> dict[str, Any]:
        caller = await callers.of(request, "chat:read")
        (found,) = await presence.of(caller.tenant, [user])
        return {"user": user, "online": found.online, "devices": found.devices}

    @get("/presence", summary="Whether some of your users are there: ?user=ann&user=bob")
    async def presence_of_some(
        request: Ask, user: Annotated[list[UserId], QueryParameter(min_items=1, max_items=MAX_LOOKED_AT)]
    ) -> dict[str, Any]:
        caller = await callers.of(request, "chat:read")
        return {"items": await presence.of(caller.tenant, user)}

    @get(
        "/users/{user:str}/route",
        guards=[requires("chat:read")],
        summary="Which servers hold a user's sockets",
    )
    async def route(request: Ask, user: UserName) -> dict[str, Any]:
        return {"user": user, "servers": await presence.servers(principal_of(request).tenant_id, user)}

    @get("/devices", summary="Your devices")
    async def devices(request: Ask) -> dict[str, Any]:
        caller = await callers.of(request, "chat:read")
        return {"items": list(await progress.devices(caller.tenant, caller.user))}

    @delete("/devices/{device:str}", summary="Forget a device and its push subscription")
    async def forget(request: Ask, device: UserName) -> None:
        caller = await callers.of(request, "chat:write")
        await progress.forget_device(caller.tenant, caller.user, device)
        await subscriptions.remove(caller.tenant, caller.user, device)

    @get("/push", summary="What a browser needs to subscribe: the server's VAPID key")
    async def push_key() -> dict[str, str]:
        return {"vapid_public_key": subscriptions.vapid_public_key}

    @post("/push", status_code=204, summary="Where a device of yours can be woken")
    async def subscribe(request: Ask, data: JSONBody[PushRequest]) -> None:
        caller = await callers.of(request, "chat:write")
        await subscriptions.put(caller.tenant, caller.user, data.to_contract())

    return Router(
        "/v1/chat",
        route_handlers=[
            make_token, token_secret, revoke, presence_of, presence_of_some, route, devices, forget, push_key, subscribe,
        ],
        tags=["Chat"],
    )  # fmt: skip


def reading_routes(chat: Chat, presence: PresenceService, callers: Callers) -> Router:
    """Search, audit, typing."""

    @get("/search", summary="Messages with these words that you could see")
    async def search(
        request: Ask, q: Annotated[str, QueryParameter(max_length=500)], conversation: OptionalId = None,
        cursor: Cursor = None,
        limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
    ) -> EventList:  # fmt: skip
        caller = await callers.of(request, "chat:read")
        found = await chat.search(
            caller.tenant,
            caller.user,
            q,
            conversation_id=None if conversation is None else number(conversation, "conversation"),
            cursor=None if cursor is None else number(cursor, "cursor"),
            limit=limit,
        )
        return EventList([EventView.of(event) for event in found.items], found.next_cursor)

    @get(
        "/conversations/{conversation:str}/audit",
        guards=[requires("chat:read")],
        summary="Check the chain of hashes",
    )
    async def audit(request: Ask, conversation: Id) -> dict[str, Any]:
        found = await chat.audit(principal_of(request).tenant_id, number(conversation, "conversation"))
        return {"entries": found.entries, "amended": found.amended, "faults": list(found.faults)}

    @post("/conversations/{conversation:str}/typing", status_code=204, summary="Say that you are writing")
    async def typing(request: Ask, conversation: Id) -> None:
        caller = await callers.of(request, "chat:write")
        place = number(conversation, "conversation")
        await chat.check_speaker(caller.tenant, caller.user, place)
        presence.typing(place, caller.user)

    return Router("/v1/chat", route_handlers=[search, audit, typing], tags=["Chat"])


def media_routes(media: MediaLibrary, callers: Callers) -> Router:
    """Files."""

    @post("/conversations/{conversation:str}/media", summary="Upload a file: its bytes as the body")
    async def upload(
        request: Ask, conversation: Id, name: Annotated[str, QueryParameter(max_length=300)] = "file"
    ) -> MediumView:
        caller = await callers.of(request, "chat:write")
        medium = await media.upload(
            caller.tenant, caller.user, number(conversation, "conversation"), name=name,
            content_type=request.headers.get("content-type", ""), data=await request.body(),
        )  # fmt: skip
        return MediumView.of(medium)

    @get("/conversations/{conversation:str}/media/{medium:str}", summary="A link to a file, good for an hour")
    async def link(
        request: Ask,
        conversation: Id,
        medium: Id,
        thumbnail: Annotated[Literal["true", "false"], QueryParameter()] = "false",
    ) -> dict[str, str]:
        caller = await callers.of(request, "chat:read")
        place = (number(conversation, "conversation"), number(medium, "medium"))
        query = await media.link(caller.tenant, caller.user, *place, thumbnail=thumbnail == "true")
        return {"url": f"/v1/chat/media/{medium}?{query}"}

    @get("/media/{medium:str}", summary="The file of a link", media_type=MediaType.TEXT)
    async def download(
        request: Ask,
        medium: Id,
        conversation: Annotated[str, QueryParameter(max_length=20)],
        tenant: Annotated[int, QueryParameter(ge=0)],
        expires: Annotated[int, QueryParameter(ge=0)],
        signature: Annotated[str, QueryParameter(max_length=100)],
        size: Annotated[str, QueryParameter(max_length=10)] = "full",
    ) -> Response[Any]:
        place = (TenantId(tenant), number(conversation, "conversation"), number(medium, "medium"))
        found = await media.open(*place, expires=expires, size=size, signature=signature)
        return await _file(media, TenantId(tenant), found, size, request.headers.get("range", ""))

    return Router("/v1/chat", route_handlers=[upload, link, download], tags=["Chat"])


async def _file(media: MediaLibrary, tenant: TenantId, found: Medium, size: str, asked: str) -> Response[Any]:
    kind = "image/webp" if size == "thumbnail" else found.content_type
    total = await media.size(tenant, found, size)
    headers = {
        "content-disposition": disposition(found.name, kind),
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "private, max-age=3600",
        "accept-ranges": "bytes",
    }
    try:
        span = byte_range(asked, total) if asked else None
    except ValueError:
        return Response(
            b"", status_code=416, headers={**headers, "content-range": f"bytes */{total}"}, media_type=kind
        )
    if span is not None:
        start, end = span
        headers["content-range"] = f"bytes {start}-{end - 1}/{total}"
        data = await media.read(tenant, found, size, start, end)
        return Response(data, status_code=206, headers=headers, media_type=kind)
    headers["content-length"] = str(total)
    return Stream(media.stream(tenant, found, size), headers=headers, media_type=kind)
