"""Many sends in one system call: each socket gets its bytes once, and what one does not take is told.

Where the machine forbids io_uring there is nothing to promise here; what the hub promises without it is beside
the hub's other tests.
"""

import ctypes
import os
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from twelvefold.web.ring import REQUESTS, SendRing

Pair = tuple[socket.socket, socket.socket]


def rings() -> list[SendRing]:
    """One; none only where the kernel has none for us."""
    ring = SendRing.open()
    if ring is None:
        version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
        assert version < (5, 17) or ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)) < 0
        return []
    return [ring]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """More than go to the kernel at once."""
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(REQUESTS + 44)]
        for ours, theirs in made:
            stack.enter_context(ours).setblocking(False)
            stack.enter_context(theirs).setblocking(False)
        yield made


def taken(theirs: socket.socket) -> bytes:
    parts = []
    with suppress(BlockingIOError):
        while part := theirs.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def fill(ours: socket.socket) -> None:
    with suppress(BlockingIOError):
        while ours.send(b"waiting"):
            pass


def test_everybody_gets_the_same_bytes_once_in_the_order_of_the_calls(pairs: list[Pair]) -> None:
    fds = [ours.fileno() for ours, _ in pairs]
    for ring in rings():
        for number in range(20):
            assert ring.send_all(fds, b"%d;" % number) == []
        wanted = b"".join(b"%d;" % number for number in range(20))
        assert [taken(theirs) for _, theirs in pairs] == [wanted] * len(pairs)


def test_everybody_gets_bytes_of_their_own(pairs: list[Pair]) -> None:
    fds = [ours.fileno() for ours, _ in pairs]
    for ring in rings():
        for turn in range(7):
            assert ring.send_each(fds, [b"%d.%d;" % (turn, place) for place in range(len(fds))]) == []
        for place, (_, theirs) in enumerate(pairs):
            assert taken(theirs) == b"".join(b"%d.%d;" % (turn, place) for turn in range(7))


def test_who_takes_a_part_who_is_full_and_who_has_gone_is_told_and_nobody_else_notices(
    pairs: list[Pair],
) -> None:
    data = bytes(range(256)) * 4096  # more than a socket holds
    gone, full = 3, REQUESTS + 5
    for ring in rings():
        pairs[gone][1].close()
        fds = [ours.fileno() for ours, _ in pairs]
        fill(pairs[full][0])
        short = dict(ring.send_all(fds, data))
        assert short[gone] == short[full] == 0
        assert set(short) == set(range(len(pairs)))
        for place, (_, theirs) in enumerate(pairs):
            if place not in (gone, full):
                assert taken(theirs) == data[: short[place]]
        assert ring.send_all([ours.fileno() for ours, _ in pairs[4:20]], b"next") == []
        assert all(taken(theirs) == b"next" for _, theirs in pairs[4:20])


def test_a_number_that_is_no_socket_does_not_keep_the_others_from_theirs(pairs: list[Pair]) -> None:
    fds = [ours.fileno() for ours, _ in pairs]
    fds[7] = 1 << 20
    fds[-1] = -1
    for ring in rings():
        assert ring.send_all(fds, b"hello") == [(7, 0), (len(fds) - 1, 0)]
        got = [taken(theirs) for _, theirs in pairs]
        assert got == [b"" if place in (7, len(fds) - 1) else b"hello" for place in range(len(fds))]


def test_a_process_that_gets_no_ring_is_told_so_and_nothing_else_happens() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as some:
        resource.setrlimit(resource.RLIMIT_NOFILE, (some.fileno(), hard))
        try:
            assert SendRing.open() is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_ring_that_is_not_needed_any_more_gives_its_descriptor_back() -> None:
    with socket.socket() as probe:
        lowest = probe.fileno()
    for _ in range(3):
        rings()
    with socket.socket() as probe:
        assert probe.fileno() == lowest
