"""How our socket's events and requests look: as JSON text, or as MessagePack."""

from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.kernel.errors import InvalidInputError, MalformedRequestError
from twelvefold.systems.chat.contracts import Event
from twelvefold.systems.chat.routes.live import Form
from twelvefold.systems.chat.routes.requests import Referred, SocketRequest
from twelvefold.systems.chat.routes.views import event_json
from twelvefold.web.api import check_json, hint_at_halves
from twelvefold.web.frames import BINARY, TEXT, encode
from twelvefold.web.problem import field_in

MSGPACK = "chat.msgpack"
JSON = "chat.json"
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode
_decode_json = msgspec.json.Decoder(SocketRequest).decode
_decode_msgpack = msgspec.msgpack.Decoder(SocketRequest).decode
_ref_in_json = msgspec.json.Decoder(Referred).decode
_ref_in_msgpack = msgspec.msgpack.Decoder(Referred).decode
_NUL = "\x00"
_CENTRIFUGO_ONLY = frozenset({"join", "leave"})


class JsonForm:
    """Events as JSON text."""

    name = "json"

    def frames(self, label: str, events: Sequence[Event]) -> bytes:
        """See `Form.frames`."""
        del label
        return b"".join(encode(TEXT, event_json(event)) for event in events)

    def notice(self, label: str, notice: dict[str, Any]) -> bytes:
        """See `Form.notice`."""
        if notice["type"] in _CENTRIFUGO_ONLY:
            return b""
        return encode(TEXT, _json({"conversation": label, **notice}))


class MsgpackForm:
    """Events as MessagePack; a client's own JSON is decoded."""

    name = "msgpack"

    def frames(self, label: str, events: Sequence[Event]) -> bytes:
        """See `Form.frames`."""
        del label
        return b"".join(encode(BINARY, _msgpack(msgspec.json.decode(event_json(event)))) for event in events)

    def notice(self, label: str, notice: dict[str, Any]) -> bytes:
        """See `Form.notice`."""
        if notice["type"] in _CENTRIFUGO_ONLY:
            return b""
        return encode(BINARY, _msgpack({"conversation": label, **notice}))


FORMS: dict[str, Form] = {JSON: JsonForm(), MSGPACK: MsgpackForm()}


def read_request(message: str | bytes) -> SocketRequest:
    """A request. Raises `MalformedRequestError`, `InvalidInputError`."""
    try:
        if isinstance(message, bytes):
            return _decode_msgpack(message)
        if _NUL in message or "\\u0000" in message:
            check_json(message.encode())
        return _decode_json(message)
    except RecursionError as error:
        raise MalformedRequestError("the message is nested too deeply") from error
    except msgspec.ValidationError as error:
        text = str(error)
        raise InvalidInputError(text.partition(" - at `")[0], field=field_in(text)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = hint_at_halves(message.encode()) if isinstance(message, str) else None
        raise MalformedRequestError(f"the message cannot be read: {error}", hint=hint) from error


def ref_of(message: str | bytes) -> str | int | None:
    """The `ref` of a request that could not be read, so that its sender knows which one it was."""
    try:
        return (_ref_in_msgpack(message) if isinstance(message, bytes) else _ref_in_json(message)).ref
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
