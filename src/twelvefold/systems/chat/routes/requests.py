"""What clients say: the bodies of the REST API and the requests of our socket."""

from typing import Annotated, Any, Literal

import msgspec

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import MAX_ID
from twelvefold.systems.chat.contracts import (
    Access,
    Channel,
    ClientMessageId,
    DeviceId,
    Emoji,
    History,
    Kind,
    Name,
    NewConversation,
    NewMessage,
    PushKeys,
    PushSubscription,
    Role,
    Seq,
    UserId,
)

Op = Literal[
    "connect", "refresh", "follow", "unfollow", "send", "edit", "delete", "react", "received", "read", "typing",
    "history", "look", "ping",
]  # fmt: skip

MAX_DIGITS = len(str(MAX_ID))


def number(text: str | None, field: str) -> int:
    """An id. Raises `InvalidInputError`."""
    if text is not None and len(text) <= MAX_DIGITS and text.isascii() and text.isdigit():
        found = int(text)
        if found <= MAX_ID:
            return found
    raise InvalidInputError(f"{field} is an id: digits, as text", field=field)


class Referred(msgspec.Struct, frozen=True):
    """What is read of a request that is not one."""

    ref: str | int | None = None


class SocketRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request on our socket; which fields matter depends on `op`."""

    op: Op
    ref: str | int | None = None
    token: str | None = None
    device: DeviceId | None = None
    sync: bool = False
    conversation: str | None = None
    seq: Seq | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=(1 << 62))] | None = None
    before: Seq | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    text: str = ""
    data: Any = None
    client_msg_id: ClientMessageId | None = None
    reply_to: Seq | None = None
    thread: Seq | None = None
    attachments: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    mentions: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=100)] = ()
    emoji: Emoji | None = None
    added: bool = True
    users: tuple[UserId, ...] = ()

    def conversation_id(self) -> int:
        """The conversation. Raises `InvalidInputError`."""
        return number(self.conversation, "conversation")

    def sequence(self) -> int:
        """The sequence. Raises `InvalidInputError`."""
        if self.seq is None:
            raise InvalidInputError("say which sequence", field="seq")
        return self.seq

    def message(self) -> NewMessage:
        """The message to send."""
        return _new_message(self)


class ConversationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation to begin."""

    kind: Kind = "group"
    name: Name = ""
    channel: Channel | None = None
    access: Access = "private"
    history: History = "joined"
    members: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=10_000)] = ()
    slow_mode_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0

    def to_contract(self) -> NewConversation:
        """As the service takes it."""
        return NewConversation(
            kind=self.kind,
            name=self.name,
            channel=self.channel,
            access=self.access,
            history=self.history,
            members=self.members,
            slow_mode_seconds=self.slow_mode_seconds,
        )


class SettingsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may change about a conversation."""

    name: Name | None = None
    slow_mode_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message to send."""

    text: str = ""
    data: Any = None
    client_msg_id: ClientMessageId | None = None
    reply_to: Seq | None = None
    thread: Seq | None = None
    attachments: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    mentions: Annotated[tuple[UserId, ...], msgspec.Meta(max_length=100)] = ()

    def to_contract(self) -> NewMessage:
        """As the service takes it."""
        return _new_message(self)


class TextRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message's new text."""

    text: Annotated[str, msgspec.Meta(min_length=1)]


class ReactionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reaction."""

    emoji: Emoji
    added: bool = True


class MemberRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to take in, or to make something else."""

    user: UserId
    role: Role = "member"


class RoleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody shall be. `user`, if it is said, is the one of the address."""

    role: Role
    user: UserId | None = None


class BanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to keep out."""

    user: UserId
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ReceiptRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far somebody is."""

    delivered_seq: Seq | None = None
    read_seq: Seq | None = None
    device: DeviceId | None = None


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make."""

    user: UserId
    seconds: Annotated[int, msgspec.Meta(ge=1, le=31_536_000)] | None = None
    channel: Channel | None = None


class PushRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a device can be woken."""

    device: DeviceId
    service: Literal["webpush", "fcm", "apns"]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    keys: PushKeys | None = None

    def to_contract(self) -> PushSubscription:
        """As the service takes it."""
        return PushSubscription(
            device=self.device, service=self.service, address=self.address, keys=self.keys
        )


def _new_message(given: "SocketRequest | MessageRequest") -> NewMessage:
    return NewMessage(
        text=given.text,
        data=None if given.data is None else _as_json(given.data),
        client_msg_id=given.client_msg_id,
        reply_to=given.reply_to,
        thread=given.thread,
        attachments=given.attachments,
        mentions=given.mentions,
    )


def _as_json(data: Any) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(data))
    except (TypeError, ValueError, RecursionError) as error:
        # MessagePack has more than JSON: extensions, keys that are lists.
        raise InvalidInputError(f"the data has no form as JSON: {error}", field="data") from error
