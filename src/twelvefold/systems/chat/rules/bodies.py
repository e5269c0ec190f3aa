"""What is inside an entry, as bytes: the fields that its type has, and a salt.

The salt makes the digest in the chain a commitment: once text and salt are gone, nobody can find out by
guessing what a deleted message said.
"""

import hashlib
import re

import msgspec

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import EPOCH_MS
from twelvefold.systems.chat.contracts import (
    MAX_TEXT_BYTES,
    Attachment,
    Change,
    Event,
    EventType,
    MessageTooLargeError,
    NewMessage,
    Role,
)

SALT_BYTES = 16
MAX_DEPTH = 64
"""Of arrays and objects in a client's own data: what every reader of it can be expected to take."""

KINDS: dict[EventType, int] = {
    "message": 1,
    "edited": 2,
    "deleted": 3,
    "reaction": 4,
    "member": 5,
    "conversation": 6,
}
TYPES: dict[int, EventType] = {number: name for name, number in KINDS.items()}


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The fields of an event that are kept with it."""

    text: str = msgspec.field(default="", name="t")
    data: bytes = msgspec.field(default=b"", name="d")
    reply_to: int | None = msgspec.field(default=None, name="r")
    thread: int | None = msgspec.field(default=None, name="h")
    mentions: tuple[str, ...] = msgspec.field(default=(), name="m")
    attachments: tuple[Attachment, ...] = msgspec.field(default=(), name="a")
    edited: bool = msgspec.field(default=False, name="e")
    deleted: bool = msgspec.field(default=False, name="x")
    target: int | None = msgspec.field(default=None, name="g")
    emoji: str = msgspec.field(default="", name="j")
    added: bool = msgspec.field(default=False, name="+")
    user: str = msgspec.field(default="", name="u")
    change: Change | None = msgspec.field(default=None, name="c")
    role: Role | None = msgspec.field(default=None, name="o")
    name: str | None = msgspec.field(default=None, name="n")
    slow_mode_seconds: int | None = msgspec.field(default=None, name="s")
    client_msg_id: str | None = msgspec.field(default=None, name="i")


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


def pack(body: Body, salt: bytes) -> bytes:
    """As it is stored."""
    return salt + _encode(body)


def unpack(data: bytes) -> Body:
    """What is stored; an erased entry is an empty, deleted body."""
    return _decode(memoryview(data)[SALT_BYTES:]) if data else Body(deleted=True)


def body_of(message: NewMessage, attachments: tuple[Attachment, ...] = ()) -> Body:
    """A message's body. Raises `MessageTooLargeError`, `InvalidInputError` for one that cannot be kept."""
    data = b"" if message.data is None else bytes(message.data)
    text_bytes = len(message.text) if message.text.isascii() else _utf8_length(message.text)
    if text_bytes + len(data) > MAX_TEXT_BYTES:
        raise MessageTooLargeError(field="text", size_bytes=text_bytes + len(data))
    if not (message.text or data or attachments):
        raise InvalidInputError("a message needs a text, data or an attachment", field="text")
    # PostgreSQL's text cannot have it, and not every door's format is without it.
    if "\0" in message.text:
        raise InvalidInputError("the text has a NUL character, which cannot be stored", field="text")
    if message.client_msg_id is not None and "\0" in message.client_msg_id:
        raise InvalidInputError("the id has a NUL character, which cannot be stored", field="client_msg_id")
    if data:
        _check_data(data)
    return Body(
        text=message.text,
        data=data,
        reply_to=message.reply_to,
        thread=message.thread,
        mentions=message.mentions,
        attachments=attachments,
        client_msg_id=message.client_msg_id,
    )


def key_of(author: str, client_msg_id: str) -> bytes:
    """The idempotency key of a sender's own id; 16 bytes."""
    return hashlib.sha256(author.encode() + b"\0" + client_msg_id.encode()).digest()[:16]


def fingerprint(body: Body) -> bytes:
    """Tells a repeated message from another one with the same key; 16 bytes."""
    return hashlib.sha256(_encode(body)).digest()[:16]


def at_ms_of(event_id: int) -> int:
    """When an id was made."""
    return (event_id >> 22) + EPOCH_MS


def event_of(conversation_id: int, seq: int, event_id: int, kind: int, author: str, body: Body) -> Event:  # noqa: PLR0917 - an entry's columns
    """An entry as members see it."""
    return Event(
        conversation_id=conversation_id,
        seq=seq,
        id=event_id,
        type=TYPES[kind],
        author=author,
        at_ms=at_ms_of(event_id),
        text=body.text,
        data=msgspec.Raw(body.data) if body.data else None,
        reply_to=body.reply_to,
        thread=body.thread,
        mentions=body.mentions,
        attachments=body.attachments,
        edited=body.edited,
        deleted=body.deleted,
        target=body.target,
        emoji=body.emoji,
        added=body.added,
        user=body.user,
        change=body.change,
        role=body.role,
        name=body.name,
        slow_mode_seconds=body.slow_mode_seconds,
        client_msg_id=body.client_msg_id,
    )


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError("the text has half of a surrogate pair", field="text") from error


def _check_data(data: bytes) -> None:
    if b"\\u0000" in data and _NUL.search(data):
        raise InvalidInputError("the data has a NUL character, which cannot be stored", field="data")
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _BRACKETS.finditer(data):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidInputError(f"the data is nested deeper than {MAX_DEPTH} levels", field="data")
        elif found[0] in (b"]", b"}"):
            depth -= 1
