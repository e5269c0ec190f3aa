"""Keys that nobody can forge, addresses that are who they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.rules.keys import (
    LONGEST_PLAIN,
    client_address,
    client_network,
    encode_bytes,
    encode_key,
)
from twelvefold.systems.limiter.service.tally import shown

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
keys = st.one_of(texts, st.lists(texts, min_size=1, max_size=4).map(tuple))


@given(keys, keys)
def test_different_keys_stay_different_and_bounded(first: object, second: object) -> None:
    encoded = encode_key(first), encode_key(second)  # type: ignore[arg-type]
    # One part is the same key as its text: CL.THROTTLE knows texts only.
    first, second = ((key,) if isinstance(key, str) else key for key in (first, second))
    assert (encoded[0] == encoded[1]) == (first == second)
    assert all(len(each) <= LONGEST_PLAIN for each in encoded)


@given(texts)
def test_a_text_is_the_same_key_as_its_bytes(text: str) -> None:
    assert encode_key(text) == encode_bytes(text.encode())


def test_no_key_can_choose_another_slot_or_leave_its_tenant() -> None:
    bound = Bound(7, Rule(name="r", limit=1))  # type: ignore[arg-type]
    name = bound.prefix + encode_key("}{8}")
    assert name[name.index(b"{") + 1 : name.index(b"}")] == b"7"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:102:304", "1.2.3.4"),
        ("2001:db8::1.2.3.4", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        ("unknown", "unknown"),
    ],
)
def test_ipv6_counts_by_network_and_mapped_addresses_are_ipv4(address: str, network: str) -> None:
    assert client_network(address) == network


@pytest.mark.parametrize(
    ("peer", "fields", "trusted", "client"),
    [
        ("9.9.9.9", ["1.1.1.1"], 0, "9.9.9.9"),
        ("9.9.9.9", [], 2, "9.9.9.9"),
        ("9.9.9.9", ["6.6.6.6, 1.1.1.1"], 1, "1.1.1.1"),
        ("9.9.9.9", ["6.6.6.6, 1.1.1.1, 2.2.2.2"], 2, "1.1.1.1"),
        ("9.9.9.9", ["6.6.6.6", "1.1.1.1"], 1, "1.1.1.1"),
        ("9.9.9.9", ["1.1.1.1"], 5, "1.1.1.1"),
        ("9.9.9.9", [" , "], 1, "9.9.9.9"),
        ("9.9.9.9", ["1.1.1.1:4711"], 1, "1.1.1.1"),
        ("9.9.9.9", ["[2001:db8::1]:4711"], 1, "2001:db8::1"),
    ],
)
def test_forwarded_for_is_read_from_the_right_past_trusted_proxies(
    peer: str, fields: list[str], trusted: int, client: str
) -> None:
    assert client_address(peer, fields, trusted) == client


def test_a_key_of_parts_is_shown_to_people_part_by_part_and_no_two_look_alike() -> None:
    assert shown(encode_key("ann")) == "ann"
    assert shown(encode_key(("shop", "user", "ann"))) == "shop · user · ann"
    assert shown(encode_key(("4:shop", "ü", "a\nb"))) == "4:shop · ü · a\nb"
    assert shown(encode_key(("a", "b · c"))) != shown(encode_key(("a", "b", "c")))
