"""What both doors of the protocol say: events as pushes, publications as messages, presence and history."""

from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.compat.centrifugo.json_codec import JsonCodec
from twelvefold.systems.chat.compat.centrifugo.protobuf_codec import ProtobufCodec
from twelvefold.systems.chat.compat.centrifugo.words import (
    Channelled,
    ProtocolError,
    notice_push,
    publication,
    publications,
)
from twelvefold.systems.chat.contracts import Event, NewMessage
from twelvefold.systems.chat.service import Chat

HISTORY_LIMIT = 1000


class PushForm:
    """Events as pushes. See `live.Form`."""

    def __init__(self, codec: JsonCodec | ProtobufCodec, *, joins: bool) -> None:
        self._codec = codec
        self._joins = joins
        self.name = f"centrifugo-{codec.name}{'-joins' if joins else ''}"

    def frames(self, label: str, events: Sequence[Event]) -> bytes:
        """See `Form.frames`."""
        return self._codec.encode(
            [{"push": {"channel": label, "pub": publication(event)}} for event in events]
        )

    def notice(self, label: str, notice: dict[str, Any]) -> bytes:
        """See `Form.notice`."""
        push = notice_push(label, notice) if self._joins else None
        return self._codec.encode([push]) if push is not None else b""


JSON, PROTO = JsonCodec(), ProtobufCodec()
FORMS = {
    (codec.name, joins): PushForm(codec, joins=joins) for codec in (JSON, PROTO) for joins in (False, True)
}


def message_of(data: msgspec.Raw, client_msg_id: str | None = None) -> NewMessage:
    """A publication as a message: its data as it is, and its text, if it has one, for search and push."""
    if not bytes(data):
        raise ProtocolError(107, "bad request: no data")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(107, "bad request: data is not JSON") from error
    text = value.get("text") if isinstance(value, dict) else value if isinstance(value, str) else None
    return NewMessage(text=text if isinstance(text, str) else "", data=data, client_msg_id=client_msg_id)


async def here(door: Any, tenant: TenantId, user: str, conversation_id: int) -> dict[str, Any]:
    """Clients that follow a conversation."""
    await door.chat.get(tenant, user, conversation_id)
    found = await door.presence.here(conversation_id)
    return {client: {"client": client, **msgspec.json.decode(info)} for client, info in found.items()}


async def history(
    chat: Chat, tenant: TenantId, user: str, conversation_id: int, given: Channelled
) -> dict[str, Any]:
    """Publications and where the stream stands. Limit 0 asks for the position only."""
    head = await chat.head(tenant, conversation_id)
    await chat.get(tenant, user, conversation_id)
    events: Sequence[Event] = ()
    limit = HISTORY_LIMIT if given.limit < 0 else min(given.limit, HISTORY_LIMIT)
    if given.since is not None and given.since.epoch and given.since.epoch != head.epoch:
        raise ProtocolError(112, "unrecoverable position")
    if limit and given.reverse:
        before = max(1, given.since.seq) if given.since is not None else None
        events = await chat.history(tenant, user, conversation_id, before=before, limit=limit)
    elif limit:
        after = given.since.seq if given.since is not None else 0
        events = await chat.history(tenant, user, conversation_id, after=after, limit=limit)
    return {"publications": publications(events), "epoch": head.epoch, "offset": head.last_seq}
