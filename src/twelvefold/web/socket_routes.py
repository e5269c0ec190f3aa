"""WebSocket endpoints as systems declare them: who may open one, and what happens on it.

A handler is called, not awaited: an idle socket costs an object, not a task. Whoever needs to await
puts work into a queue of its own, with a bound.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from twelvefold.kernel.tenancy import Principal
from twelvefold.web.hub import Channel, Write


class Socket(Protocol):
    """An open WebSocket, whoever carries it. It is a `hub.Subscriber`."""

    fd: int
    transport: Any
    writer: Write
    channels: tuple[Channel, ...]

    def send(self, frame: bytes) -> None:
        """Write a frame (`frames.encode`) now; after the end it does nothing."""

    def send_text(self, text: bytes) -> None:
        """Write UTF-8 as a text message now."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; `closed` follows."""

    def pause_reading(self) -> None:
        """Let the client wait: its messages come no faster than they are worked on."""

    def resume_reading(self) -> None:
        """Go on."""


class SocketHandler:
    """What one WebSocket does. Subclass it; each method returns at once."""

    __slots__ = ()

    def opened(self, socket: Socket) -> None:
        """The handshake is done."""

    def received(self, socket: Socket, message: str | bytes) -> None:
        """A whole message: text as str, binary as bytes. An exception closes the socket with 1011."""

    def closed(self, socket: Socket, code: int) -> None:
        """It has ended, once, however it did; 1006 when the connection broke."""


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """A request to open a WebSocket."""

    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: tuple[tuple[bytes, bytes], ...]
    client: str
    principal: Principal | None
    subprotocols: tuple[str, ...]
    request_id: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a handshake that is let in."""

    handler: SocketHandler
    subprotocol: str = ""
    max_message_bytes: int = 64 * 1024
    max_backlog_bytes: int = 1024 * 1024
    """What may wait unsent for a client that does not read; beyond it the client is cut with 1013."""

    still_valid: Callable[[], Awaitable[bool]] | None = None
    """Asked again and again while it is open: whether what let it in still would. Set by the application."""


Connect = Callable[[Handshake], Awaitable[SocketHandler | Accepted]]


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A WebSocket endpoint.

    Attributes:
        path: `/v1/links/{code}/live`; each `{name}` is one segment.
        connect: decides; raises a `TwelvefoldError` to refuse with that problem.
        scope: what the principal needs; empty: anybody, `connect` decides.
    """

    path: str
    connect: Connect
    scope: str = ""


class SocketRoutes:
    """Finds the endpoint of a path."""

    def __init__(self, routes: tuple[SocketRoute, ...]) -> None:
        self._routes = [(re.compile(_pattern(route.path)), route) for route in routes]

    def find(self, path: str) -> tuple[SocketRoute, dict[str, str]] | None:
        """The route of `path` and its parameters."""
        for pattern, route in self._routes:
            if match := pattern.fullmatch(path):
                return route, match.groupdict()
        return None


def handshake_of(
    scope: Mapping[str, Any], params: Mapping[str, str], principal: Principal | None, *, client: str
) -> Handshake:
    """The handshake that an ASGI scope of type `websocket` describes."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    return Handshake(
        path=scope["path"],
        params=params,
        query=dict(query),
        headers=tuple(scope["headers"]),
        client=client,
        principal=principal,
        subprotocols=tuple(scope.get("subprotocols", ())),
        request_id=scope["state"]["request_id"],
    )


def _pattern(path: str) -> str:
    parts = re.split(r"\{(\w+)\}", path)
    return "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
