"""A WebSocket on our own protocol class: it takes the transport over from HTTP and nothing else lives on.

Invariant: RFC 6455 in full (handshake §4, frames §5, closing §7) without extensions; every wait ends
(handshake, closing, silence, an unread backlog); a handler hears `closed` exactly once after `opened`.
An idle socket is this object, its decoder and the transport: no task, no buffer, no timer of its own.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog

from twelvefold.kernel.errors import MalformedRequestError, TwelvefoldError
from twelvefold.web.frames import (
    ABNORMAL,
    BINARY,
    CLOSE,
    FAULT,
    INTERNAL_ERROR,
    INVALID_DATA,
    NO_STATUS,
    NORMAL,
    PING,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    SERVICE_RESTART,
    TEXT,
    TRY_AGAIN_LATER,
    Decoder,
    decode_close,
    encode,
    encode_close,
)
from twelvefold.web.hub import Channel, Hub, Write
from twelvefold.web.problem import (
    DeadlineExceededError,
    WebSocketVersionError,
    as_error,
    render_response,
    request_id_from,
)
from twelvefold.web.socket_routes import Accepted

log = structlog.get_logger("web")

HANDSHAKE_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 5.0
PING_SECONDS: Final = 25.0
"""Below the 30 to 60 seconds after which proxies and home routers forget a silent connection."""

RECHECK_SECONDS: Final = 5.0
"""How long a revoked key or an ended session can keep a socket that it opened."""

MAX_HELD_BYTES: Final = 64 * 1024
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16
_PING_FRAME: Final = encode(PING, b"")

CONNECTING: Final = 0
OPEN: Final = 1
CLOSING: Final = 2
CLOSED: Final = 3


class Doorkeeper(Protocol):
    """Who lets WebSockets in; the application."""

    async def connect(self, scope: dict[str, Any]) -> Accepted:
        """Decide. Raises a `TwelvefoldError` to refuse."""


class SocketHall(Protocol):
    """What a socket needs of the connections' shared hall."""

    connections: set[Any]
    loop: asyncio.AbstractEventLoop
    now: float
    doorkeeper: Doorkeeper | None
    hub: Hub | None


class WebSocket(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_accepted", "_checked", "_decoder", "_hall", "_held", "_pinged", "_since", "_state", "_task", "channels", "fd",
        "heard", "transport", "writer",
    )  # fmt: skip

    def __init__(self, hall: SocketHall, transport: Any, scope: dict[str, Any]) -> None:
        self._hall = hall
        self.transport = transport
        self.fd = -1
        self.writer: Write = transport.write
        self.channels: tuple[Channel, ...] = ()
        self.heard = True
        self._pinged = False
        self._checked = self._since = hall.now
        self._state = CONNECTING
        self._held: bytearray | None = None
        self._decoder: Decoder | None = None
        self._accepted: Accepted | None = None
        self._task: asyncio.Task[None] | None = hall.loop.create_task(self._shake_hands(scope))

    # -- for handlers ---------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """See `Socket.send`."""
        if self._state == OPEN:
            self.writer(frame)

    def send_text(self, text: bytes) -> None:
        """See `Socket.send_text`."""
        self.send(encode(TEXT, text))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """See `Socket.close`."""
        if self._state == OPEN:
            self._leave_hub()
            self._state = CLOSING
            self._since = self._hall.now
            self.transport.write(encode_close(code, reason))
            self.transport.resume_reading()

    def pause_reading(self) -> None:
        """See `Socket.pause_reading`."""
        if self._state == OPEN:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Socket.resume_reading`."""
        if self._state == OPEN:
            self.transport.resume_reading()

    # -- the handshake --------------------------------------------------------------------------

    async def _shake_hands(self, scope: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                answer, subprotocols = read_handshake(scope["headers"])
                scope["subprotocols"] = subprotocols
                doorkeeper = self._hall.doorkeeper
                assert doorkeeper is not None
                accepted = await doorkeeper.connect(scope)
        except TimeoutError:
            self._refuse(DeadlineExceededError(), scope)
        except Exception as cause:  # noqa: BLE001  # whatever it is becomes an answer
            self._refuse(as_error(cause, request_id_from(scope["headers"])), scope)
        else:
            self._open(accepted, answer)
        finally:
            self._task = None

    def _open(self, accepted: Accepted, answer: bytes) -> None:
        if self._state != CONNECTING:
            return
        protocol = f"sec-websocket-protocol: {accepted.subprotocol}\r\n" if accepted.subprotocol else ""
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: %s\r\n%s\r\n" % (answer, protocol.encode())
        )
        self._state = OPEN
        self._since = self._hall.now
        self.fd = _plain_fd(self.transport)
        self._accepted = accepted
        self._decoder = Decoder(accepted.max_message_bytes)
        self._call(accepted.handler.opened, self)
        held, self._held = self._held, None
        if held:
            self.data_received(bytes(held))

    def _refuse(self, error: TwelvefoldError, scope: dict[str, Any]) -> None:
        if self._state == CONNECTING:
            self._state = CLOSED
            self.transport.write(render_response(error, scope["headers"]))
            self.transport.close()

    # -- the transport's callbacks --------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Frames from the client."""
        self.heard = True
        if self._decoder is None:
            self._hold(data)
            return
        for kind, payload in self._decoder.feed(data):
            if kind in (TEXT, BINARY):
                self._receive(payload)  # type: ignore[arg-type]  # a message's payload is str or bytes
            elif kind == PING:
                if self.writer == self.transport.write and self._state == OPEN:
                    self.writer(encode(0xA, payload))  # type: ignore[arg-type]  # a ping's payload is bytes
            elif kind == CLOSE:
                self._answer_close(payload)  # type: ignore[arg-type]  # a close's payload is bytes
                return
            elif kind == FAULT:
                self._fail(*payload)
                return

    def _receive(self, message: str | bytes) -> None:
        if self._state == OPEN:
            assert self._accepted is not None
            self._call(self._accepted.handler.received, self, message)

    def eof_received(self) -> bool:
        """The client has closed its side without a closing handshake."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """However it ended, this is the end."""
        self._hall.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        self._finish(ABNORMAL)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: from now on count what waits."""
        if self._state == OPEN:
            self._since = self._hall.now
            self.writer = self._write_slowly

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._state == OPEN:
            self.writer = self.transport.write

    # -- the hall's calls -----------------------------------------------------------------------

    def shutdown(self) -> None:
        """The server drains: come back later, to another process."""
        if self._state in (CONNECTING, CLOSED):
            self.transport.close()
        else:
            self.close(SERVICE_RESTART, "the server restarts; connect again")

    def sweep(self, now: float) -> None:
        """Called once a second: end what takes too long, and see who is still there."""
        if self._state in (CLOSING, CLOSED):
            if now - self._since > CLOSING_SECONDS:
                self.transport.abort()
        elif self._state == OPEN:
            if self.heard:
                self.heard = self._pinged = False
                self._since = now
            elif now - self._since > 2 * PING_SECONDS:
                self._finish(ABNORMAL)
                self.transport.abort()
            elif now - self._since > PING_SECONDS and not self._pinged:
                self._pinged = True
                self.transport.write(_PING_FRAME)
            if now - self._checked > RECHECK_SECONDS and self._task is None:
                self._checked = now
                self._check_again()

    def _check_again(self) -> None:
        if self._accepted is not None and self._accepted.still_valid is not None:
            self._task = self._hall.loop.create_task(self._ask_again(self._accepted.still_valid))

    async def _ask_again(self, still_valid: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                if not await still_valid():
                    self.close(POLICY_VIOLATION, "the key or the session that opened this has ended")
        except (TwelvefoldError, TimeoutError) as error:
            log.info("web.socket.not_checked", reason=str(error))  # an engine is away: asked again soon
        finally:
            self._task = None

    # -- endings --------------------------------------------------------------------------------

    def _answer_close(self, payload: bytes) -> None:
        told = decode_close(payload)
        if told is None and len(payload) > 2 and decode_close(payload[:2]) is not None:
            self._fail(INVALID_DATA, "a close frame's reason is not UTF-8")
            return
        if told is None:
            self._fail(PROTOCOL_ERROR, "a close frame has a code that may not be sent")
            return
        code, _ = told
        if self._state == OPEN:
            # §5.5.1: the answer echoes the code.
            self.transport.write(encode_close(code if code != NO_STATUS else NO_STATUS))
        self._finish(code)
        self.transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """Say why, then be deaf until the client goes: closing on bytes it still sends could lose our word."""
        told = self._state == OPEN
        if told:
            self.transport.write(encode_close(code, reason))
        self._finish(code)
        self._decoder = None
        if told and self.transport.can_write_eof():
            self.transport.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _finish(self, code: int) -> None:
        """Tell the handler, once."""
        before, self._state = self._state, CLOSED
        self._since = self._hall.now
        self._leave_hub()
        self._held = None
        if before in (OPEN, CLOSING):
            accepted, self._accepted = self._accepted, None
            assert accepted is not None
            _shielded(accepted.handler.closed, self, code)

    def _leave_hub(self) -> None:
        if self.channels and self._hall.hub is not None:
            self._hall.hub.drop(self)

    def _call(self, method: Callable[..., None], *args: Any) -> None:
        if not _shielded(method, *args):
            self.close(INTERNAL_ERROR, "something went wrong on the server")

    # -- slow readers ---------------------------------------------------------------------------

    def _write_slowly(self, data: bytes) -> None:
        if self._state != OPEN:
            return
        assert self._accepted is not None
        if self.transport.get_write_buffer_size() + len(data) > self._accepted.max_backlog_bytes:
            log.info("web.socket.cut", backlog_bytes=self.transport.get_write_buffer_size())
            self.close(TRY_AGAIN_LATER, "you read too slowly; connect again and catch up")
        else:
            self.transport.write(data)

    def _hold(self, data: bytes) -> None:
        """The client may send before it has our answer; not much, though."""
        if self._state != CONNECTING:
            return
        if self._held is None:
            self._held = bytearray()
        self._held += data
        if len(self._held) > MAX_HELD_BYTES:
            self._state = CLOSED
            self.transport.abort()


def read_handshake(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, tuple[str, ...]]:
    """What to answer to `Sec-WebSocket-Key`, and the subprotocols asked for (RFC 6455 §4.2.1).

    Raises `MalformedRequestError`.
    """
    keys, versions, protocols = [], [], []
    for name, value in headers:
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"sec-websocket-protocol":
            protocols += [item.strip().decode("latin-1") for item in value.split(b",")]
    if versions != [b"13"]:
        raise WebSocketVersionError
    if len(keys) != 1 or not _is_key(keys[0]):
        raise MalformedRequestError("Sec-WebSocket-Key is not 16 bytes in Base64", field="sec-websocket-key")
    digest = hashlib.sha1(keys[0] + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest), tuple(protocols)


def _plain_fd(transport: Any) -> int:
    """The number of the socket that takes this transport's bytes as they are; -1 if there is none."""
    if transport.get_extra_info("ssl_object") is not None:
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _shielded(method: Callable[..., None], *args: Any) -> bool:
    """Call a handler, whatever it does; False if it raised."""
    try:
        method(*args)
    except Exception:
        log.exception("web.socket.failed", method=method.__qualname__)
        return False
    return True
