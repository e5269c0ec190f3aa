"""`/connection/websocket`: what Centrifugo's clients speak, unchanged, over the same conversations.

A subscription recovers from any offset that retention has left, across restarts, because the offset is the
sequence and the epoch the stream's own. When the epoch is another, or the offset was dropped, the client is
told `recovered: false`; nothing is dropped in silence.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from twelvefold.kernel.errors import MalformedRequestError, TwelvefoldError, UnauthenticatedError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.compat.centrifugo.answers import FORMS, JSON, PROTO, here, history, message_of
from twelvefold.systems.chat.compat.centrifugo.json_codec import JsonCodec
from twelvefold.systems.chat.compat.centrifugo.protobuf_codec import ProtobufCodec
from twelvefold.systems.chat.compat.centrifugo.words import (
    COMMANDS,
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_EXPIRED,
    DISCONNECT_FORCE,
    DISCONNECT_INVALID_TOKEN,
    DISCONNECT_STALE,
    EXPIRY_GRACE_SECONDS,
    PING_SECONDS,
    UNSUBSCRIBED_BY_SERVER,
    VERSION,
    Channelled,
    Command,
    ProtocolError,
    Subscribe,
    error_of,
    publications,
)
from twelvefold.systems.chat.contracts import Event, NotAMemberError, TokenExpiredError, UserToken
from twelvefold.systems.chat.routes.caller import Caller, Callers
from twelvefold.systems.chat.routes.doorstep import Doorstep
from twelvefold.systems.chat.routes.live import LiveSockets, Seat
from twelvefold.systems.chat.routes.socket import MAX_MESSAGE_BYTES
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.presence import PresenceService, user_key
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.web.problem import as_error
from twelvefold.web.socket_routes import Accepted, Handshake, Socket, SocketHandler, SocketRoute

log = structlog.get_logger("chat")

MAX_PENDING = 256
PROTOBUF = "centrifuge-protobuf"


class CentrifugoDoor:
    """What all connections of a process share."""

    def __init__(
        self, *, chat: Chat, live: LiveSockets, delivery: Delivery, presence: PresenceService, tokens: Tokens,
        settings: ChatSettings,
    ) -> None:  # fmt: skip
        self.chat = chat
        self.live = live
        self.delivery = delivery
        self.presence = presence
        self.tokens = tokens
        self.callers = Callers(tokens)
        self.doorstep = Doorstep(*DISCONNECT_STALE)
        self._settings = settings

    def route(self) -> SocketRoute:
        """The endpoint."""
        return SocketRoute("/connection/websocket", self._connect)

    async def _connect(self, handshake: Handshake) -> Accepted:
        caller = None
        if handshake.principal is not None and handshake.principal.may("chat:write"):
            caller = self.callers.by_principal(handshake.principal, handshake.query.get("user", ""))
        protobuf = PROTOBUF in handshake.subprotocols or handshake.query.get("cf_protocol") == "protobuf"
        return Accepted(
            handler=Client(self, PROTO if protobuf else JSON, caller),
            subprotocol=PROTOBUF if PROTOBUF in handshake.subprotocols else "",
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_backlog_bytes=self._settings.max_socket_bytes,
        )


class Client(SocketHandler):
    """One connection. It is a `live.Follower`."""

    __slots__ = (
        "_channels", "_codec", "_door", "_expiry", "_heartbeat", "_pending", "_seats", "_task", "client", "subscriber",
        "tenant", "user",
    )  # fmt: skip

    subscriber: Socket

    def __init__(self, door: CentrifugoDoor, codec: JsonCodec | ProtobufCodec, caller: Caller | None) -> None:
        self._door = door
        self._codec = codec
        self.user = caller.user if caller else ""
        self.tenant = caller.tenant if caller else TenantId(0)
        self.client = ""
        self._expiry: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._pending: deque[Command] | None = None
        self._task: asyncio.Task[None] | None = None
        self._seats: dict[str, tuple[int, Seat]] = {}
        self._channels: dict[int, str] = {}

    # -- SocketHandler --------------------------------------------------------------------------

    def opened(self, socket: Socket) -> None:
        """See `SocketHandler.opened`."""
        self.subscriber = socket
        self._door.doorstep.came(socket)

    def received(self, socket: Socket, message: str | bytes) -> None:
        """See `SocketHandler.received`."""
        try:
            commands = self._codec.decode(message)
        except TwelvefoldError as error:
            log.info("chat.centrifugo.refused", reason=error.message)
            socket.close(*DISCONNECT_BAD_REQUEST)
            return
        for command in commands:
            if command is None:
                continue  # a pong: that it came is all it says
            if self._pending is None:
                self._pending = deque()
                self._task = asyncio.get_running_loop().create_task(self._work())
            self._pending.append(command)
            if len(self._pending) >= MAX_PENDING:
                socket.pause_reading()

    def closed(self, socket: Socket, code: int) -> None:
        """See `SocketHandler.closed`."""
        del code
        self._door.doorstep.went(socket)
        for timer in (self._expiry, self._heartbeat):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.cancel()
        for channel in list(self._seats):
            self._leave(channel)
        if self.client:
            self._door.presence.gone(self.tenant, self.user, self.client, "centrifugo")
            self._door.delivery.unlisten_to_user(user_key(self.tenant, self.user), self._told)

    # -- live.Follower --------------------------------------------------------------------------

    def write(self, frames: bytes) -> None:
        """See `Follower.write`."""
        self.subscriber.send(frames)

    def expelled(self, conversation_id: int) -> None:
        """See `Follower.expelled`."""
        channel = self._channels.get(conversation_id)
        if channel is not None and channel in self._seats:
            self._leave(channel)
            self._unsubscribed(channel, "you were removed")

    # -- commands -------------------------------------------------------------------------------

    async def _work(self) -> None:
        assert self._pending is not None
        try:
            while self._pending:
                command = self._pending.popleft()
                if len(self._pending) == MAX_PENDING // 2:
                    self.subscriber.resume_reading()
                await self._answer(command)
        finally:
            self._pending = None
            self._task = None

    async def _answer(self, command: Command) -> None:
        name = next((name for name in COMMANDS if getattr(command, name) is not None), None)
        try:
            if name is None or (not self.client and name != "connect"):
                self.subscriber.close(*DISCONNECT_BAD_REQUEST)
                return
            result = await getattr(self, f"_{name}")(getattr(command, name), command.id)
        except (TwelvefoldError, ProtocolError) as error:
            if (
                name == "connect"
                and isinstance(error, UnauthenticatedError)
                and not isinstance(error, TokenExpiredError)
            ):
                self.subscriber.close(*DISCONNECT_INVALID_TOKEN)
                return
            self._say({"id": command.id, "error": error_of(error)})
        except Exception as cause:  # noqa: BLE001  # whatever it is becomes an answer on this socket
            self._say({"id": command.id, "error": error_of(as_error(cause))})
        else:
            if result is not None and command.id:
                self._say({"id": command.id, name: result})

    async def _connect(self, given: Any, _id: int) -> dict[str, Any]:
        if self.client:
            raise MalformedRequestError("connected already")
        token: UserToken | None = None
        if given.token:
            token = await self._door.tokens.verify(given.token)
            self.user, self.tenant = token.user, TenantId(token.tenant_id)
        if not self.user:
            raise UnauthenticatedError("a token of a user is needed")
        self.client = secrets.token_hex(16)
        self._door.doorstep.went(self.subscriber)
        self._door.presence.connected(self.tenant, self.user, self.client, "centrifugo")
        await self._door.delivery.listen_to_user(user_key(self.tenant, self.user), self._told)
        result: dict[str, Any] = {
            "client": self.client,
            "version": VERSION,
            "ping": PING_SECONDS,
            "pong": True,
        }
        result.update(self._expire_at(token))
        self._heartbeat = asyncio.get_running_loop().call_later(PING_SECONDS, self._send_ping)
        if given.subs:
            found: dict[str, Any] = {}
            for channel, wanted in given.subs.items():
                try:
                    made = await self._follow(msgspec.structs.replace(wanted, channel=channel), None)
                except (TwelvefoldError, ProtocolError) as error:
                    # The reply has no place for it: what is not in it was not subscribed to.
                    log.info("chat.centrifugo.not_subscribed", reason=error.message)
                    continue
                if made is not None:
                    found[channel] = made
            result["subs"] = found
        return result

    async def _subscribe(self, given: Subscribe, command_id: int) -> None:
        if given.channel in self._seats:
            raise ProtocolError(105, "already subscribed")
        await self._follow(given, command_id)

    async def _follow(self, given: Subscribe, command_id: int | None) -> dict[str, Any] | None:  # noqa: C901 - the reply has to be one of several, once
        """Subscribe; the reply leaves before the first live push (or is returned, without a command id)."""
        conversation_id = await self._enter(given)
        head = await self._door.chat.head(self.tenant, conversation_id)
        known = given.epoch == head.epoch and head.first_seq - 1 <= given.offset <= head.last_seq
        result: dict[str, Any] = {"recoverable": True, "positioned": True, "epoch": head.epoch}
        replied = False

        def reply(offset: int, events: Sequence[Event]) -> None:
            nonlocal replied
            replied = True
            result["offset"] = offset
            if given.recover:
                result["was_recovering"] = True
                result["recovered"] = known
            if events:
                result["publications"] = publications(events)
            if command_id is not None:
                self._say({"id": command_id, "subscribe": result})

        def missed(events: list[Event]) -> bytes:
            # The first page is the reply itself, the others follow it as pushes.
            if not replied:
                reply(events[-1].seq, events)
                return b""
            return form.frames(given.channel, events)

        def ready(position: int) -> None:
            if not replied:
                reply(position, ())

        form = FORMS[self._codec.name, given.join_leave]
        self._channels[conversation_id] = given.channel
        try:
            seat = await self._door.live.follow(
                self, conversation_id, form, given.channel, missed=missed,
                after=given.offset if given.recover and known else None, ready=ready,
            )  # fmt: skip
        except NotAMemberError:
            if not replied or command_id is None:
                raise
            self._unsubscribed(given.channel, "you were removed")
            return None
        self._seats[given.channel] = (conversation_id, seat)
        info = msgspec.json.encode({"user": self.user})
        await self._door.presence.arrive(conversation_id, self.client, info)
        if given.join_leave:
            self._door.delivery.tell(
                conversation_id, {"type": "join", "client": self.client, "user": self.user}
            )
        return result

    async def _enter(self, given: Subscribe) -> int:
        """The conversation of a channel. A subscription token opens it, and makes an open one where there is none."""
        if not given.token:
            return await self._door.chat.by_channel(self.tenant, given.channel)
        token = await self._door.tokens.verify(given.token)
        if token.channel != given.channel or token.user != self.user or token.tenant_id != self.tenant:
            raise ProtocolError(103, "permission denied")
        conversation_id = await self._door.chat.by_channel(self.tenant, given.channel, make_for=self.user)
        await self._door.chat.admit(self.tenant, self.user, conversation_id)
        return conversation_id

    async def _unsubscribe(self, given: Channelled, _id: int) -> dict[str, Any]:
        self._leave(given.channel)
        return {}

    async def _publish(self, given: Channelled, _id: int) -> dict[str, Any]:
        conversation_id = await self._conversation(given.channel)
        await self._door.chat.send(self.tenant, conversation_id, self.user, message_of(given.data))
        return {}

    async def _presence(self, given: Channelled, _id: int) -> dict[str, Any]:
        found = await here(self._door, self.tenant, self.user, await self._conversation(given.channel))
        return {"presence": found}

    async def _presence_stats(self, given: Channelled, _id: int) -> dict[str, Any]:
        found = await here(self._door, self.tenant, self.user, await self._conversation(given.channel))
        return {"num_clients": len(found), "num_users": len({info["user"] for info in found.values()})}

    async def _history(self, given: Channelled, _id: int) -> dict[str, Any]:
        return await history(
            self._door.chat, self.tenant, self.user, await self._conversation(given.channel), given
        )

    async def _ping(self, _given: Any, _id: int) -> dict[str, Any]:
        return {}

    async def _send(self, _given: Any, _id: int) -> None:
        """A message without a reply: there is nobody here that it could be for."""

    async def _rpc(self, _given: Any, _id: int) -> dict[str, Any]:
        raise ProtocolError(104, "method not found")

    async def _refresh(self, given: Any, _id: int) -> dict[str, Any]:
        token = await self._door.tokens.verify(given.token)
        if (token.user, token.tenant_id) != (self.user, self.tenant):
            raise ProtocolError(103, "permission denied")
        return {"client": self.client, "version": VERSION, **self._expire_at(token)}

    async def _sub_refresh(self, _given: Any, _id: int) -> dict[str, Any]:
        return {}

    # -- how ------------------------------------------------------------------------------------

    async def _conversation(self, channel: str) -> int:
        seat = self._seats.get(channel)
        return seat[0] if seat else await self._door.chat.by_channel(self.tenant, channel)

    def _leave(self, channel: str) -> None:
        found = self._seats.pop(channel, None)
        if found is None:
            return
        conversation_id, seat = found
        self._door.live.leave(conversation_id, seat)
        self._door.presence.later(self._door.presence.depart(conversation_id, self.client))
        if "-joins" in seat.outlet:
            self._door.delivery.tell(
                conversation_id, {"type": "leave", "client": self.client, "user": self.user}
            )

    def _unsubscribed(self, channel: str, reason: str) -> None:
        self._say(
            {"push": {"channel": channel, "unsubscribe": {"code": UNSUBSCRIBED_BY_SERVER, "reason": reason}}}
        )

    def _told(self, notice: bytes) -> None:
        """What is told to this user, wherever they are."""
        told = msgspec.json.decode(notice)
        kind = told.get("type")
        if kind in ("revoked", "disconnect"):
            self.subscriber.close(*DISCONNECT_FORCE)
        elif kind == "unsubscribe" and told.get("channel") in self._seats:
            self._leave(told["channel"])
            self._unsubscribed(told["channel"], "server unsubscribe")

    def _expire_at(self, token: UserToken | None) -> dict[str, Any]:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if token is None or token.expires_at_s is None:
            return {}
        left = max(1.0, self._door.tokens.seconds_until(token.expires_at_s))
        self._expiry = asyncio.get_running_loop().call_later(
            left + EXPIRY_GRACE_SECONDS, lambda: self.subscriber.close(*DISCONNECT_EXPIRED)
        )
        return {"expires": True, "ttl": int(left)}

    def _send_ping(self) -> None:
        self.subscriber.send(self._codec.ping)
        self._heartbeat = asyncio.get_running_loop().call_later(PING_SECONDS, self._send_ping)
        info = msgspec.json.encode({"user": self.user})
        for conversation_id, _ in self._seats.values():
            self._door.presence.later(self._door.presence.arrive(conversation_id, self.client, info))

    def _say(self, reply: dict[str, Any]) -> None:
        self.subscriber.send(self._codec.encode([reply]))
