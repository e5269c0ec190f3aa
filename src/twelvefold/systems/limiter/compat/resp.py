"""The Redis door: connections that ask `CL.THROTTLE`.

Commands of one read are asked together, and their answers leave in one write, in order. What a client can
make us keep is bounded: sizes are checked before anything is parsed, answers that nobody reads stop the
reading. A connection is open to `AUTH`, `HELLO`, `PING` and `QUIT` until it has shown an API key.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import structlog

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.compat.callers import BELIEVED_SECONDS, Callers
from twelvefold.systems.limiter.compat.resp_commands import HANDLERS, OPEN
from twelvefold.systems.limiter.compat.resp_frames import CommandReader, UnreadableError
from twelvefold.systems.limiter.compat.resp_throttle import Throttles, throttle_reply
from twelvefold.systems.limiter.contracts import Decision, Failure, Mode, Outcome, TooManyFailuresError
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.limiter import Limiter

log = structlog.get_logger("limiter")

MAX_CONNECTIONS: Final = 10_000
MAX_PENDING_BYTES: Final = 256 * 1024
"""Of a command that is not complete yet."""
_MAX_STRANGERS_BYTES: Final = 16 * 1024
"""The same before an API key was shown: ten thousand strangers hold 160 MB at most."""
_MAX_WAITING: Final = 2_000
"""Answers that are awaited; with more of them nothing is read, so a long pipeline waits in its sockets."""
_IDLE_SECONDS: Final = 600.0
_LINGER_SECONDS: Final = 1.0
"""For so long what a client goes on to send is read and thrown away, when it has been told to stop."""

_NEED_AUTH: Final = b"-NOAUTH Authentication required.\r\n"
_WRONG_KEY: Final = b"-WRONGPASS this API key is not known, or may not check limits\r\n"


class RespDoor:
    """What the connections of one process share."""

    def __init__(self, limiter: Limiter, callers: Callers, *, mode: Mode, failure: Failure) -> None:
        self.limiter = limiter
        self.callers = callers
        self.connections: set[RespConnection] = set()
        self.refused = 0
        self.throttles = Throttles(mode=mode, failure=failure)

    def protocol(self) -> "RespConnection":
        """A new connection's protocol; pass this method to `create_server`."""
        return RespConnection(self)

    def close(self) -> None:
        """End all connections."""
        for connection in list(self.connections):
            connection.abort()


class _Reply:
    """A place in the order of answers, filled later."""

    __slots__ = ("connection", "data", "limit")

    def __init__(self, connection: "RespConnection", limit: int) -> None:
        self.connection = connection
        self.limit = limit
        self.data: bytes | None = None

    def __call__(self, outcome: Outcome | Decision) -> None:
        self.data = throttle_reply(outcome, self.limit)
        self.connection.answered()


class RespConnection(asyncio.Protocol):
    """One client."""

    def __init__(self, door: RespDoor) -> None:
        self.door = door
        self._limiter = door.limiter
        self._throttles = door.throttles
        self._loop = asyncio.get_running_loop()
        self._reader = CommandReader()
        self._transport: Any = None
        self._peer = ""
        self._replies: deque[bytes | _Reply] = deque()
        self._awaited = 0
        self._flushing = False
        self._paused = False
        self._full = False
        self._leaving = self._failed = self._closing = False
        self._secret = ""
        self.tenant: TenantId | None = None
        self._believed_until = math.inf
        self._verifying: asyncio.Task[None] | None = None
        self._held: list[bytes] = []
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # -- the connection -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or turn it away."""
        self._transport = transport
        if len(self.door.connections) >= MAX_CONNECTIONS:
            self.door.refused += 1
            self._transport.write(b"-ERR max number of clients reached\r\n")
            self._transport.close()
            return
        self.door.connections.add(self)
        address = transport.get_extra_info("peername")
        self._peer = address[0] if isinstance(address, tuple) else ""
        self.tenant = self.door.callers.anonymous or None
        self._timer = self._loop.call_later(_IDLE_SECONDS, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Answers under way are for nobody now."""
        del exc
        self.door.connections.discard(self)
        self._closing = True
        self._replies.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._verifying is not None:
            self._verifying.cancel()

    def abort(self) -> None:
        """End it now."""
        self._closing = True
        self._transport.abort()

    def pause_writing(self) -> None:
        """The client does not read; neither do we."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._read_on()

    def _read_on(self) -> None:
        """Read again, if nothing stands against it."""
        if not (self._paused or self._closing or self._leaving or self._full) and self._verifying is None:
            self._transport.resume_reading()

    def _check_idle(self) -> None:
        idle = self._loop.time() - self._heard
        if idle >= _IDLE_SECONDS:
            self._transport.close()
        else:
            self._timer = self._loop.call_later(_IDLE_SECONDS - idle, self._check_idle)

    # -- reading --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse, ask, answer."""
        if self._closing or self._leaving:
            return
        if self._verifying is not None:
            self._hold(data)
            return
        self._heard = now = self._loop.time()
        if now >= self._believed_until:
            self._verify(self._secret, None)
            self._hold(data)
            return
        if self.tenant is not None and not self._reader.waiting_bytes:
            if not self._replies and (key := self._throttles.single(self.tenant, data)) is not None:
                self._answer_single(key)
                return
            data = self._take_plain(data, self.tenant)
        if data:
            self._parse(data)
        if not self._awaited:
            self._flush()
        if len(self._replies) > _MAX_WAITING and not self._full:
            self._full = True
            self._transport.pause_reading()

    def _parse(self, data: bytes) -> None:
        """The general form of commands, whole or in part."""
        self._reader.feed(data)
        try:
            self._drain()
        except UnreadableError as error:
            self._fail(str(error))
            return
        allowed = _MAX_STRANGERS_BYTES if self.tenant is None else MAX_PENDING_BYTES
        if self._verifying is None and self._reader.waiting_bytes > allowed:
            self._fail("a command is larger than this server takes")

    def _hold(self, data: bytes) -> None:
        """Keep what came while a key is being verified; reading stops, so this is one or two reads."""
        self._held.append(data)
        self._transport.pause_reading()

    def _drain(self) -> None:
        # What stands behind a key that is being verified stays in the reader until it is known.
        while not self._leaving and self._verifying is None and (command := self._reader.gets()) is not None:
            self._dispatch(command)

    def _dispatch(self, command: Sequence[bytes]) -> None:
        """Do what was read."""
        verb = command[0].upper()
        if verb == b"CL.THROTTLE":
            self._throttle(command)
            return
        handler = HANDLERS.get(verb)
        if handler is None:
            name = verb[:64].decode("ascii", "replace").replace("\r", " ").replace("\n", " ")
            self.say(f"-ERR unknown command '{name}'; this door knows CL.THROTTLE\r\n".encode())
        elif self.tenant is None and verb not in OPEN:
            self.say(_NEED_AUTH)
        else:
            handler(self, command)

    def _throttle(self, command: Sequence[bytes]) -> None:
        if self.tenant is None:
            self.say(_NEED_AUTH)
            return
        asked = self._throttles.read(self.tenant, command)
        if type(asked) is bytes:
            self.say(asked)
        else:
            self._ask(*asked)

    def _ask(self, bound: Bound, key: bytes, cost: int) -> None:
        reply = _Reply(self, bound.plan.capacity if bound.plan is not None else 0)
        outcome = self._limiter.ask_one(bound, key, cost, reply)
        if outcome is None:
            self._awaited += 1
            self._replies.append(reply)
        else:
            self._replies.append(throttle_reply(outcome, reply.limit))

    def _answer_single(self, key: bytes) -> None:
        """Nothing waits before it, so what is known at once is written at once."""
        bound = self._throttles.single_bound
        assert bound is not None
        limit = bound.plan.capacity if bound.plan is not None else 0
        if self._throttles.mode == "local":
            self._transport.write(throttle_reply(self._limiter.ask_local(bound, key), limit))
            return
        self._ask(bound, key, 1)
        if not self._awaited:
            self._flush()

    def _take_plain(self, data: bytes, tenant: TenantId) -> bytes:
        """Ask the plain commands that `data` begins with; gives the rest."""
        at, end = 0, len(data)
        throttles = self._throttles
        while at < end and (run := throttles.run(tenant, data, at)) is not None:
            bound, keys, at = run
            if throttles.mode == "local":
                limit = bound.plan.capacity if bound.plan is not None else 0
                for outcome in self._limiter.ask_here(bound, keys):
                    self._replies.append(throttle_reply(outcome, limit))
            else:
                for key in keys:
                    self._ask(bound, key, 1)
        return data[at:] if at < end else b""

    # -- answering ------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Answer in turn."""
        self._replies.append(data)

    def leave(self, data: bytes) -> None:
        """Answer when all before it is answered, and close; nothing more is read."""
        self.say(data)
        self._leaving = True
        self._transport.pause_reading()
        self.settle()

    def answered(self) -> None:
        """One more awaited answer is here; all of a turn leave together."""
        self._awaited -= 1
        self.settle()

    def settle(self) -> None:
        """Write what is ready, at the end of this turn, so that answers of one turn leave together."""
        if not self._flushing and not self._closing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closing:
            return
        replies = self._replies
        if len(replies) == 1 and type(replies[0]) is bytes and not self._leaving:
            self._transport.write(replies.popleft())
            return
        pieces: list[bytes] = []
        while replies:
            first = replies[0]
            data = first if isinstance(first, bytes) else first.data
            if data is None:
                break
            pieces.append(data)
            replies.popleft()
        if pieces:
            self._transport.write(b"".join(pieces))
        if self._leaving and not replies:
            self._end()
        elif self._full and len(replies) <= _MAX_WAITING // 2:
            self._full = False
            self._read_on()

    def _fail(self, message: str) -> None:
        """The stream cannot be read on: say why, when all before it is answered, and close."""
        if self._leaving:
            return
        self._failed = True
        self.leave(f"-ERR {message}\r\n".encode())

    def _end(self) -> None:
        """All is said."""
        self._closing = True
        if not self._failed:
            self._transport.close()
            return
        # Closed with bytes unread, TCP resets, and a client that is still sending would not see why.
        self._transport.write_eof()
        self._transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_SECONDS, self._transport.close)

    # -- who it is ------------------------------------------------------------------------------

    def login(self, secret: bytes, then: bytes) -> None:
        """Verify an API key; what the client sent behind it waits."""
        text = secret.decode("utf-8", "replace")
        known = self.door.callers.known(text)
        if known is not None:
            self._admit(text, known)
            self.say(then)
            return
        self._verify(text, then)

    def _admit(self, secret: str, tenant: TenantId) -> None:
        self._secret, self.tenant = secret, tenant
        self._believed_until = self._loop.time() + BELIEVED_SECONDS if secret else math.inf

    def _verify(self, secret: str, then: bytes | None) -> None:
        self._verifying = self._loop.create_task(self._ask_who(secret, then))

    async def _ask_who(self, secret: str, then: bytes | None) -> None:
        tenant, refusal = None, _WRONG_KEY
        try:
            tenant = await self.door.callers.verify(secret, self._peer)
        except TooManyFailuresError as error:
            wait = math.ceil(error.retry_after_seconds or 1)
            refusal = f"-ERR {error.message} (again in {wait} s)\r\n".encode()
        self._verifying = None
        if self._closing:
            return
        if tenant is None:
            self._secret, self.tenant, self._believed_until = (
                "",
                self.door.callers.anonymous or None,
                math.inf,
            )
            if then is not None:
                self.say(refusal)
        else:
            self._admit(secret, tenant)
            if then is not None:
                self.say(then)
        held, self._held = self._held, []
        self._parse(b"")
        for data in held:
            self.data_received(data)
        self._read_on()
        self.settle()
