"""Addresses of servers."""

import pytest

from twelvefold.engines.valkey.address import Address, parse_address
from twelvefold.kernel.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/v.sock", Address(path="/run/v.sock")),
        ("unix:///run/v.sock?db=2", Address(path="/run/v.sock", database=2)),
        ("unix://ann:p%40ss@/a%20b", Address(path="/a b", user="ann", password="p@ss")),
        ("valkey://example.org", Address(host="example.org")),
        (
            "redis://:secret@127.0.0.1:7000/3",
            Address(host="127.0.0.1", port=7000, password="secret", database=3),
        ),
        ("rediss://[::1]:1", Address(host="::1", port=1, tls=True)),
        ("valkey://h:7?cluster=true", Address(host="h", port=7, cluster=True)),
    ],
)
def test_urls_are_read(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://x", "begins with"),
        ("localhost:6379", "begins with"),
        ("", "begins with"),
        ("unix://run/v.sock", "slash"),
        ("unix://", "path"),
        ("valkey://", "no host"),
        ("valkey://h:99999", "[Pp]ort"),
        ("valkey://h:0", "port"),
        ("valkey://h/x", "'x'"),
        ("valkey://h?clutser=true", "clutser"),
        ("valkey://h/1?cluster=true", "database 0"),
        ("unix:///s?cluster=true", "TCP"),
    ],
)
def test_urls_that_cannot_be_used_say_why(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_address(url)


@pytest.mark.parametrize("url", ["valkey://ann:hunter2@h:0", "http://:hunter2@h", "valkey://a:hunter2@h?x=1"])
def test_errors_and_texts_never_show_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(parse_address("valkey://ann:hunter2@h:1"))
