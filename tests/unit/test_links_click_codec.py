"""A batch comes back as it was sent, and nothing else is taken for one."""

import struct
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.click_contexts import Context, contexts_of

from twelvefold.systems.links import click_codec
from twelvefold.systems.links.click_codec import MalformedClickBatchError, decode, encode


def rows(batch):
    contexts = contexts_of(batch.contexts)
    return [
        (ts, link, contexts[index].client, contexts[index].tail)
        for ts, link, index in zip(batch.timestamps, batch.link_ids, batch.context_indices, strict=True)
    ]


contexts = st.builds(Context, client=st.text(max_size=20), tail=st.binary(max_size=200))
clicks = st.lists(contexts, min_size=1, max_size=5).flatmap(
    lambda table: st.lists(
        st.tuples(
            st.floats(0, 4e9),
            st.integers(-(2**63), 2**63 - 1),
            st.sampled_from(table),
        ),
        min_size=1,
        max_size=40,
    )
)


@settings(deadline=None)
@given(clicks)
def test_clicks_come_back_in_order_with_their_contexts(sent):
    assert rows(decode(encode(sent))) == [(ts, link, c.client, c.tail) for ts, link, c in sent]


def test_a_context_shared_by_many_clicks_is_stored_once():
    shared = Context("192.0.2.1", b" HTTP/1.1\r\nHost: a\r\n\r\n")
    batch = decode(encode([(1.0, link, shared) for link in range(1000)]))
    assert len(batch.contexts) == 1
    assert len(batch) == 1000


def test_an_empty_batch_is_not_encoded():
    with pytest.raises(ValueError, match="1 to"):
        encode([])


@settings(deadline=None)
@given(clicks, st.data())
def test_any_single_changed_byte_is_noticed(sent, data):
    raw = bytearray(encode(sent))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    if at in (6, 7):  # the reserved field may change meaning in a later version
        return
    with pytest.raises(MalformedClickBatchError):
        decode(bytes(raw))


@settings(deadline=None)
@given(clicks, st.data())
def test_a_cut_or_padded_batch_is_noticed(sent, data):
    raw = encode(sent)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(MalformedClickBatchError):
        decode(raw[:cut])
    with pytest.raises(MalformedClickBatchError):
        decode(raw + b"\0")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused_by_name(raw):
    with pytest.raises(MalformedClickBatchError):
        decode(raw)


def table_of(clients, sizes, tails):
    return msgspec.msgpack.encode([clients, struct.pack(f"<{len(sizes)}I", *sizes), tails])


def forged(*, clicks=1, contexts=1, ts=1.0, index=0, version=2, table=None):
    """A batch with a right checksum and chosen content."""
    table = table_of(["c"], [1], b"t") if table is None else table
    body = struct.pack("<dqI", ts, 7, index) + table
    return (
        struct.pack("<4sHHIIII", b"TFCB", version, 0, clicks, contexts, len(table), zlib.crc32(body)) + body
    )


@pytest.mark.parametrize(
    ("forgery", "reason"),
    [
        ({"version": 1}, "version 1"),
        ({"clicks": 0}, "1 to"),
        ({"clicks": click_codec.MAX_CLICKS + 1}, "1 to"),
        ({"clicks": 2}, "announces"),
        ({"contexts": 2}, "2 contexts announced"),
        ({"index": 1}, "context 1 of 1"),
        ({"ts": float("nan")}, "not a number"),
        ({"ts": float("inf")}, "not a number"),
        ({"table": b"\xc1"}, "cannot be read"),
        ({"table": msgspec.msgpack.encode([["c"]])}, "cannot be read"),
        ({"table": table_of(["c"], [1, 1], b"t\nt")}, "sizes do not fit"),
        ({"table": table_of(["c"], [2], b"t")}, "sizes do not fit"),
        ({"table": table_of(["c"], [], b"")}, "sizes do not fit"),
    ],
)
def test_a_batch_that_was_written_wrong_says_what_is_wrong(forgery, reason):
    assert rows(decode(forged())) == [(1.0, 7, "c", b"t")]
    with pytest.raises(MalformedClickBatchError, match=reason):
        decode(forged(**forgery))
