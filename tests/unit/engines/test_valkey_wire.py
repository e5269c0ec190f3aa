"""Encoding and parsing, on bytes alone."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.engines.valkey import wire
from twelvefold.engines.valkey.errors import ReplyError, ServerStateError, reply_error_factory

VALUES = st.one_of(
    st.binary(max_size=600),
    st.text(max_size=300).filter(lambda text: not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(max_size=40).map(bytearray),
    st.binary(max_size=40).map(memoryview),
    st.binary(max_size=40).map(lambda data: memoryview(data)[::2]),
)


def plainly(args: tuple[wire.Value, ...]) -> bytes:
    """The protocol's definition, written without regard to speed."""
    out = b"*%d\r\n" % len(args)
    for value in args:
        if isinstance(value, str):
            data = value.encode()
        elif isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
        else:
            data = repr(value).encode()
        out += b"$%d\r\n%b\r\n" % (len(data), data)
    return out


@given(st.sampled_from(["GET", b"GET", "get", "SET", "INCR"]), st.lists(VALUES, max_size=6))
def test_commands_are_encoded_as_the_protocol_defines(verb: str | bytes, rest: list[wire.Value]) -> None:
    args = (verb, *rest)
    pieces: list[bytes] = []
    size_bytes = wire.encode_into(pieces, args)
    expected = plainly(args)
    assert b"".join(pieces) == wire.encode(args) == expected
    assert size_bytes in (0, len(expected))
    assert size_bytes or len(expected) <= 600, "a large command was not counted"


@pytest.mark.parametrize("value", [None, True, False, [], {}, object(), 1j])
def test_values_that_have_no_one_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="convert it first"):
        wire.encode_into([], ("SET", "key", value))  # type: ignore[arg-type] # the refusal is the point


def test_a_command_without_a_verb_is_refused() -> None:
    with pytest.raises(TypeError, match="verb"):
        wire.encode_into([], ())


@pytest.mark.parametrize(
    "args",
    [("SUBSCRIBE", b"news"), ("subscribe", "news"), (b"MONITOR",), ("MULTI",), ("CLIENT", "REPLY", "OFF"),
     ("client", b"reply", "skip"), ("SELECT", 1), ("HELLO", 2), ("WATCH", b"key")],
)  # fmt: skip
def test_commands_that_change_the_connection_for_all_are_refused(args: tuple[wire.Value, ...]) -> None:
    pieces: list[bytes] = []
    with pytest.raises(ValueError, match="all who share it"):
        wire.encode_into(pieces, args)
    assert pieces == []


def test_client_commands_that_harm_nobody_pass() -> None:
    pieces: list[bytes] = []
    wire.encode_into(pieces, ("CLIENT", "ID"))
    wire.encode_into(pieces, ("CLIENT", b"LIST"))
    assert b"".join(pieces) == plainly(("CLIENT", "ID")) + plainly(("CLIENT", "LIST"))


REPLIES: list[tuple[bytes, object]] = [
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", -7),
    (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
    (b"$0\r\n\r\n", b""),
    (b"_\r\n", None),
    (b"$-1\r\n", None),
    (b",1.5\r\n", 1.5),
    (b"#t\r\n", True),
    (b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", [1, [b"x"]]),
    (b"%1\r\n$1\r\nk\r\n:1\r\n", {b"k": 1}),
    (b"~1\r\n:1\r\n", [1]),
    (b"=7\r\ntxt:abc\r\n", b"abc"),
]


@pytest.mark.parametrize("cut", range(1, sum(len(data) for data, _ in REPLIES)))
def test_replies_are_the_same_wherever_the_bytes_are_cut(cut: int) -> None:
    stream = b"".join(data for data, _ in REPLIES)
    reader = wire.make_reader(reply_error_factory("valkey"))
    got = []
    for part in (stream[:cut], stream[cut:]):
        reader.feed(part)
        while (reply := reader.gets()) is not wire.NOT_YET:
            got.append(reply)
    assert got == [value for _, value in REPLIES]


def test_error_replies_become_exceptions_by_their_kind() -> None:
    reader = wire.make_reader(reply_error_factory("cache"))
    reader.feed(b"-WRONGTYPE not a list\r\n-LOADING wait\r\n*1\r\n-ERR inside\r\n")
    wrong, loading, inside = reader.gets(), reader.gets(), reader.gets()[0]
    assert isinstance(wrong, ReplyError)
    assert (wrong.reply_code, wrong.message, str(wrong)) == (
        "WRONGTYPE",
        "not a list",
        "WRONGTYPE not a list",
    )
    assert isinstance(loading, ServerStateError)
    assert (loading.engine, loading.reply_code) == ("cache", "LOADING")
    assert inside.reply_code == "ERR"


def test_malformed_bytes_raise() -> None:
    reader = wire.make_reader(reply_error_factory("valkey"))
    reader.feed(b"what\r\n")
    with pytest.raises(hiredis.ProtocolError):
        reader.gets()
