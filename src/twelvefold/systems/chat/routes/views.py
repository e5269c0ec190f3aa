"""The JSON of the chat API: ids as strings, times as RFC 3339 with milliseconds, what is not there left out."""

from typing import Any

import msgspec

from twelvefold.systems.chat.contracts import (
    Attachment,
    Conversation,
    Event,
    Listed,
    Medium,
    Member,
    Reaction,
)
from twelvefold.web.moments import rfc3339


class EventView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a conversation; see `contracts.Event` for which fields its type has."""

    type: str
    conversation: str
    seq: int
    id: str
    author: str
    at: str
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
    message: "EventView | None" = None
    emoji: str = ""
    added: bool = False
    user: str = ""
    change: str | None = None
    role: str | None = None
    name: str | None = None
    slow_mode_seconds: int | None = None
    client_msg_id: str | None = None

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """As the API shows it."""
        return cls(
            type=event.type,
            conversation=str(event.conversation_id),
            seq=event.seq,
            id=str(event.id),
            author=event.author,
            at=rfc3339(event.at_ms),
            text=event.text,
            data=event.data,
            reply_to=event.reply_to,
            thread=event.thread,
            mentions=event.mentions,
            attachments=event.attachments,
            edited=event.edited,
            deleted=event.deleted,
            reactions=event.reactions,
            replies=event.replies,
            target=event.target,
            message=None if event.message is None else cls.of(event.message),
            emoji=event.emoji,
            added=event.added,
            user=event.user,
            change=event.change,
            role=event.role,
            name=event.name,
            slow_mode_seconds=event.slow_mode_seconds,
            client_msg_id=event.client_msg_id,
        )


_encode = msgspec.json.Encoder().encode


def event_json(event: Event) -> bytes:
    """An event as JSON."""
    return _encode(EventView.of(event))


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation."""

    id: str
    kind: str
    name: str
    channel: str | None
    access: str
    history: str
    slow_mode_seconds: int
    members: int
    created_at: str
    created_by: str

    @classmethod
    def of(cls, found: Conversation) -> "ConversationView":
        """As the API shows it."""
        return cls(
            id=str(found.id),
            kind=found.kind,
            name=found.name,
            channel=found.channel,
            access=found.access,
            history=found.history,
            slow_mode_seconds=found.slow_mode_seconds,
            members=found.members,
            created_at=rfc3339(found.created_at_ms),
            created_by=found.created_by,
        )


class ListedView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in one's list. `peer`: with whom a direct one is."""

    conversation: ConversationView
    peer: str | None
    role: str
    last_seq: int
    read_seq: int
    unread: int

    @classmethod
    def of(cls, found: Listed) -> "ListedView":
        """As the API shows it."""
        return cls(
            conversation=ConversationView.of(found.conversation),
            peer=found.peer,
            role=found.role,
            last_seq=found.last_seq,
            read_seq=found.read_seq,
            unread=found.unread,
        )


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member."""

    user: str
    role: str
    joined_at: str
    delivered_seq: int
    read_seq: int

    @classmethod
    def of(cls, found: Member) -> "MemberView":
        """As the API shows it."""
        return cls(
            user=found.user,
            role=found.role,
            joined_at=rfc3339(found.joined_at_ms),
            delivered_seq=found.delivered_seq,
            read_seq=found.read_seq,
        )


class MediumView(msgspec.Struct, frozen=True, kw_only=True):
    """A file."""

    id: str
    conversation: str
    name: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    has_thumbnail: bool

    @classmethod
    def of(cls, found: Medium) -> "MediumView":
        """As the API shows it."""
        return cls(
            id=str(found.id),
            conversation=str(found.conversation_id),
            name=found.name,
            content_type=found.content_type,
            size_bytes=found.size_bytes,
            width=found.width,
            height=found.height,
            has_thumbnail=found.has_thumbnail,
        )


class SentView(msgspec.Struct, frozen=True, kw_only=True):
    """An acknowledgement: it is on disk."""

    message_id: str
    seq: int
    status: str = "sent"
    existed: bool = False


class EventList(msgspec.Struct, frozen=True):
    """Some events."""

    items: list[EventView]
    next_cursor: str | None = None


def plain(value: Any) -> Any:
    """A view as builtins, its raw JSON decoded, for MessagePack."""
    return msgspec.json.decode(_encode(value))
