"""Columns say the same as one click after the other would."""

import hashlib
from collections import Counter
from pathlib import Path

import datasketches
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.click_contexts import Context

from twelvefold.systems.links import visits
from twelvefold.systems.links.click_batches import hour_counts
from twelvefold.systems.links.click_codec import decode, encode
from twelvefold.systems.links.click_enrichment import HOUR_MS, ClickFact, Enricher
from twelvefold.systems.links.visitors import (
    estimate_visitors,
    hash_key,
    sip_hash,
    sketch_of,
)
from twelvefold.systems.links.visits import Countries, VisitReader

MIDNIGHT = 1_795_392_000  # seconds; 2026-11-23T00:00:00Z
ANDROID = b"Mozilla/5.0 (Linux; Android 14; SM-A15) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36"
FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/119.0"


class ByFirstByte(Countries):
    """Addresses of a made-up world: the first number is the country."""

    def __init__(self):
        super().__init__(Path("/nonexistent"))

    def of(self, address):
        return f"C{address.partition('.')[0]}" if address else ""


def key_of_day(day):
    return b"secret of day %d" % day


def enricher(**kwargs):
    return Enricher(VisitReader(ByFirstByte(), **kwargs), key_of_day)


def person(client="1.2.3.4", agent=FIREFOX, extra=b""):
    return Context(client, b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + agent + b"\r\n" + extra + b"\r\n")


def enrich(*batches, **kwargs):
    return enricher(**kwargs).enrich([decode(encode(batch)) for batch in batches])


lines = st.sampled_from(
    [
        b"User-Agent: " + ANDROID,
        b"user-agent:" + FIREFOX,
        b"USER-AGENT: curl/8",
        b"User-Agent: WhatsApp/2",
        b"Referer: https://www.a.example/",
        b"Referer: https://a.example/other",
        b"referer: https://b.example",
        b"Referer:",
        b"Accept-Language: de-AT",
        b"accept-language: fr;q=0.1,de",
        b"Accept-Languages: xx",
        b"Purpose: prefetch",
        b"X-Moz: prefetch",
        b"X-Moz:prefetch",
        b"X-Purpose: nothing",
        b"X-Forwarded-For: 7.7.7.7",
        b"X-Forwarded-For: 8.8.8.8, ::ffff:9.9.9.9",
        b"X-Forwarded-Proto: https",
        b"Cookie: User-Agent: x",
        b" HTTP/1.1",
        b"",
        b"\0\0\0\0\0\0\0\0\0",
        b"\xff\xfe",
    ]
)
tails = st.one_of(
    st.lists(lines, max_size=8).map(lambda some: b"\r\n".join([b" HTTP/1.1", *some, b"", b""])),
    st.lists(lines, max_size=4).map(b"\n".join),
    st.binary(max_size=60),
)
contexts = st.builds(Context, st.sampled_from(["1.2.3.4", "::ffff:2.0.0.1", "[::1]:9", "", "x"]), tails)
batches = st.lists(
    st.lists(
        st.tuples(st.integers(-3, 3).map(lambda n: MIDNIGHT + n * 1800.5), st.integers(1, 3), contexts),
        min_size=1,
        max_size=12,
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(batches, st.integers(0, 2))
def test_columns_say_what_each_head_says(sent, hops):
    enriched = enrich(*sent, trusted_hops=hops)
    reader = VisitReader(ByFirstByte(), trusted_hops=hops)
    clicks = [click for batch in sent for click in batch]
    assert len(enriched) == len(clicks)
    for (seconds, link_id, context), fact in zip(clicks, enriched.facts(), strict=True):
        visit = reader.read(context.client, context.tail)
        assert fact == ClickFact(
            ts_ms=round(seconds * 1000),
            link_id=link_id,
            country=visit.country,
            referrer=visit.referrer,
            device=visit.device,
            browser=visit.browser,
            os=visit.os,
            language=visit.language,
            bot=visit.bot,
            preview=visit.preview,
            visitor=fact.visitor,
        )
        assert (fact.visitor == 0) == (visit.bot or visit.preview)


@settings(max_examples=60, deadline=None)
@given(batches.filter(bool))
def test_counts_are_those_of_a_loop_over_facts(sent):
    enriched = enrich(*sent)
    clicks, bots = Counter(), Counter()
    for fact in enriched.facts():
        (bots if fact.bot or fact.preview else clicks)[fact.link_id, fact.ts_ms // HOUR_MS] += 1
    slots = sorted(clicks.keys() | bots.keys())
    assert list(hour_counts(enriched)) == [(*slot, clicks[slot], bots[slot]) for slot in slots]


def visitor(context, *, link_id=1, seconds=MIDNIGHT + 5, key=key_of_day):
    reader = VisitReader(ByFirstByte())
    return Enricher(reader, key).enrich([decode(encode([(seconds, link_id, context)]))]).visitors[0]


def test_a_visitor_is_the_same_within_a_link_and_a_day_and_nowhere_else():
    same = visitor(person())
    assert visitor(person(extra=b"Referer: https://elsewhere.example\r\n")) == same
    assert visitor(person("::ffff:1.2.3.4")) == same
    assert visitor(person(), seconds=MIDNIGHT + 86_399) == same
    others = [
        visitor(person("1.2.3.5")),
        visitor(person(agent=ANDROID)),
        visitor(person(), link_id=2),
        visitor(person(), seconds=MIDNIGHT + 86_400),
        visitor(person(), seconds=MIDNIGHT - 0.001),
        visitor(person(), key=lambda _: b"another secret"),
    ]
    assert len({same, *others}) == 7


def test_addresses_do_not_leave_the_enricher():
    enriched = enrich([(MIDNIGHT, 1, person("203.0.113.77"))])
    assert "203.0.113.77" not in repr(enriched.facts())
    assert "203.0.113.77" not in repr(enriched.columns())


def test_nothing_gives_nothing():
    enriched = enrich()
    assert len(enriched) == 0
    assert enriched.facts() == []


def test_caches_that_are_full_change_nothing(monkeypatch):
    monkeypatch.setattr(visits, "CACHED_LINES", 20)
    monkeypatch.setattr(visits, "CACHED_ADDRESSES", 20)
    one = enricher()
    for batch in range(10):
        clicks = [
            (
                MIDNIGHT,
                n,
                person(f"{n}.0.0.{batch}", b"Firefox/%d" % n, b"Referer: https://r%d.example\r\n" % n),
            )
            for n in range(1, 31)
        ]
        facts = one.enrich([decode(encode(clicks))]).facts()
        assert [(fact.country, fact.referrer) for fact in facts] == [
            (f"C{n}", f"r{n}.example") for n in range(1, 31)
        ]


def test_chosen_facts_are_those_of_the_rows_asked_for():
    enriched = enrich([(MIDNIGHT + n, n, person()) for n in range(10)])
    assert [fact.link_id for fact in enriched.facts(slice(-3, None))] == [7, 8, 9]


# Hashes and sketches.


def reference_sip_hash(key, message):
    """SipHash-2-4 as its paper writes it, one byte string at a time."""
    mask = (1 << 64) - 1
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotated(x, bits):
        return (x << bits | x >> (64 - bits)) & mask

    def compress():
        v[0] = (v[0] + v[1]) & mask
        v[1] = rotated(v[1], 13) ^ v[0]
        v[0] = rotated(v[0], 32)
        v[2] = (v[2] + v[3]) & mask
        v[3] = rotated(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & mask
        v[3] = rotated(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & mask
        v[1] = rotated(v[1], 17) ^ v[2]
        v[2] = rotated(v[2], 32)

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        compress()
        compress()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        compress()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_hash_is_siphash_by_its_authors_vectors():
    key = bytes(range(16))
    assert reference_sip_hash(key, bytes(range(15))) == 0xA129CA6149BE45E5  # the paper's own example
    for size, expected in ((8, 0x93F5F5799A932462), (16, 0x3F2ACC7F57C29BDB)):
        words = np.frombuffer(bytes(range(size)), dtype=np.uint64)
        assert sip_hash(key, [words[n : n + 1] for n in range(len(words))])[0] == expected


@settings(deadline=None)
@given(
    st.binary(min_size=16, max_size=16), st.lists(st.binary(min_size=40, max_size=40), min_size=1, max_size=9)
)
def test_the_hash_of_a_column_is_the_hash_of_each_row(key, messages):
    words = np.frombuffer(b"".join(messages), dtype=np.uint64).reshape(-1, 5).T
    assert sip_hash(key, list(words)).tolist() == [reference_sip_hash(key, message) for message in messages]


def test_a_key_is_made_of_a_secret_of_any_length():
    assert {len(hash_key(secret)) for secret in (b"", b"short", b"x" * 500)} == {16}
    assert hash_key(b"a") != hash_key(b"b") != hashlib.blake2b(b"b", digest_size=16).digest()


def test_few_visitors_are_counted_exactly_and_many_within_two_percent_of_error():
    draw = np.random.default_rng(7)
    few = sketch_of(draw.integers(-(2**63), 2**63 - 1, 30).tolist() * 2)
    assert estimate_visitors([few]) == 30
    many = sketch_of(draw.integers(-(2**63), 2**63 - 1, 100_000).tolist())
    assert abs(estimate_visitors([many]) - 100_000) < 5000
    assert len(many) < 2200


def test_who_is_in_several_sketches_is_counted_once():
    draw = np.random.default_rng(8).integers(-(2**63), 2**63 - 1, 20_000).tolist()
    parts = [sketch_of(draw[start : start + 10_000]) for start in range(0, 10_001, 2_500)]
    assert estimate_visitors(parts) == pytest.approx(estimate_visitors([sketch_of(draw)]), rel=0.01)
    assert estimate_visitors([]) == 0
    assert estimate_visitors([sketch_of([1, 2]), sketch_of([2, 3])]) == 3


@pytest.mark.parametrize("data", [b"x", b"nonsense" * 9, bytes(40)])
def test_bytes_that_are_no_sketch_are_refused(data):
    with pytest.raises(ValueError, match="not a sketch"):
        estimate_visitors([data])


def test_sketches_are_what_datasketches_reads_everywhere():
    sketch = datasketches.hll_sketch.deserialize(sketch_of(range(1000)))
    assert (sketch.lg_config_k, sketch.tgt_type) == (12, datasketches.HLL_4)
