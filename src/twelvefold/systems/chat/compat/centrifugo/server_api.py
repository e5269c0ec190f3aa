"""Centrifugo's server API, `POST /api/<method>`: an API key in `X-API-Key` (or `Authorization: apikey …`).

It acts for the tenant: it may publish to and read every channel of it, and begins channels that are not there.
"""

import fnmatch
import hashlib
from typing import Any

import msgspec

from twelvefold.kernel.errors import (
    ForbiddenError,
    MalformedRequestError,
    MethodNotAllowedError,
    TwelvefoldError,
    UnauthenticatedError,
)
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.systems.chat.compat.centrifugo.answers import HISTORY_LIMIT, message_of
from twelvefold.systems.chat.compat.centrifugo.words import (
    VERSION,
    ProtocolError,
    StreamPosition,
    error_of,
    publications,
)
from twelvefold.systems.chat.contracts import Event, UserId
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.presence import PresenceService, user_key
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.web.api import check_json
from twelvefold.web.guard import ForeignDoor, Verifier
from twelvefold.web.problem import as_error, problem_response

MAX_COMMANDS = 1000
METHODS = frozenset({
    "publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "presence", "presence_stats", "history",
    "history_remove", "info", "channels", "batch",
})  # fmt: skip


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of all methods; each method looks at its own."""

    channel: str = ""
    channels: tuple[str, ...] = ()
    data: msgspec.Raw = msgspec.Raw()
    user: str = ""
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False
    idempotency_key: str | None = None
    pattern: str = ""
    commands: tuple[dict[str, msgspec.Raw], ...] = ()


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """The older form: the method in the body."""

    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(Params).decode
_decode_old = msgspec.json.Decoder(Old).decode


class ServerApi:
    """See the module. An ASGI app."""

    def __init__(
        self, *, chat: Chat, delivery: Delivery, presence: PresenceService, tokens: Tokens, verifier: Verifier,
        door: ForeignDoor,
    ) -> None:  # fmt: skip
        self.chat = chat
        self.delivery = delivery
        self.presence = presence
        self.tokens = tokens
        self.verifier = verifier
        self.door = door

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI entry."""
        try:
            answer = await self._answer(scope, receive)
        except TwelvefoldError as error:
            await problem_response(error, scope)(scope, receive, send)
            return
        body = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any], receive: Any) -> dict[str, Any]:
        if scope["method"] != "POST":
            raise MethodNotAllowedError(hint="it answers to POST", allow="POST")
        principal = await self._principal(scope)
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        check_json(body or b"{}")
        name = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/api").strip("/")
        if not name:
            old = self._read(_decode_old, body)
            name, body = old.method, bytes(old.params)
        return await self._one(principal, name, body)

    async def _principal(self, scope: dict[str, Any]) -> Principal:
        key = ""
        for header, value in scope["headers"]:
            if header == b"x-api-key":
                key = value.decode("latin-1")
            elif header == b"authorization" and value[:7].lower() == b"apikey ":
                key = key or value[7:].strip().decode("latin-1")
        principal = None
        if key and key.isascii() and len(key) < 256:
            principal = await self.door.holder(
                scope, f"key:{key}", lambda: self.verifier.principal_of_key(key)
            )
        if principal is None:
            raise UnauthenticatedError("an API key is needed", hint="send 'X-API-Key: tf_…'")
        if not principal.may("chat:admin"):
            raise ForbiddenError("this needs the scope 'chat:admin'")
        return principal

    async def _one(self, principal: Principal, name: str, body: bytes) -> dict[str, Any]:
        """A method's result, or its error, as the API shows either."""
        if name not in METHODS:
            return {"error": error_of(ProtocolError(104, "method not found"))}
        try:
            params = self._read(_decode, body or b"{}")
            if name == "batch":
                return {"replies": await self._batch(principal, params)}
            return {"result": await getattr(self, f"_{name}")(principal.tenant_id, params)}
        except (TwelvefoldError, ProtocolError) as error:
            return {"error": error_of(error)}
        except Exception as cause:  # noqa: BLE001  # whatever it is becomes an answer
            return {"error": error_of(as_error(cause))}

    async def _batch(self, principal: Principal, params: Params) -> list[dict[str, Any]]:
        if len(params.commands) > MAX_COMMANDS:
            raise ProtocolError(106, f"at most {MAX_COMMANDS} commands")
        replies = []
        for command in params.commands:
            ((name, body),) = command.items() if len(command) == 1 else [("", msgspec.Raw(b"{}"))]
            if name == "batch":
                name = ""  # within one, there is no such method
            made = await self._one(principal, name, bytes(body))
            replies.append({name: made["result"]} if "result" in made else made)
        return replies

    async def _publish(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        return await self._publish_to(tenant, params.channel, params)

    async def _broadcast(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        if len(params.channels) > MAX_COMMANDS:
            raise ProtocolError(106, f"at most {MAX_COMMANDS} channels")
        responses = []
        for channel in params.channels:
            try:
                responses.append({"result": await self._publish_to(tenant, channel, params)})
            except (TwelvefoldError, ProtocolError) as error:
                responses.append({"error": error_of(error)})
        return {"responses": responses}

    async def _publish_to(self, tenant: TenantId, channel: str, params: Params) -> dict[str, Any]:
        if not channel:
            raise ProtocolError(107, "bad request: no channel")
        conversation_id = await self.chat.by_channel(tenant, channel, make_for="server")
        key = params.idempotency_key
        name = None if key is None else hashlib.sha256(key.encode()).hexdigest()
        sent = await self.chat.publish(tenant, conversation_id, message_of(params.data, name))
        head = await self.chat.head(tenant, conversation_id)
        return {"offset": sent.seq, "epoch": head.epoch}

    async def _subscribe(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        """Make a user a member; their sockets hear of it and may subscribe."""
        user = _user(params)
        conversation_id = await self.chat.by_channel(tenant, params.channel, make_for="server")
        await self.chat.admit(tenant, user, conversation_id, member=True)
        return {}

    async def _unsubscribe(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        self._tell(tenant, _user(params), {"type": "unsubscribe", "channel": params.channel})
        return {}

    async def _disconnect(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        self._tell(tenant, _user(params), {"type": "disconnect"})
        return {}

    async def _presence(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        return {"presence": await self._here(tenant, params.channel)}

    async def _presence_stats(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        found = await self._here(tenant, params.channel)
        return {"num_clients": len(found), "num_users": len({info["user"] for info in found.values()})}

    async def _history(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        conversation_id = await self.chat.by_channel(tenant, params.channel)
        head = await self.chat.head(tenant, conversation_id)
        limit = HISTORY_LIMIT if params.limit < 0 else min(params.limit, HISTORY_LIMIT)
        events: list[Event] = []
        if limit and params.reverse:
            before = params.since.seq if params.since is not None else 1 << 62
            events = await self.chat.events_before(conversation_id, before, limit)
        elif limit:
            events = await self.chat.events_after(
                conversation_id, params.since.seq if params.since else 0, limit
            )
        return {"publications": publications(events), "epoch": head.epoch, "offset": head.last_seq}

    async def _history_remove(self, _tenant: TenantId, _params: Params) -> dict[str, Any]:
        raise ProtocolError(108, "not available: what was said is kept; delete single messages instead")

    async def _channels(self, tenant: TenantId, params: Params) -> dict[str, Any]:
        prefix = params.pattern.partition("*")[0]
        found = await self.chat.channels(tenant, prefix)
        shown = {}
        for name, conversation_id in found:
            if not params.pattern or fnmatch.fnmatchcase(name, params.pattern):
                clients = len(await self.presence.here(conversation_id))
                if clients:
                    shown[name] = {"num_clients": clients}
        return {"channels": shown}

    async def _info(self, _tenant: TenantId, _params: Params) -> dict[str, Any]:
        counts = self.presence.counts()
        node = {
            "uid": self.presence.server, "name": self.presence.server, "version": VERSION, "num_clients": counts[0],
            "num_users": counts[1], "num_channels": self.delivery.following, "num_subs": 0, "uptime": 0,
        }  # fmt: skip
        return {"nodes": [node]}

    async def _here(self, tenant: TenantId, channel: str) -> dict[str, Any]:
        found = await self.presence.here(await self.chat.by_channel(tenant, channel))
        return {client: {"client": client, **msgspec.json.decode(info)} for client, info in found.items()}

    def _tell(self, tenant: TenantId, user: str, notice: dict[str, str]) -> None:
        self.delivery.tell_user(user_key(tenant, user), msgspec.json.encode(notice))

    def _read(self, decode: Any, body: bytes) -> Any:
        try:
            return decode(body)
        except msgspec.DecodeError as error:
            raise MalformedRequestError(f"bad request: {error}") from error


def _user(params: Params) -> str:
    try:
        return msgspec.convert(params.user, UserId)
    except msgspec.ValidationError as error:
        raise ProtocolError(107, f"bad request: user: {error}") from error
