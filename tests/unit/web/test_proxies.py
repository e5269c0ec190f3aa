"""Whose address it is that knocks."""

import pytest

from twelvefold.web.proxies import client_of

PEER = "10.0.0.1"


def scope(*forwarded, peer=PEER):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1234) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("forwarded", "proxies", "client"),
    [
        ([], 0, PEER),
        (["203.0.113.7"], 0, PEER),
        ([], 1, PEER),
        (["203.0.113.7"], 1, "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7"], 1, "203.0.113.7"),
        (["6.6.6.6", "203.0.113.7"], 1, "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7, 10.0.0.2"], 2, "203.0.113.7"),
        (["203.0.113.7"], 3, "203.0.113.7"),
        (["203.0.113.7:4711"], 1, "203.0.113.7"),
        (["[2001:db8::1]:4711"], 1, "2001:db8::1"),
        (["2001:0db8:0::1"], 1, "2001:db8::1"),
        (["::ffff:203.0.113.7"], 1, "203.0.113.7"),
        (["fe80::1%eth0"], 1, "fe80::1"),
        (["unknown"], 1, PEER),
        (["203.0.113.7, "], 1, PEER),
        (["<script>"], 1, PEER),
    ],
)
def test_the_client_is_who_our_outermost_proxy_saw(forwarded, proxies, client):
    assert client_of(scope(*forwarded), proxies) == client


def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client():
    assert client_of(scope(peer="::ffff:198.51.100.1"), 0) == "198.51.100.1"


def test_a_unix_socket_has_no_address():
    assert client_of(scope(peer=None), 0) == ""
