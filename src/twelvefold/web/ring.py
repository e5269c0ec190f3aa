"""Many sends in one system call, by Linux's io_uring.

A fan-out sends to a thousand sockets, and a busy turn of the loop to a hundred: to enter the kernel for each
of them costs more than Python does. Here all requests of a turn are laid out in memory that the kernel shares,
and handed over together.
Invariant: when a call returns, the kernel is done with all that it was given. What a socket does not take at
once is answered, never waited for (`MSG_DONTWAIT`); so the bytes need to live no longer than the call. Where
the kernel, or whoever guards it, forbids io_uring, `SendRing.open` gives None, and one writes to each socket.
Source: io_uring(7), io_uring_enter(2); Axboe, "Efficient IO with io_uring", 2019.
"""

import ctypes
import mmap
import os
import socket
import struct
import weakref
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Self

import structlog

log = structlog.get_logger("web")

REQUESTS: Final = 256
"""How many go to the kernel at once; a power of two."""

_SETUP: Final = 425
_ENTER: Final = 426
"""System calls; these two have the same numbers on every architecture."""

_SINGLE_MMAP: Final = 1 << 0
_CQE_SKIP: Final = 1 << 11
"""Of Linux 5.17: any that has it heeds `MSG_DONTWAIT` by an answer at once."""

_GETEVENTS: Final = 1
_OP_SEND: Final = 26
_OFF_RINGS: Final = 0
_OFF_REQUESTS: Final = 0x10000000
_PARAMS: Final = struct.Struct("<7I 12x 10I 10I")
_REQUEST: Final = struct.Struct("<B3xi8xQII Q 24x")
"""Operation; socket; address, length and flags of the message; what comes back with the answer."""

_REQUEST_BYTES: Final = 64
_ANSWER_BYTES: Final = 16
_INT: Final = 4
_MODULO: Final = 1 << 32

_libc = ctypes.CDLL(None, use_errno=True)


class SendRing:
    """See the module. Of one thread.

    Made by `open`. It holds about 40 KB and a file descriptor, both freed with it.
    """

    def __init__(self, fd: int, params: bytes) -> None:
        self._finalizer = weakref.finalize(self, os.close, fd)
        self._fd = fd
        entries, answers, _, _, _, features, _, *offsets = _PARAMS.unpack(params)
        sq_head, sq_tail, _, _, _, _, sq_array = offsets[:7]
        cq_head, cq_tail, _, _, _, cqes = offsets[10:16]
        if not (features & _SINGLE_MMAP and features & _CQE_SKIP):
            raise OSError("this kernel's io_uring is too old")
        self._size = entries
        self._answer_mask = answers - 1
        rings_bytes = max(sq_array + entries * _INT, cqes + answers * _ANSWER_BYTES)
        shared = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self._rings = mmap.mmap(fd, rings_bytes, shared, offset=_OFF_RINGS)
        self._requests = mmap.mmap(fd, entries * _REQUEST_BYTES, shared, offset=_OFF_REQUESTS)
        words = memoryview(self._rings).cast("I")
        for index in range(entries):
            words[sq_array // _INT + index] = index
        self._words = words
        self._sq_head, self._sq_tail = sq_head // _INT, sq_tail // _INT
        self._cq_head, self._cq_tail = cq_head // _INT, cq_tail // _INT
        answers_view = memoryview(self._rings)[cqes : cqes + answers * _ANSWER_BYTES]
        self._names = answers_view.cast("Q")[::2]
        self._results = answers_view.cast("i")[2::4]
        for index in range(entries):
            request = _REQUEST.pack(_OP_SEND, -1, 0, 0, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, index)
            self._requests[index * _REQUEST_BYTES : (index + 1) * _REQUEST_BYTES] = request
        view = memoryview(self._requests)
        self._sockets = view.cast("i")[1::16]
        self._addresses = view.cast("Q")[2::8]
        self._lengths = view.cast("I")[6::16]

    @classmethod
    def open(cls) -> Self | None:
        """A ring that was tried; None where there is none to be had."""
        params = ctypes.create_string_buffer(_PARAMS.size)
        fd = _libc.syscall(_SETUP, REQUESTS, params)
        if fd < 0:
            log.info("web.ring.none", reason=os.strerror(ctypes.get_errno()))
            return None
        try:
            ring = cls(fd, params.raw)
            ring._try()
        except OSError as error:
            log.info("web.ring.none", reason=str(error))
            return None
        return ring

    def _try(self) -> None:
        """Whether it sends, and does not wait for a socket that is full; raises `OSError`."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            if self.send_all([ours.fileno()], b"?") or theirs.recv(2) != b"?":
                raise OSError("this kernel's io_uring does not send")
            full = bytes(1 << 16)
            while not self.send_all([ours.fileno()], full):
                pass
            if self.send_all([ours.fileno()], full) != [(0, 0)]:
                raise OSError("this kernel's io_uring waits for a socket that is full")

    # -- sending --------------------------------------------------------------------------------

    def send_all(self, fds: Sequence[int], data: bytes) -> list[tuple[int, int]]:
        """Send the same bytes to each of these sockets.

        Returns:
            Who did not take them whole: the place in `fds`, and how many bytes it took.
        """
        address = _address_of(data)
        length = len(data)
        short: list[tuple[int, int]] = []
        for start in range(0, len(fds), self._size):
            part = array("i", fds[start : start + self._size])
            count = len(part)
            self._lay(part, array("Q", [address]) * count, array("I", [length]) * count)
            short += self._hand_over(count, array("i", [length]) * count, start)
        return short

    def send_each(self, fds: Sequence[int], datas: Sequence[bytes]) -> list[tuple[int, int]]:
        """Send to each of these sockets bytes of its own. Returns as `send_all`; a socket stands there once."""
        short: list[tuple[int, int]] = []
        for start in range(0, len(fds), self._size):
            part = datas[start : start + self._size]
            lengths = array("i", map(len, part))
            joined = b"".join(part)
            addresses = array("Q", accumulate(lengths, initial=_address_of(joined)))
            addresses.pop()
            self._lay(array("i", fds[start : start + self._size]), addresses, array("I", lengths))
            short += self._hand_over(len(part), lengths, start)
        return short

    def _lay(self, fds: "array[int]", addresses: "array[int]", lengths: "array[int]") -> None:
        """Fill in the requests, from where the kernel reads next."""
        first = self._words[self._sq_tail] & (self._size - 1)
        _put(self._sockets, first, fds)
        _put(self._addresses, first, addresses)
        _put(self._lengths, first, lengths)

    def _hand_over(self, count: int, lengths: "array[int]", start: int) -> list[tuple[int, int]]:
        words = self._words
        tail = words[self._sq_tail]
        words[self._sq_tail] = (tail + count) % _MODULO
        handed = 0
        while handed < count:
            # It stops early at a request that it cannot even begin, and has answered it then.
            found = _libc.syscall(_ENTER, self._fd, count - handed, count - handed, _GETEVENTS, None, 0)
            if found <= 0:
                break
            handed += found
        # What it would not take is taken back, for its bytes do not outlive this call.
        words[self._sq_tail] = words[self._sq_head]
        return self._collect(tail, count, lengths, start)

    def _collect(self, tail: int, count: int, lengths: "array[int]", start: int) -> list[tuple[int, int]]:
        words = self._words
        head = words[self._cq_head]
        found = (words[self._cq_tail] - head) % _MODULO
        first = head & self._answer_mask
        if found == count and _cut(self._results, first, found) == lengths.tobytes():
            words[self._cq_head] = (head + found) % _MODULO
            return []
        taken = [0] * count
        for index in range(first, first + found):
            place = (self._names[index & self._answer_mask] - tail) & (self._size - 1)
            taken[place] = max(0, self._results[index & self._answer_mask])
        words[self._cq_head] = (head + found) % _MODULO
        return [
            (start + place, some)
            for place, (some, all_of_it) in enumerate(zip(taken, lengths, strict=True))
            if some < all_of_it
        ]


def _address_of(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _put(view: memoryview, first: int, values: "array[int]") -> None:
    """Write to a ring from a place on, around its end."""
    room = len(view) - first
    if len(values) <= room:
        view[first : first + len(values)] = values
    else:
        view[first:] = values[:room]
        view[: len(values) - room] = values[room:]


def _cut(view: memoryview, first: int, count: int) -> bytes:
    """Read from a ring from a place on, around its end."""
    room = len(view) - first
    if count <= room:
        return view[first : first + count].tobytes()
    return view[first:].tobytes() + view[: count - room].tobytes()
