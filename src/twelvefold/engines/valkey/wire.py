"""Valkey's protocol (RESP3) as bytes, with no I/O.

Encoding is the client's largest cost, so the commonest shape, a verb and one key, is put together
from three ready pieces (0.1 µs against 0.4 for packing it whole); every other shape goes through
hiredis, and the few values it cannot pack or packs wrongly are turned into bytes first. Replies are
parsed by `hiredis.Reader`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import hiredis

Value = bytes | str | int | float | bytearray | memoryview
"""What a command may be made of. Text is sent as UTF-8, numbers in decimal."""

NOT_YET: Final = object()
"""What `Reader.gets` gives while a reply is incomplete."""

Push = hiredis.PushNotification
"""A list that the server sent by itself (RESP3 push), not an answer."""

_SHORT = 256
CRLF = b"\r\n"
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
HEADS: dict[Value, list[bytes]] = {}
"""For each verb used with one key: what comes before the key, by the key's length."""

_MAX_HEADS = 64

_UNSHARED = frozenset({
    "ASKING", "AUTH", "DISCARD", "EXEC", "HELLO", "MONITOR", "MULTI", "PSUBSCRIBE", "PSYNC", "PUNSUBSCRIBE",
    "QUIT", "READONLY", "READWRITE", "RESET", "SELECT", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "SYNC",
    "UNSUBSCRIBE", "UNWATCH", "WATCH",
})  # fmt: skip
"""Commands that change the connection for everyone who shares it, or have not exactly one answer."""


def _spellings(names: Iterable[str]) -> frozenset[Any]:
    cased = {spelling for name in names for spelling in (name, name.lower())}
    return frozenset(cased | {spelling.encode() for spelling in cased})


_unshared = _spellings(_UNSHARED)
_CLIENT = _spellings(["CLIENT"])


def make_reader(on_error: Callable[[str], Exception]) -> hiredis.Reader:
    """A parser for one connection's replies; error replies become what `on_error` makes of their text.

    Shapes: simple and bulk strings → bytes, integers → int, doubles → float, booleans → bool, null →
    None, arrays and sets → list, maps → dict, pushes → `Push`. Malformed bytes raise `hiredis.ProtocolError`.
    """
    return hiredis.Reader(protocolError=hiredis.ProtocolError, replyError=on_error, notEnoughData=NOT_YET)


def encode(args: tuple[Value, ...]) -> bytes:
    """One command as bytes. Raises `TypeError` for values that are not `Value`, or for no verb at all."""
    if not args:
        raise TypeError("a command has at least a verb")
    if memoryview in map(type, args):  # hiredis sends the wrong bytes of one with gaps
        return _encode_slowly(args)
    try:
        return _pack(args)
    except TypeError:
        return _encode_slowly(args)


def encode_into(pieces: list[bytes], args: tuple[Value, ...]) -> int:
    """Append one command to `pieces`, whose concatenation is what goes out, to be answered in order.

    Raises `ValueError` for a command that a shared connection cannot take, and what `encode` raises.

    Returns:
        The command's size in bytes if it is above 256, else 0: small ones are bounded by their number.
    """
    if len(args) == 2:
        verb, key = args
        if type(key) is bytes and len(key) < _SHORT and (verb in HEADS or _learn(verb)):
            pieces += (HEADS[verb][len(key)], key, CRLF)
            return 0
    data = encode(args)
    if args[0] in _unshared or args[0] in _CLIENT:
        _refuse_unshared(args)
    pieces.append(data)
    size = len(data)
    return size if size > _SHORT else 0


def _learn(verb: Value) -> bool:
    """Prepare the heads of `verb` for keys of every short length."""
    if not isinstance(verb, str | bytes) or verb in _unshared or len(HEADS) >= _MAX_HEADS:
        return False
    name = verb.encode() if isinstance(verb, str) else verb
    HEADS[verb] = [b"*2\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, length) for length in range(_SHORT)]
    return True


def _refuse_unshared(args: tuple[Value, ...]) -> None:
    words = [
        value.decode("ascii", "replace") if isinstance(value, bytes) else str(value) for value in args[:2]
    ]
    words = [word.upper() for word in words]
    if words[0] in _UNSHARED or words == ["CLIENT", "REPLY"]:
        raise ValueError(
            f"{' '.join(words)} would change the connection for all who share it; "
            "use subscribe() for channels, a script for transactions, the URL for the rest"
        )


def _encode_slowly(args: tuple[Value, ...]) -> bytes:
    return _pack(tuple(as_bytes(value) for value in args))


def as_bytes(value: Value) -> bytes:
    """A value as it is sent. Raises `TypeError` for what is not a `Value`."""
    if isinstance(value, bool) or not isinstance(value, bytes | str | int | float | bytearray | memoryview):
        raise TypeError(
            f"a command is made of bytes, str, int and float, not {type(value).__name__}: convert it first"
        )
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(float(value)).encode()
    return bytes(value)
