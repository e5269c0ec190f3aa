"""One connection of our own WebSocket.

Requests have an `op` and may have a `ref`, which the answer carries. What cannot be done is answered with an
error on the same socket, which stays open. Requests of one socket are begun in the order they came; a
message's acknowledgement comes when it is on disk. An idle socket is this object and its follows, no task.
"""

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from twelvefold.kernel.errors import InvalidInputError, OverloadedError, TwelvefoldError, UnauthenticatedError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Presence, Sent
from twelvefold.systems.chat.routes.caller import Caller
from twelvefold.systems.chat.routes.doorstep import Doorstep
from twelvefold.systems.chat.routes.forms import FORMS, JSON, read_request, ref_of
from twelvefold.systems.chat.routes.live import LiveSockets, Seat
from twelvefold.systems.chat.routes.requests import SocketRequest
from twelvefold.systems.chat.routes.views import event_json
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.presence import MAX_LOOKED_AT, PresenceService, user_key
from twelvefold.systems.chat.service.progress import Progress
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.web.frames import BINARY, TEXT, encode
from twelvefold.web.problem import as_error, problem_of
from twelvefold.web.socket_routes import Socket, SocketHandler

MAX_PENDING = 256
"""Requests of one socket that wait to be begun; beyond it the socket is not read."""

EXPIRED = 4401
REVOKED = 4403
NOBODYS = (EXPIRED, "nobody has connected; send connect first")
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


class Acknowledgements:
    """Written at the end of a turn, all of a socket in one write: a commit brings many at once."""

    def __init__(self) -> None:
        self._sockets: list[ChatSocket] = []

    def soon(self, socket: "ChatSocket") -> None:
        """This socket has something to acknowledge."""
        if not self._sockets:
            asyncio.get_running_loop().call_soon(self._write)
        self._sockets.append(socket)

    def _write(self) -> None:
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            socket.write_acknowledgements()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all sockets of a process share."""

    chat: Chat
    live: LiveSockets
    delivery: Delivery
    progress: Progress
    presence: PresenceService
    tokens: Tokens
    acknowledgements: Acknowledgements = field(default_factory=Acknowledgements)
    doorstep: Doorstep = field(default_factory=lambda: Doorstep(*NOBODYS))


class ChatSocket(SocketHandler):
    """One connection. It is a `live.Follower`."""

    __slots__ = (
        "_acknowledged",
        "_device", "_expiry", "_form", "_looking", "_pending", "_seats", "_services", "_task", "connection", "subscriber",
        "tenant", "user",
    )  # fmt: skip

    subscriber: Socket

    def __init__(self, services: Services, form: str, caller: Caller | None) -> None:
        self._services = services
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
        self._acknowledged: list[bytes] | None = None

    # -- SocketHandler --------------------------------------------------------------------------

    def opened(self, socket: Socket) -> None:
        """See `SocketHandler.opened`."""
        self.subscriber = socket
        self._services.doorstep.came(socket)

    def received(self, socket: Socket, message: str | bytes) -> None:
        """See `SocketHandler.received`."""
        try:
            request = read_request(message)
        except TwelvefoldError as error:
            self._fail(ref_of(message), error)
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
        del code
        self._services.doorstep.went(socket)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._task is not None:
            self._task.cancel()
        for conversation_id, seat in self._seats.items():
            self._services.live.leave(conversation_id, seat)
        self._seats.clear()
        if self._looking:
            self._services.presence.look_away(self.tenant, self._looking, self._saw)
        if self.connection:
            self._services.presence.gone(self.tenant, self.user, self.connection, self._device)
            self._services.delivery.unlisten_to_user(user_key(self.tenant, self.user), self._told)

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
            token = await self._services.tokens.verify(request.token)
            if not token.user:
                raise UnauthenticatedError("this token names no user", field="token")
            self.user, self.tenant, expires = token.user, TenantId(token.tenant_id), token.expires_at_s
        if not self.user:
            raise UnauthenticatedError("a token is needed", field="token")
        self._device = request.device or "default"
        self.connection = secrets.token_hex(6)
        self._services.doorstep.went(self.subscriber)
        self._expire_at(expires)
        self._services.presence.connected(self.tenant, self.user, self.connection, self._device)
        await self._services.delivery.listen_to_user(user_key(self.tenant, self.user), self._told)
        self._answer(
            request.ref,
            {"type": "connected", "user": self.user, "device": self._device, "connection": self.connection},
        )
        if request.sync:
            # Every conversation from where this device stands: what was missed, in order, then live.
            for conversation_id, seq in (
                await self._services.progress.cursors(self.tenant, self.user, self._device)
            ).items():
                try:
                    await self._follow_one(conversation_id, seq, None)
                except TwelvefoldError as error:  # put out meanwhile: the others are followed all the same
                    self._fail(None, error, conversation=str(conversation_id))
            self._answer(request.ref, {"type": "synced"})

    async def _refresh(self, request: SocketRequest) -> None:
        token = await self._services.tokens.verify(request.token or "")
        if (token.user, token.tenant_id) != (self.user, self.tenant):
            raise UnauthenticatedError("this token is of another user", field="token")
        self._expire_at(token.expires_at_s)
        self._answer(request.ref, {"type": "refreshed"})

    async def _follow(self, request: SocketRequest) -> None:
        after = request.after
        await self._follow_one(request.conversation_id(), after, request.ref)

    async def _follow_one(self, conversation_id: int, after: int | None, ref: Any) -> None:
        old = self._seats.pop(conversation_id, None)
        if old is not None:
            self._services.live.leave(conversation_id, old)

        def ready(position: int) -> None:
            self._answer(
                ref, {"type": "following", "conversation": str(conversation_id), "position": position}
            )

        seat = await self._services.live.follow(
            self, conversation_id, FORMS[self._form], str(conversation_id), after=after, ready=ready
        )
        self._seats[conversation_id] = seat

    async def _unfollow(self, request: SocketRequest) -> None:
        seat = self._seats.pop(request.conversation_id(), None)
        if seat is not None:
            self._services.live.leave(request.conversation_id(), seat)
        self._answer(request.ref, {"type": "done"})

    def _send_now(self, request: SocketRequest) -> bool:
        """The short way of a message: all is known, nothing has to be awaited."""
        try:
            return self._services.chat.submit_known(
                self.tenant,
                request.conversation_id(),
                self.user,
                request.message(),
                partial(self._acknowledge, request.ref),
            )
        except Exception as cause:  # noqa: BLE001  # whatever it is becomes an answer on this socket
            self._fail(request.ref, as_error(cause))
            return True

    async def _send(self, request: SocketRequest) -> None:
        await self._services.chat.submit(
            self.tenant,
            request.conversation_id(),
            self.user,
            request.message(),
            partial(self._acknowledge, request.ref),
        )

    def _acknowledge(self, ref: str | int | None, outcome: Sent | TwelvefoldError) -> None:
        if isinstance(outcome, Sent):
            self._sent(ref, outcome)
        else:
            self._fail(ref, outcome)

    def write_acknowledgements(self) -> None:
        """All in one write."""
        frames, self._acknowledged = self._acknowledged, None
        if frames:
            self.subscriber.send(b"".join(frames))

    def _sent(self, ref: Any, sent: Sent) -> None:
        if self._form == JSON:
            if self._acknowledged is None:
                self._acknowledged = []
                self._services.acknowledgements.soon(self)
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
        self._sent(request.ref, await self._services.chat.edit(*place, request.text))

    async def _delete(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        self._sent(request.ref, await self._services.chat.delete(*place))

    async def _react(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        if not request.emoji:
            raise InvalidInputError("say with what", field="emoji")
        self._sent(request.ref, await self._services.chat.react(*place, request.emoji, added=request.added))

    async def _received(self, request: SocketRequest) -> None:
        place = (self.tenant, self.user, request.conversation_id(), request.sequence())
        await self._services.progress.delivered(*place, device=self._device)
        self._answer(request.ref, {"type": "done"})

    async def _read(self, request: SocketRequest) -> None:
        await self._services.progress.read(
            self.tenant, self.user, request.conversation_id(), request.sequence()
        )
        self._answer(request.ref, {"type": "done"})

    async def _typing(self, request: SocketRequest) -> None:
        conversation_id = request.conversation_id()
        if conversation_id not in self._seats:
            await self._services.chat.check_speaker(self.tenant, self.user, conversation_id)
        self._services.presence.typing(conversation_id, self.user)

    async def _history(self, request: SocketRequest) -> None:
        events = await self._services.chat.history(
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
        self._services.presence.look_away(self.tenant, self._looking, self._saw)
        self._looking = request.users
        found = await self._services.presence.look(self.tenant, request.users, self._saw)
        self._answer(request.ref, {"type": "presence", "items": [msgspec.to_builtins(one) for one in found]})

    # -- out ------------------------------------------------------------------------------------

    def _saw(self, presence: Presence) -> None:
        self._answer(None, {"type": "presence", "items": [msgspec.to_builtins(presence)]})

    def _told(self, notice: bytes) -> None:
        """What is told to this user, wherever they are."""
        told = msgspec.json.decode(notice)
        if told.get("type") == "revoked":
            self.subscriber.close(REVOKED, "your tokens were revoked")
        elif told.get("type") == "joined":  # the others are for Centrifugo's clients
            self._answer(None, told)

    def _expire_at(self, expires: int | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if expires is not None:
            left = max(0.0, self._services.tokens.seconds_until(expires))
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

    def _fail(self, ref: Any, error: TwelvefoldError, **more: str) -> None:
        shown = as_error(error) if error.status >= 500 and not isinstance(error, OverloadedError) else error
        body = {key: value for key, value in problem_of(shown).items() if value is not None}
        if error.retry_after_seconds is not None:
            body["retry_after_seconds"] = error.retry_after_seconds
        self._answer(ref, {"type": "error", **more, "error": body})
