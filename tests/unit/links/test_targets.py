"""Targets are what a browser would open, or refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.systems.links.contracts import MAX_URL_LENGTH, TargetRefusedError
from twelvefold.systems.links.rules.targets import (
    checked_host,
    checked_target,
    is_blocked,
    is_public_address,
    with_query,
)


@pytest.mark.parametrize(
    ("given_url", "stored"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTP://EXAMPLE.com:80/A?b=C#d", "http://example.com/A?b=C#d"),
        # A browser reads the backslash as a slash: the host is example.com and stays it.
        ("http://example.com\\@evil.com/", "http://example.com/@evil.com/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://bücher.example/ü?q=ä", "http://xn--bcher-kva.example/%C3%BC?q=%C3%A4"),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
        (" https://example.com/ ", "https://example.com/"),
    ],
)
def test_an_address_is_stored_as_a_browser_reads_it(given_url, stored):
    assert checked_target(given_url) == stored


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("javascript:alert(1)", "only http and https"),
        ("data:text/html,hi", "only http and https"),
        ("ftp://example.com/", "only http and https"),
        ("//evil.example", "not an address"),
        ("example.com", "not an address"),
        ("http://", "not an address"),
        ("http://a:99999/", "not an address"),
        ("https://user:secret@example.com/", "user name"),
        ("https://example.com@evil.example/", "user name"),
        ("https://exa\tmple.com/", "U+0009"),
        ("https://example.com/\r\nSet-Cookie: x", "U+000D"),
        ("https://example.com/\u2028", "U+2028"),
        ("https://example.com/\x00", "U+0000"),
        ("https://short.example/abc", "loop"),
        ("https://SHORT.example./abc", "loop"),
        ("https://short.example:8443/abc", None),
        ("http://localhost:8012/abc", "loop"),
        ("https://bad.example/", "blocked"),
        ("https://deep.in.bad.example/", "blocked"),
        ("https://notbad.example/", None),
        ("https://example.com/" + "x" * MAX_URL_LENGTH, "longer"),
    ],
)
def test_what_must_not_be_linked_to_is_refused_with_the_reason(url, named):
    hosts = {"own_hosts": {"short.example", "localhost:8012"}, "blocked_hosts": {"bad.example"}}
    if named is None:
        checked_target(url, **hosts)
        return
    with pytest.raises(TargetRefusedError) as refused:
        checked_target(url, **hosts)
    assert named in refused.value.message
    assert refused.value.field == "url"


@given(st.text(max_size=60))
def test_whatever_is_given_becomes_ascii_without_controls_or_a_refusal(text):
    try:
        stored = checked_target("https://example.com/" + text)
    except TargetRefusedError:
        return
    stored.encode("ascii")
    assert not any(ord(letter) < 0x21 or ord(letter) == 0x7F for letter in stored)
    assert checked_target(stored) == stored


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_visitors_query_never_breaks_the_header(fragment, query):
    url = with_query(checked_target("https://example.com/?a=1#x"), query + fragment)
    assert "\r" not in url
    assert "\n" not in url
    assert url.startswith("https://example.com/?a=1")
    url.encode("ascii")


def test_a_visitors_query_goes_behind_the_links_own():
    assert with_query("https://example.com/p#f", "") == "https://example.com/p#f"
    assert with_query("https://example.com/p#f", "utm=1") == "https://example.com/p?utm=1#f"
    assert with_query("https://example.com/p?a=b#f", "utm=1") == "https://example.com/p?a=b&utm=1#f"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_global_addresses_are_public(address):
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "::", "ff02::1",
    ],
)  # fmt: skip
def test_private_and_embedded_private_addresses_are_not(address):
    assert not is_public_address(address)


def test_a_blocked_host_blocks_what_is_below_it_and_nothing_beside_it():
    assert is_blocked("a.evil.example", {"evil.example"})
    assert not is_blocked("evil.example.com", {"evil.example"})
    assert not is_blocked("example", {"evil.example"})


def test_a_host_is_taken_as_browsers_write_it():
    assert checked_host("Bücher.Example") == "xn--bcher-kva.example"
    assert checked_host("go.example:8443") == "go.example:8443"
    for bad in ("a/b", "u@h", "h?x", "", "a b"):
        with pytest.raises(ValueError, match="is not a host name"):
            checked_host(bad)
