"""Our own WebSocket, `/v1/chat/socket`: JSON objects in text messages, or MessagePack in binary ones.

Requests have an `op` and may have a `ref`, which the answer carries. What cannot be done is answered with an
error on the same socket, which stays open. Requests of one socket are begun in the order they came; a
message's acknowledgement comes when it is on disk. An idle socket is this object and its follows, no task.
"""

import asyncio
import secrets
from collections import deque
from typing import Any

import msgspec
import structlog

from twelvefold.kernel.errors import (
    InvalidInputError,
    OverloadedError,
    TwelvefoldError,
    UnauthenticatedError,
)
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import MAX_TEXT_BYTES, Presence, Sent
from twelvefold.systems.chat.routes.caller import Caller, Callers
from twelvefold.systems.chat.routes.forms import FORMS, JSON, MSGPACK, read_request
from twelvefold.systems.chat.routes.live import LiveSockets, Seat
from twelvefold.systems.chat.routes.requests import SocketRequest
from twelvefold.systems.chat.routes.views import event_json
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.presence import MAX_LOOKED_AT, PresenceService, user_key
from twelvefold.systems.chat.service.progress import Progress
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.web.frames import BINARY, TEXT, encode
from twelvefold.web.problem import as_error, problem_of
from twelvefold.web.socket_routes import Accepted, Handshake, Socket, SocketHandler, SocketRoute

log = structlog.get_logger("chat")

MAX_MESSAGE_BYTES = MAX_TEXT_BYTES + 64 * 1024
MAX_PENDING = 256
"""Requests of one socket that wait to be begun; beyond it the socket is not read."""

EXPIRED = 4401
REVOKED = 4403
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


class _SentAnswer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The commonest answer."""

    ref: str | int | None
    type: str
    message_id: str
    seq: int
    status: str
    existed: bool


class SocketDoor:
    """What all sockets of a process share."""

    def __init__(
        self, *, chat: Chat, live: LiveSockets, delivery: Delivery, progress: Progress, presence: PresenceService,
        tokens: Tokens, settings: ChatSettings,
    ) -> None:  # fmt: skip
        self.chat = chat
        self.live = live
        self.delivery = delivery
        self.progress = progress
        self.presence = presence
        self.tokens = tokens
        self.callers = Callers(tokens)
        self._settings = settings
        self._acknowledging: list[ChatSocket] = []

    def acknowledge_soon(self, socket: "ChatSocket") -> None:
        """Write what a socket has to acknowledge at the end of this turn: a commit brings many at once."""
        if not self._acknowledging:
            asyncio.get_running_loop().call_soon(self._acknowledge)
        self._acknowledging.append(socket)

    def _acknowledge(self) -> None:
        sockets, self._acknowledging = self._acknowledging, []
        for socket in sockets:
            socket.write_acknowledgements()

    def route(self) -> SocketRoute:
        """The endpoint."""
        return SocketRoute("/v1/chat/socket", self._connect)

    async def _connect(self, handshake: Handshake) -> Accepted:
        caller = None
        if handshake.principal is not None:
            if not handshake.principal.may("chat:write"):
                raise UnauthenticatedError("this needs the scope 'chat:write'")
            caller = self.callers.by_principal(handshake.principal, handshake.query.get("user", ""))
        asked = [one for one in handshake.subprotocols if one in FORMS]
        form = MSGPACK if MSGPACK in asked or handshake.query.get("format") == "msgpack" else JSON
        return Accepted(
            handler=ChatSocket(self, form, caller),
            subprotocol=asked[0] if asked else "",
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_backlog_bytes=self._settings.max_socket_bytes,
        )


class ChatSocket(SocketHandler):
    """One connection. It is a `live.Follower`."""

    __slots__ = (
        "_acknowledged",
        "_device", "_door", "_expiry", "_form", "_looking", "_pending", "_seats", "_task", "connection", "subscriber",
        "tenant", "user",
    )  # fmt: skip

    subscriber: Socket

    def __init__(self, door: SocketDoor, form: str, caller: Caller | None) -> None:
        self._door = door
        self._form = form
        self.user = caller.user if caller else ""
        self.tenant = caller.tenant if caller else TenantId(0)
        self.connection = ""
        self._device = ""
        self._expiry: asyncio.TimerHandle | None = None
        self._pending: deque[SocketRequest] | None = None
        self._task: asyncio.Task[None] | None = None
        self._seats: dict[int, Seat] = {}
        self._looking: tuple[str, ...] = ()
        self._acknowledged: list[bytes] = []

    # -- SocketHandler --------------------------------------------------------------------------

    def opened(self, socket: Socket) -> None:
        """See `SocketHandler.opened`."""
        self.subscriber = socket

    def received(self, socket: Socket, message: str | bytes) -> None:
        """See `SocketHandler.received`."""
        try:
            request = read_request(message)
        except TwelvefoldError as error:
            self._fail(None, error)
            return
        if self._pending is None and request.op == "send" and self.connection and self._send_now(request):
            return
        if self._pending is None:
            self._pending = deque()
            self._task = asyncio.get_running_loop().create_task(self._work())
        self._pending.append(request)
        if len(self._pending) >= MAX_PENDING:
            socket.pause_reading()

    def closed(self, socket: Socket, code: int) -> None:
        """See `SocketHandler.closed`."""
        del socket, code
        if self._expiry is not None:
            self._expiry.cancel()
        if self._task is not None:
            self._task.cancel()
        for conversation_id, seat in self._seats.items():
            self._door.live.leave(conversation_id, seat)
        self._seats.clear()
        if self._looking:
            self._door.presence.look_away(self.tenant, self._looking, self._saw)
        if self.connection:
            self._door.presence.gone(self.tenant, self.user, self.connection, self._device)
            self._door.delivery.unlisten_to_user(user_key(self.tenant, self.user), self._told)

    # -- live.Follower --------------------------------------------------------------------------

    def write(self, frames: bytes) -> None:
        """See `Follower.write`."""
        self.subscriber.send(frames)

    def expelled(self, conversation_id: int) -> None:
        """See `Follower.expelled`."""
        self._seats.pop(conversation_id, None)

    # -- requests -------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Begin what waits, one after the other; ends when nothing waits."""
        assert self._pending is not None
        try:
            while self._pending:
                request = self._pending.popleft()
                if len(self._pending) == MAX_PENDING // 2:
                    self.subscriber.resume_reading()
                try:
                    await self._begin(request)
                except Exception as cause:  # noqa: BLE001  # whatever it is becomes an answer on this socket
                    self._fail(request.ref, as_error(cause))
        finally:
            self._pending = None
            self._task = None

    async def _begin(self, request: SocketRequest) -> None:
        if request.op == "connect":
            await self._connect(request)
        elif request.op == "ping":
            self._answer(request.ref, {"type": "pong"})
        elif not self.connection:
            raise UnauthenticatedError("connect first", hint='send {"op": "connect", "token": "…"}')
        else:
            await getattr(self, f"_{request.op}")(request)

    async def _connect(self, request: SocketRequest) -> None:
        if self.connection:
            raise InvalidInputError("this socket is connected already", field="op")
        expires: int | None = None
        if request.token:
            token = await self._door.tokens.verify(request.token)
            if not token.user:
                raise UnauthenticatedError("this token names no user")
            self.user, self.tenant, expires = token.user, TenantId(token.tenant_id), token.expires_at_s
        if not self.user:
            raise UnauthenticatedError("a token is needed", field="token")
        self._device = request.device or "default"
        self.connection = secrets.token_hex(6)
        self._expire_at(expires)
        self._door.presence.connected(self.tenant, self.user, self.connection, self._device)
        await self._door.delivery.listen_to_user(user_key(self.tenant, self.user), self._told)
        self._answer(
            request.ref,
            {"type": "connected", "user": self.user, "device": self._device, "connection": self.connection},
        )
        if request.sync:
            # Every conversation from where this device stands: what was missed, in order, then live.
            for conversation_id, seq in (
                await self._door.progress.cursors(self.tenant, self.user, self._device)
            ).items():
                await self._follow_one(conversation_id, seq, None)
            self._answer(request.ref, {"type": "synced"})

    async def _refresh(self, request: SocketRequest) -> None:
        token = await self._door.tokens.verify(request.token or "")
        if (token.user, token.tenant_id) != (self.user, self.tenant):
            raise UnauthenticatedError("this token is of another user")
        self._expire_at(token.expires_at_s)
        self._answer(request.ref, {"type": "refreshed"})

    async def _follow(self, request: SocketRequest) -> None:
        after = request.after
        await self._follow_one(request.conversation_id(), after, request.ref)

    async def _follow_one(self, conversation_id: int, after: int | None, ref: Any) -> None:
        old = self._seats.pop(conversation_id, None)
        if old is not None:
            self._door.live.leave(conversation_id, old)

        def ready(position: int) -> None:
            self._answer(
                ref, {"type": "following", "conversation": str(conversation_id), "position": position}
            )

        seat = await self._door.live.follow(
            self, conversation_id, FORMS[self._form], str(conversation_id), after=after, ready=ready
        )
        if not seat.left:
            self._seats[conversation_id] = seat

    async def _unfollow(self, request: SocketRequest) -> None:
        seat = self._seats.pop(request.conversation_id(), None)
        if seat is not None:
            self._door.live.leave(request.conversation_id(), seat)
        self._answer(request.ref, {"type": "done"})

    def _send_now(self, request: SocketRequest) -> bool:
        """The short way of a message: all is known, nothing has to be awaited."""
        try:
            return self._door.chat.submit_known(
                self.tenant,
                request.conversation_id(),
                self.user,
                request.message(),
                self._acknowledge(request),
            )
        except TwelvefoldError as error:
            self._fail(request.ref, error)
            return True

    async def _send(self, request: SocketRequest) -> None:
        await self._door.chat.submit(
            self.tenant, request.conversation_id(), self.user, request.message(), self._acknowledge(request)
        )

    def _acknowledge(self, request: SocketRequest) -> Any:
        def done(outcome: Sent | TwelvefoldError) -> None:
            if isinstance(outcome, Sent):
                self._sent(request.ref, outcome)
            else:
                self._fail(request.ref, outcome)

        return done

    def write_acknowledgements(self) -> None:
        """All in one write."""
        frames, self._acknowledged = self._acknowledged, []
        self.subscriber.send(b"".join(frames))

    def _sent(self, ref: Any, sent: Sent) -> None:
        if self._form == JSON:
            if not self._acknowledged:
                self._door.acknowledge_soon(self)
            self._acknowledged.append(
                encode(TEXT, _json(_SentAnswer(ref, "sent", str(sent.id), sent.seq, "sent", sent.existed)))
            )
            return
        self._answer(
            ref,
            {
                "type": "sent",
                "message_id": str(sent.id),
                "seq": sent.seq,
                "status": "sent",
                "existed": sent.existed,
            },
        )

    async def _edit(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        self._sent(request.ref, await self._door.chat.edit(*place, request.text))

    async def _delete(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        self._sent(request.ref, await self._door.chat.delete(*place))

    async def _react(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        if not request.emoji:
            raise InvalidInputError("say with what", field="emoji")
        self._sent(request.ref, await self._door.chat.react(*place, request.emoji, added=request.added))

    async def _received(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        await self._door.progress.delivered(*place, device=self._device)
        self._answer(request.ref, {"type": "done"})

    async def _read(self, request: SocketRequest) -> None:
        await self._door.progress.read(self.tenant, self.user, request.conversation_id(), request.sequence())
        self._answer(request.ref, {"type": "done"})

    async def _typing(self, request: SocketRequest) -> None:
        conversation_id = request.conversation_id()
        if conversation_id not in self._seats:
            await self._door.chat.get(self.tenant, self.user, conversation_id)
        self._door.presence.typing(conversation_id, self.user)

    async def _history(self, request: SocketRequest) -> None:
        events = await self._door.chat.history(
            self.tenant,
            self.user,
            request.conversation_id(),
            after=request.after,
            before=request.before,
            limit=request.limit,
        )
        items = [msgspec.Raw(event_json(event)) for event in events]
        self._answer(request.ref, {"type": "history", "conversation": request.conversation, "items": items})

    async def _look(self, request: SocketRequest) -> None:
        if len(request.users) > MAX_LOOKED_AT:
            raise InvalidInputError(f"at most {MAX_LOOKED_AT} users", field="users")
        self._door.presence.look_away(self.tenant, self._looking, self._saw)
        self._looking = request.users
        found = await self._door.presence.look(self.tenant, request.users, self._saw)
        self._answer(request.ref, {"type": "presence", "items": [msgspec.to_builtins(one) for one in found]})

    # -- out ------------------------------------------------------------------------------------

    def _saw(self, presence: Presence) -> None:
        self._answer(None, {"type": "presence", "items": [msgspec.to_builtins(presence)]})

    def _told(self, notice: bytes) -> None:
        """What is told to this user, wherever they are."""
        told = msgspec.json.decode(notice)
        if told.get("type") == "revoked":
            self.subscriber.close(REVOKED, "your tokens were revoked")
        else:
            self._answer(None, told)

    def _expire_at(self, expires: int | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if expires is not None:
            left = max(0.0, self._door.tokens.seconds_until(expires))
            self._expiry = asyncio.get_running_loop().call_later(left, self._expired)

    def _expired(self) -> None:
        self.subscriber.close(EXPIRED, "the token has expired; connect again with a new one")

    def _answer(self, ref: Any, body: dict[str, Any]) -> None:
        if ref is not None:
            body["ref"] = ref
        if self._form == JSON:
            self.subscriber.send(encode(TEXT, _json(body)))
        else:
            self.subscriber.send(encode(BINARY, _msgpack(msgspec.json.decode(_json(body)))))

    def _fail(self, ref: Any, error: TwelvefoldError) -> None:
        shown = as_error(error) if error.status >= 500 and not isinstance(error, OverloadedError) else error
        body = {key: value for key, value in problem_of(shown).items() if value is not None}
        if error.retry_after_seconds is not None:
            body["retry_after_seconds"] = error.retry_after_seconds
        self._answer(ref, {"type": "error", "error": body})
