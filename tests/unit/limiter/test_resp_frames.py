"""Commands out of bytes: whatever a key contains and wherever a read tears it, and nothing large is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.systems.limiter.compat.resp_frames import CommandReader, UnreadableError


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def read(*reads: bytes) -> list[list[bytes]]:
    reader, found = CommandReader(), []
    for data in reads:
        reader.feed(data)
        while (each := reader.gets()) is not None:
            found.append(each)
    return found


HOSTILE = st.sampled_from([b"\n$100000", b"*99999\r\n", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"$-1\r\n", b""])
PARTS = st.lists(st.one_of(st.binary(max_size=30), HOSTILE), min_size=1, max_size=7)


@given(st.lists(PARTS, min_size=1, max_size=5), st.data())
def test_commands_come_out_as_they_went_in_wherever_reads_tear_them(
    commands: list[list[bytes]], data: st.DataObject
) -> None:
    stream = b"".join(command(*parts) for parts in commands)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reads = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*reads) == commands


def test_a_torn_command_is_known_to_wait_even_behind_a_whole_one() -> None:
    reader = CommandReader()
    reader.feed(command(b"PING") + b"*2\r\n$4\r\nPING\r\n$20\r\n")
    assert (reader.gets(), reader.gets()) == ([b"PING"], None)
    assert reader.waiting_bytes == 19


def test_empty_arrays_are_passed_over_as_redis_does() -> None:
    assert read(b"*0\r\n*-1\r\n" + command(b"PING")) == [[b"PING"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PING\r\n", "array of texts"),
        (b"*1\r\n:5\r\n", "array of texts"),
        (b"*1\r\n$-1\r\n", "array of texts"),
        (b"*1\r\n$4\r\nPINGxx", "array of texts"),
        (b"*x\r\n", "array of texts"),
        (b"*1000000000\r\n", "larger"),
        (b"*129\r\n", "larger"),
        (b"*1\r\n$10000\r\n", "larger"),
    ],
)
def test_what_is_no_command_or_too_large_is_said_before_it_is_kept(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read(command(b"PING") + data)
