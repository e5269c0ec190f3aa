"""One form for each address."""

import pytest

from twelvefold.kernel.addresses import normal_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:443", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:0207", "192.0.2.7"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        *[
            (text, "")
            for text in ("", "unknown", "_hidden", "300.1.1.1", "1.2.3", "[", "unix:", "::1::", "\0")
        ],
    ],
)
def test_an_address_has_one_form(text, address):
    assert normal_address(text) == address
