"""Which slot of a cluster a command belongs to.

A key's slot is the CRC16 of its hash tag, modulo 16384 (Valkey's cluster specification). Where the keys
of a command stand is not guessed: the server's own COMMAND reply describes it for each.
"""

import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from twelvefold.engines.valkey.errors import CrossSlotError
from twelvefold.engines.valkey.wire import Value, as_bytes

SLOTS = 16_384


def key_slot(key: bytes) -> int:
    """0 to 16383. Only what stands between the first `{` and the next `}` counts, if it is not empty."""
    start = key.find(b"{") + 1
    if start:
        end = key.find(b"}", start)
        if end > start:
            key = key[start:end]
    return binascii.crc_hqx(key, 0) % SLOTS


class KeyFinder:
    """Finds the keys of commands.

    Args:
        commands: the reply to COMMAND.
    """

    def __init__(self, commands: Sequence[Sequence[Any]]) -> None:
        self._specs: dict[bytes, list[Any]] = {}
        self._has_one_key_first: set[Value] = set()
        for command in commands:
            verb = command[0].upper()
            self._specs[verb] = command[8]
            if _is_one_key_first(command[8]):
                text = verb.decode()
                self._has_one_key_first |= {verb, verb.lower(), text, text.lower()}
            for sub in command[9]:
                self._specs[sub[0].upper()] = sub[8]

    def slot(self, args: tuple[Value, ...]) -> int | None:
        """The one slot of a command, None if it names no key. Raises `CrossSlotError` naming the keys."""
        if len(args) > 1 and args[0] in self._has_one_key_first:
            return key_slot(as_bytes(args[1]))
        slot = None
        keys = self.keys(args)
        for key in keys:
            its_slot = key_slot(key)
            if slot is None:
                slot = its_slot
            elif its_slot != slot:
                shown = ", ".join(repr(key.decode("utf-8", "backslashreplace")) for key in keys[:5])
                raise CrossSlotError(
                    f"these keys live in different slots of the cluster: {shown}",
                    hint="give them one {hash tag}, or send one command for each",
                )
        return slot

    def keys(self, args: tuple[Value, ...]) -> list[bytes]:
        """The keys that a command names. One that the server does not know is taken to have its key first."""
        words = [as_bytes(value) for value in args]
        verb = words[0].upper()
        specs = self._specs.get(verb)
        if specs is None:
            return words[1:2]
        if not specs and len(words) > 1:
            specs = self._specs.get(verb + b"|" + words[1].upper(), [])
        return [words[at] for spec in specs for at in _positions(spec, words) if at < len(words)]


def _is_one_key_first(specs: list[Any]) -> bool:
    if len(specs) != 1:
        return False
    begin, find = specs[0][b"begin_search"], specs[0][b"find_keys"]
    is_first = begin[b"type"] == b"index" and begin[b"spec"][b"index"] == 1
    return bool(is_first and find[b"type"] == b"range" and find[b"spec"][b"lastkey"] == 0)


def _positions(spec: dict[bytes, Any], words: list[bytes]) -> Iterator[int]:
    """Where the keys of one key specification stand."""
    first = _begin(spec[b"begin_search"], words)
    if first is None:
        return
    find = spec[b"find_keys"]
    detail = find[b"spec"]
    step = detail.get(b"keystep", 1)
    if find[b"type"] == b"keynum":
        counted_at = first + detail[b"keynumidx"]
        count = int(words[counted_at]) if counted_at < len(words) and words[counted_at].isdigit() else 0
        first += detail[b"firstkey"]
        last = first + (count - 1) * step
    elif find[b"type"] == b"range":
        last, limit = detail[b"lastkey"], detail[b"limit"]
        if last >= 0:
            last += first
        elif limit <= 1:
            last += len(words)
        else:
            last += first + (len(words) - first) // limit
    else:
        return
    yield from range(first, last + 1, step)


def _begin(search: dict[bytes, Any], words: list[bytes]) -> int | None:
    detail = search[b"spec"]
    if search[b"type"] == b"index":
        return int(detail[b"index"])
    if search[b"type"] == b"keyword":
        keyword, start = detail[b"keyword"].upper(), detail[b"startfrom"]
        places = range(start, len(words)) if start > 0 else range(len(words) + start, 0, -1)
        for at in places:
            if words[at].upper() == keyword:
                return at + 1
    return None
