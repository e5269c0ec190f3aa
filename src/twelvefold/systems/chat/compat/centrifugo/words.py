"""The protocol's words: commands, error codes, close codes, and how an event becomes a publication.

Source: Centrifugo's documentation of the client protocol and the schema that its clients carry.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.kernel.errors import (
    ForbiddenError,
    InvalidInputError,
    MalformedRequestError,
    NotFoundError,
    RateLimitedError,
    TooLargeError,
    TwelvefoldError,
    UnauthenticatedError,
)
from twelvefold.systems.chat.contracts import Event, TokenExpiredError
from twelvefold.systems.chat.routes.views import event_json

VERSION = "twelvefold"
PING_SECONDS = 25
EXPIRY_GRACE_SECONDS = 25

DISCONNECT_EXPIRED = (3005, "connection expired")
DISCONNECT_INVALID_TOKEN = (3500, "invalid token")
DISCONNECT_BAD_REQUEST = (3501, "bad request")
DISCONNECT_STALE = (3502, "stale")
DISCONNECT_FORCE = (3503, "force disconnect")
UNSUBSCRIBED_BY_SERVER = 2000


MAX_OFFSET = 1 << 62


class StreamPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client stands."""

    offset: int = 0
    epoch: str = ""

    @property
    def seq(self) -> int:
        """The offset as a sequence; what no sequence can be is the nearest that can."""
        return min(max(self.offset, 0), MAX_OFFSET)


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribe to a channel; with `recover`, from a position on."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    join_leave: bool = False


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """The first command."""

    token: str = ""
    data: msgspec.Raw = msgspec.Raw()
    subs: dict[str, Subscribe] = msgspec.field(default_factory=dict)
    name: str = ""


class Channelled(msgspec.Struct, frozen=True, kw_only=True):
    """A command about a channel."""

    channel: str = ""
    token: str = ""
    data: msgspec.Raw = msgspec.Raw()
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A new token."""

    token: str = ""


class Rpc(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a method; there are none here."""

    method: str = ""
    data: msgspec.Raw = msgspec.Raw()


class Empty(msgspec.Struct, frozen=True):
    """A command without fields."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says: an id, and one of the commands."""

    id: int = 0
    connect: Connect | None = None
    subscribe: Subscribe | None = None
    unsubscribe: Channelled | None = None
    publish: Channelled | None = None
    presence: Channelled | None = None
    presence_stats: Channelled | None = None
    history: Channelled | None = None
    ping: Empty | None = None
    send: Rpc | None = None
    rpc: Rpc | None = None
    refresh: Refresh | None = None
    sub_refresh: Channelled | None = None


COMMANDS = (
    "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "ping", "send", "rpc",
    "refresh", "sub_refresh",
)  # fmt: skip


class ProtocolError(Exception):
    """An error with one of the protocol's codes."""

    def __init__(self, code: int, message: str, *, temporary: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.temporary = temporary


def error_of(error: TwelvefoldError | ProtocolError) -> dict[str, Any]:
    """An error in the protocol's words; the message says what ours says."""
    if isinstance(error, ProtocolError):
        code, message, temporary = error.code, error.message, error.temporary
    else:
        code, temporary = _code_of(error)
        message = "internal server error" if code == 100 and error.status < 503 else error.message
    shown: dict[str, Any] = {"code": code, "message": message}
    if temporary:
        shown["temporary"] = True
    return shown


def _code_of(error: TwelvefoldError) -> tuple[int, bool]:
    if isinstance(error, TokenExpiredError):
        return 109, False
    if isinstance(error, UnauthenticatedError):
        return 101, False
    if isinstance(error, NotFoundError):
        return 102, False
    if isinstance(error, ForbiddenError):
        return 103, False
    if isinstance(error, RateLimitedError):
        return 111, True
    if isinstance(error, TooLargeError):
        return 106, False
    if isinstance(error, InvalidInputError | MalformedRequestError) or error.status == 409:
        return 107, False
    return 100, True


def data_of(event: Event) -> msgspec.Raw:
    """What a publication carries: the client's own data, or our event."""
    if event.type == "message" and event.data is not None and not event.deleted:
        return event.data
    return msgspec.Raw(event_json(event))


def publication(event: Event) -> dict[str, Any]:
    """An event as a publication."""
    made: dict[str, Any] = {"data": data_of(event), "offset": event.seq}
    if event.author:
        made["info"] = {"user": event.author, "client": ""}
    return made


def publications(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Some events."""
    return [publication(event) for event in events]


def notice_push(label: str, notice: dict[str, Any]) -> dict[str, Any] | None:
    """What the protocol has a word for: somebody joined a channel, or left it."""
    kind = notice.get("type")
    if kind in ("join", "leave"):
        return {
            "push": {"channel": label, kind: {"info": {"client": notice["client"], "user": notice["user"]}}}
        }
    return None
