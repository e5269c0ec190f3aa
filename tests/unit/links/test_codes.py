"""Codes: no collision, no order to be guessed, no look-alikes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.systems.links.contracts import AliasRefusedError
from twelvefold.systems.links.rules.codes import (
    BASE36,
    BASE62,
    LENGTH,
    CodeSpace,
    checked_alias,
    folded,
    hash_codes,
)

KEY = b"a key of more than sixteen bytes"


def test_a_hundred_thousand_counters_give_as_many_codes():
    codes = CodeSpace(BASE62, KEY).codes(10**9, 100_000)
    assert len(set(codes)) == 100_000
    assert all(len(code) == LENGTH and set(code) <= set(BASE62) for code in codes)


@pytest.mark.parametrize("alphabet", ["ab", "abc", "abcd"])
def test_the_permutation_reaches_every_code_of_its_space_once(alphabet):
    space = CodeSpace(alphabet, KEY)
    codes = space.codes(0, space.size)
    assert len(set(codes)) == space.size == len(alphabet) ** LENGTH


def test_the_space_of_base62_is_used_to_its_last_code_and_no_further():
    space = CodeSpace(BASE62, KEY)
    assert space.size == 62**7
    assert len(space.codes(space.size - 3, 3)) == 3
    with pytest.raises(OverflowError):
        space.codes(space.size - 2, 3)


def test_neighbouring_counters_do_not_look_alike():
    codes = CodeSpace(BASE62, KEY).codes(0, 10_000)
    shared = sum(a == b for code, after in pairwise(codes) for a, b in zip(code, after, strict=True))
    expected = 9_999 * LENGTH / 62
    assert abs(shared - expected) < 6 * math.sqrt(expected)


def test_another_key_gives_another_order_and_the_same_key_the_same():
    assert CodeSpace(BASE62, KEY).codes(0, 50) == CodeSpace(BASE62, KEY).codes(0, 50)
    assert CodeSpace(BASE62, KEY).codes(0, 50) != CodeSpace(BASE62, KEY[::-1]).codes(0, 50)


@given(st.integers(0, 62**7 - 200), st.integers(1, 200))
def test_a_block_is_the_same_in_one_piece_or_in_two(first, count):
    space = CodeSpace(BASE62, KEY)
    half = count // 2
    assert space.codes(first, count) == space.codes(first, half) + space.codes(first + half, count - half)


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        CodeSpace(BASE62, b"short")


def test_hash_mode_gives_the_same_candidates_for_the_same_address():
    one, again, other = (list(hash_codes(url)) for url in ("https://a/", "https://a/", "https://b/"))
    assert one == again != other
    assert len(one) > 20
    assert len(set(one)) == len(one)
    assert one[1][:-1] == one[0][1:]  # the next window, as the collision rule says
    assert all(set(code) <= set(BASE36) for code in hash_codes("https://a/", BASE36))


@pytest.mark.parametrize("alias", ["a", "Hello-World", "v1.2", "under_score", "2026", "x~y", "A" * 64])
def test_ordinary_aliases_are_taken(alias):
    assert checked_alias(alias) == alias


@pytest.mark.parametrize(
    ("alias", "named"),
    [
        ("api", "reserved"),
        ("Console", "reserved"),
        ("robots.txt", "reserved"),
        ("favicon.ico", "reserved"),
        (".well-known", "reserved"),
        ("yourls-api.php", "reserved"),
        ("a/b", "solidus"),
        ("%2e%2e", "percent sign"),
        ("abc+", "plus sign"),
        ("a b", "space"),
        ("p\u0430ypal", "cyrillic small letter a"),
        ("tab\t", "u+0009"),
        ("..", "begins with a letter"),
        ("a.", "does not end with a dot"),
        ("-x", "begins with a letter"),
    ],
)
def test_an_alias_that_cannot_be_used_is_refused_with_the_reason(alias, named):
    with pytest.raises(AliasRefusedError) as refused:
        checked_alias(alias)
    assert named in refused.value.message.lower()
    assert refused.value.field == "alias"


def test_aliases_collide_without_case_only_where_the_domain_ignores_it():
    assert folded("Sale", ignore_case=True) == folded("SALE", ignore_case=True)
    assert folded("Sale", ignore_case=False) != folded("SALE", ignore_case=False)
