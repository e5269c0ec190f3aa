"""What crosses the boundary of the chat system: frozen structs with units in their names, and its errors.

A conversation is a dense sequence of events; messages are one kind of event, news about them (an edit, a
reaction, somebody's leaving) are others. Times are milliseconds since 1970 UTC inside.
"""

from typing import Annotated, Literal

import msgspec

from twelvefold.kernel.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    TooLargeError,
    UnauthenticatedError,
)

Kind = Literal["direct", "group", "channel"]
Role = Literal["owner", "moderator", "member"]
Access = Literal["private", "open"]
"""`open`: everybody of the tenant may read and write without joining, unless banned."""
History = Literal["all", "joined"]
"""What a joiner sees: everything, or only what comes after the joining."""
Change = Literal["joined", "left", "removed", "banned", "unbanned", "role"]
EventType = Literal["message", "edited", "deleted", "reaction", "member", "conversation"]

MAX_TEXT_BYTES = 1 << 20
MAX_PAGE = 1000

UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
DeviceId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
ClientMessageId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
Channel = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
Emoji = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Seq = Annotated[int, msgspec.Meta(ge=1, le=(1 << 62))]


class ConversationNotFoundError(NotFoundError):
    """There is no such conversation, or you are not in it."""

    code = "chat.conversation_not_found"


class MessageNotFoundError(NotFoundError):
    """There is no such message in this conversation."""

    code = "chat.message_not_found"


class NotAMemberError(ForbiddenError):
    """You are not a member of this conversation."""

    code = "chat.not_a_member"


class NotAllowedError(ForbiddenError):
    """Your role in this conversation does not allow that."""

    code = "chat.not_allowed"


class BannedError(ForbiddenError):
    """You are banned from this conversation."""

    code = "chat.banned"


class MessageTooLargeError(TooLargeError):
    """A message has at most 1,048,576 bytes."""

    code = "chat.message_too_large"


class ClientMessageIdReusedError(ConflictError):
    """This client_msg_id was used for another message."""

    code = "chat.client_msg_id_reused"


class ChannelTakenError(ConflictError):
    """A conversation with this channel name exists."""

    code = "chat.channel_taken"


class SlowModeError(RateLimitedError):
    """This conversation is in slow mode; wait before your next message."""

    code = "chat.slow_mode"


class TooManyMessagesError(RateLimitedError):
    """You send faster than this server takes from one user."""

    code = "chat.too_many_messages"


class AlreadyAMemberError(ConflictError):
    """They are in this conversation already."""

    code = "chat.already_a_member"


class AlreadyBannedError(ConflictError):
    """They are banned already."""

    code = "chat.already_banned"


class NotBannedError(NotFoundError):
    """They are not banned from this conversation."""

    code = "chat.not_banned"


class ConversationFullError(ConflictError):
    """This conversation has as many members as it may."""

    code = "chat.conversation_full"


class TokenRefusedError(UnauthenticatedError):
    """This token is not valid."""

    code = "chat.token_refused"


class TokenExpiredError(UnauthenticatedError):
    """This token has expired."""

    code = "chat.token_expired"


class MediaRefusedError(InvalidInputError):
    """This file cannot be taken."""

    code = "chat.media_refused"


class MediaLinkError(ForbiddenError):
    """This link is not valid for this file."""

    code = "chat.media_link"


class MediaLinkExpiredError(GoneError):
    """This link has expired; ask for a new one."""

    code = "chat.media_link_expired"


class Attachment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that was uploaded to the conversation before."""

    media_id: str
    name: str = ""
    content_type: str = ""
    size_bytes: int = 0
    width: int = 0
    height: int = 0


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send. `data` is any JSON of the client's own, kept as it is."""

    text: str = ""
    data: msgspec.Raw | None = None
    client_msg_id: ClientMessageId | None = None
    reply_to: Seq | None = None
    thread: Seq | None = None
    attachments: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    mentions: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=100)] = ()


class Sent(msgspec.Struct, frozen=True, gc=False):
    """An acknowledged message: it is on disk. `existed`: an earlier send with this `client_msg_id` made it."""

    id: int
    seq: int
    existed: bool = False


class Reaction(msgspec.Struct, frozen=True):
    """How many reacted with an emoji, and the first of them."""

    emoji: str
    count: int
    users: tuple[str, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a conversation as members see it. Which fields are there depends on `type`.

    `message`: text, data, … ; `edited` and `deleted`: `target`, and for an edit `message`, the target as it is
    now; `reaction`: `target`, `emoji`, `added`; `member`: `user`, `change`, `role`; `conversation`: `name` ….
    """

    conversation_id: int
    seq: int
    id: int
    type: EventType
    author: str
    at_ms: int
    text: str = ""
    data: msgspec.Raw | None = None
    reply_to: int | None = None
    thread: int | None = None
    mentions: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    edited: bool = False
    deleted: bool = False
    reactions: tuple[Reaction, ...] = ()
    replies: int = 0
    target: int | None = None
    message: "Event | None" = None
    emoji: str = ""
    added: bool = False
    user: str = ""
    change: Change | None = None
    role: Role | None = None
    name: str | None = None
    slow_mode_seconds: int | None = None
    client_msg_id: str | None = None


class NewConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to begin. A direct one has exactly one other member and exists once for a pair."""

    kind: Kind = "group"
    name: Name = ""
    channel: Channel | None = None
    access: Access = "private"
    history: History = "joined"
    members: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=10_000)] = ()
    slow_mode_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A stored conversation."""

    id: int
    kind: Kind
    name: str
    channel: str | None
    access: Access
    history: History
    slow_mode_seconds: int
    members: int
    created_at_ms: int
    created_by: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in somebody's list. `peer`: with whom a direct one is."""

    conversation: Conversation
    peer: str | None
    role: Role
    last_seq: int
    unread: int
    read_seq: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a conversation, and how far they are."""

    user: str
    role: Role
    joined_at_ms: int
    delivered_seq: int
    read_seq: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How far somebody is: everything up to these sequences was delivered, was read."""

    user: str
    delivered_seq: int
    read_seq: int


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """Whether somebody is there, and with how many devices."""

    user: str
    online: bool
    devices: int


class Found(msgspec.Struct, frozen=True):
    """A page of messages found, newest first."""

    items: tuple[Event, ...]
    next_cursor: str | None


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file."""

    id: int
    conversation_id: int
    owner: str
    name: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    has_thumbnail: bool


class PushKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What WebPush encrypts to: the browser's key and secret, base64url."""

    p256dh: Annotated[str, msgspec.Meta(min_length=80, max_length=120)]
    auth: Annotated[str, msgspec.Meta(min_length=20, max_length=40)]


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device can be woken. `address`: the push endpoint, or FCM's or APNs' device token."""

    device: DeviceId
    service: Literal["webpush", "fcm", "apns"]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    keys: PushKeys | None = None


class UserToken(msgspec.Struct, frozen=True, kw_only=True):
    """Who a token says is connecting. `channel`: the one that it opens, for subscription tokens."""

    tenant_id: int
    user: str
    expires_at_s: int | None
    issued_at_s: int | None
    channel: str | None = None
    info: msgspec.Raw = msgspec.Raw()
