"""The protocol as JSON: one object a line, several lines a message."""

from typing import Any

import msgspec

from twelvefold.kernel.errors import MalformedRequestError
from twelvefold.systems.chat.compat.centrifugo.words import Command
from twelvefold.web.frames import TEXT, encode

_decode = msgspec.json.Decoder(Command).decode
_encode = msgspec.json.Encoder().encode


class JsonCodec:
    """Bytes to commands, replies to frames."""

    name = "json"
    ping = encode(TEXT, b"{}")

    def decode(self, message: str | bytes) -> list[Command | None]:
        """The commands of a message; None is a pong. Raises `MalformedRequestError`."""
        data = message.encode() if isinstance(message, str) else message
        commands: list[Command | None] = []
        for line in data.split(b"\n"):
            if line.strip():
                try:
                    commands.append(None if line.strip() == b"{}" else _decode(line))
                except (msgspec.DecodeError, RecursionError) as error:
                    raise MalformedRequestError(f"bad request: {error}") from error
        return commands

    def encode(self, replies: list[dict[str, Any]]) -> bytes:
        """One frame with all replies."""
        return encode(TEXT, b"\n".join([_encode(reply) for reply in replies]))
