"""Commands out of a stream of bytes: arrays of texts, as Redis clients send them.

The bytes of a key are skipped by their length and never looked into, so no key can pass for a header, whatever it
contains and wherever a read tears it. What is not whole yet waits here; sizes are judged before anything is kept.
"""

from typing import Final

_MAX_PARTS: Final = 128
_MAX_DIGITS: Final = 4
_HEADER: Final = 1 + _MAX_DIGITS + 2
_ARRAY, _TEXT = b"*$"
_SIZES: Final = {b"$%d" % size: size for size in range(100)}
_NO_COMMAND: Final = "Protocol error: a command is an array of texts"
_TOO_LARGE: Final = "a command, or a part of one, is larger than this server takes"


class UnreadableError(ValueError):
    """The stream cannot be read on; the message is for the client."""


class CommandReader:
    """`feed` takes what was read, `gets` gives whole commands; like hiredis, but for commands only."""

    __slots__ = ("_at", "_data", "waiting_bytes")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self.waiting_bytes = 0
        """Of a torn command, as of the last time that `gets` had none to give."""

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

    def gets(self) -> list[bytes] | None:
        """The next whole command; None: not yet. Raises `UnreadableError`."""
        command = self._next()
        if command is None:  # what was given is not kept while a connection rests
            self._data = self._data[self._at :]
            self._at = 0
            self.waiting_bytes = len(self._data)
        return command

    def _next(self) -> list[bytes] | None:
        data, end = self._data, len(self._data)
        find = data.find
        while self._at < end:
            count, at = self._header(self._at, _ARRAY)
            if at == 0:
                return None
            if count > _MAX_PARTS:
                raise UnreadableError(_TOO_LARGE)
            parts: list[bytes] = []
            for _ in range(count):
                stop = find(b"\r\n", at, at + _HEADER)
                size = _SIZES.get(data[at:stop], -1) if stop > 0 else -1
                begin = stop + 2
                if size < 0:  # long, torn or wrong
                    size, begin = self._header(at, _TEXT)
                    if size < 0:
                        raise UnreadableError(_NO_COMMAND)
                behind = begin + size
                at = behind + 2
                if begin == 0 or at > end:
                    return None
                if data[behind:at] != b"\r\n":
                    raise UnreadableError(_NO_COMMAND)
                parts.append(data[begin:behind])
            self._at = at
            if parts:  # an empty array is no command, and no fault, as in Redis
                return parts
        return None

    def _header(self, at: int, kind: int) -> tuple[int, int]:
        """The number of a header at `at`, and where it ends; there 0: it is not whole."""
        data = self._data
        if at >= len(data):
            return 0, 0
        if data[at] != kind:
            raise UnreadableError(_NO_COMMAND)
        stop = data.find(b"\r\n", at, at + _HEADER)
        if stop > 0:
            digits = data[at + 1 : stop]
            if not digits.isdigit() and digits != b"-1":
                raise UnreadableError(_NO_COMMAND)
            return int(digits), stop + 2
        if len(data) - at >= _HEADER:
            raise UnreadableError(_TOO_LARGE if data[at + 1 : at + _HEADER - 1].isdigit() else _NO_COMMAND)
        return 0, 0
