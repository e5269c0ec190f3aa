"""Frames by the book: every rule of RFC 6455 §5 that a client can break, and any cut of the bytes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from twelvefold.web.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAULT,
    PING,
    PONG,
    TEXT,
    Decoder,
    decode_close,
    encode,
    encode_close,
    split,
)

LIMIT = 1000


def masked(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x01\x02\x03\x04", size=None, width=None):
    """A client's frame; `size` and `width` lie about the length, `mask=None` leaves it unmasked."""
    length = len(payload) if size is None else size
    width = width or (7 if length < 126 else 16 if length < 1 << 16 else 64)
    first = bytes((0x80 * fin | rsv << 4 | opcode,))
    bit = 0x80 if mask else 0
    if width == 7:
        head = bytes((bit | length,))
    elif width == 16:
        head = bytes((bit | 126,)) + length.to_bytes(2)
    else:
        head = bytes((bit | 127,)) + length.to_bytes(8)
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if mask else payload
    return first + head + (mask or b"") + body


def decoded(*pieces, limit=LIMIT):
    decoder = Decoder(limit)
    events = []
    for piece in pieces:
        events += decoder.feed(piece)
        if events and events[-1][0] == FAULT:
            break
    return events


def fault_of(data, limit=LIMIT):
    events = decoded(data, limit=limit)
    assert events, "nothing happened"
    assert events[-1][0] == FAULT, events
    return events[-1][1][0]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000])
def test_a_message_of_any_length_comes_whole(size):
    payload = bytes(random.Random(size).randbytes(size))
    assert decoded(masked(BINARY, payload)) == [(BINARY, payload)]


def test_long_messages_use_all_three_length_forms():
    payload = b"x" * 70_000
    assert decoded(masked(BINARY, payload), limit=1 << 20) == [(BINARY, payload)]


def test_text_comes_as_text():
    assert decoded(masked(TEXT, "grüß 🦆".encode())) == [(TEXT, "grüß 🦆")]


def test_control_frames_may_stand_between_fragments():
    data = (
        masked(TEXT, b"a", fin=False) + masked(PING, b"p") + masked(CONTINUATION, b"b", fin=False)
        + masked(PONG) + masked(CONTINUATION, b"c")
    )  # fmt: skip
    assert decoded(data) == [(PING, b"p"), (PONG, b""), (TEXT, "abc")]


def test_a_character_may_be_cut_by_a_fragment():
    duck = "🦆".encode()
    data = masked(TEXT, duck[:1], fin=False) + masked(CONTINUATION, duck[1:3], fin=False)
    data += masked(CONTINUATION, duck[3:])
    assert decoded(data) == [(TEXT, "🦆")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(TEXT, rsv=1), 1002),
        (masked(TEXT, rsv=2), 1002),
        (masked(TEXT, rsv=4), 1002),
        (masked(TEXT, b"a", mask=None), 1002),
        (masked(3, b"a"), 1002),
        (masked(7, b"a"), 1002),
        (masked(11, b"a"), 1002),
        (masked(15, b"a"), 1002),
        (masked(PING, b"a", fin=False), 1002),
        (masked(CLOSE, b"", fin=False), 1002),
        (masked(PING, b"a" * 126), 1002),
        (masked(CONTINUATION, b"a"), 1002),
        (masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), 1002),
        (masked(TEXT, b"a", fin=False) + masked(BINARY, b"b"), 1002),
        (masked(TEXT, b"a", fin=False) + masked(CONTINUATION, b"b") + masked(CONTINUATION, b"c"), 1002),
        (masked(BINARY, b"a" * 5, width=16), 1002),
        (masked(BINARY, b"a" * 126, width=64), 1002),
        (masked(BINARY, b"", size=1 << 63, width=64), 1002),
        (masked(TEXT, b"\xff"), 1007),
        (masked(TEXT, b"\xed\xa0\x80"), 1007),
        (masked(TEXT, "🦆".encode()[:3]), 1007),
        (masked(TEXT, b"a", fin=False) + masked(CONTINUATION, b"\xc0\xaf"), 1007),
        (masked(TEXT, "🦆".encode()[:3], fin=False) + masked(CONTINUATION, b""), 1007),
        (masked(TEXT, "🦆".encode()[:3], fin=False) + masked(CONTINUATION, b"a", fin=False), 1007),
        (masked(BINARY, b"a" * (LIMIT + 1)), 1009),
        (masked(BINARY, b"", size=(1 << 63) - 1, width=64), 1009),
        (masked(BINARY, b"a" * 600, fin=False) + masked(CONTINUATION, b"a" * 401), 1009),
    ],
)
def test_what_breaks_the_protocol_is_a_fault_with_its_code(data, code):
    assert fault_of(data) == code


def test_a_fault_is_seen_before_the_payload_arrives():
    assert fault_of(masked(BINARY, b"", size=LIMIT + 1, width=16)) == 1009
    assert fault_of(masked(TEXT, b"\xff", fin=False)) == 1007


def test_messages_before_a_fault_are_delivered():
    assert decoded(masked(TEXT, b"a") + masked(3))[0] == (TEXT, "a")


def test_a_decoder_holds_no_more_than_the_largest_message():
    decoder = Decoder(LIMIT)
    frame = masked(BINARY, b"a" * LIMIT)
    for at in range(len(frame) - 1):
        assert decoder.feed(frame[at : at + 1]) == []
        assert len(decoder._buffer) <= LIMIT + 14
    assert decoder.feed(frame[-1:]) == [(BINARY, b"a" * LIMIT)]
    assert decoder._buffer is None


messages = st.lists(
    st.one_of(
        st.tuples(st.just(TEXT), st.text(max_size=300)),
        st.tuples(st.just(BINARY), st.binary(max_size=300)),
        st.tuples(st.sampled_from((PING, PONG)), st.binary(max_size=125)),
    ),
    max_size=8,
)


@given(messages=messages, seed=st.integers(0, 1 << 32))
def test_any_messages_in_any_fragments_and_packets_come_out_the_same(messages, seed):
    draw = random.Random(seed)
    data = b""
    expected = []
    for opcode, content in messages:
        payload = content.encode() if opcode == TEXT else content
        expected.append((opcode, content))
        mask = draw.randbytes(4)
        if opcode in (PING, PONG) or draw.random() < 0.5:
            data += masked(opcode, payload, mask=mask)
            continue
        cuts = sorted(draw.randrange(len(payload) + 1) for _ in range(draw.randrange(4)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for index, part in enumerate(parts):
            kind = opcode if index == 0 else CONTINUATION
            data += masked(kind, part, fin=index == len(parts) - 1, mask=mask)
    pieces = []
    while data:
        cut = draw.randrange(1, len(data) + 1)
        pieces.append(data[:cut])
        data = data[cut:]
    assert decoded(*pieces) == expected


@given(data=st.binary(max_size=200))
def test_no_bytes_whatsoever_break_the_decoder(data):
    for kind, _ in decoded(data):
        assert kind in (TEXT, BINARY, PING, PONG, CLOSE, FAULT)


@given(data=st.binary(max_size=70_000), opcode=st.sampled_from((TEXT, BINARY, PING)))
def test_our_frames_are_those_of_another_implementation(data, opcode):
    if opcode == PING:
        data = data[:125]
    theirs = Frame(Opcode(opcode), data).serialize(mask=False)
    assert encode(opcode, data) == theirs
    assert split(theirs + encode(PING, b"")) == [(opcode, data), (PING, b"")]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999])
def test_close_codes_that_may_be_sent_are_read(code):
    assert decode_close(code.to_bytes(2) + "tschüß".encode()) == (code, "tschüß")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_close_codes_that_may_not_be_sent_are_faults(code):
    assert decode_close(code.to_bytes(2)) is None


def test_a_close_frame_has_no_code_or_a_whole_one_and_a_readable_reason():
    assert decode_close(b"") == (1005, "")
    assert decode_close(b"\x03") is None
    assert decode_close(b"\x03\xe8\xff") is None


def test_a_long_reason_is_cut_between_characters():
    frame = encode_close(1000, "ä" * 100)
    assert frame[1] == 2 + 122
    assert decode_close(frame[2:]) == (1000, "ä" * 61)
