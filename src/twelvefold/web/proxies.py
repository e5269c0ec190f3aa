"""The client's address behind proxies of our own.

Invariant: an address is believed only as far as our own proxies wrote it. `X-Forwarded-For` is read from
the right, one entry for each trusted proxy; whatever stands further left may be the client's invention.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any


def client_of(scope: Mapping[str, Any], trusted_proxies: int) -> str:
    """The address that the outermost trusted proxy saw, in its shortest form; "" on a unix socket.

    With fewer entries than proxies the leftmost is taken: it was still written by one of ours. An entry
    that is no address is not believed, and the peer stands for it.
    """
    peer = scope.get("client")
    address = _plain(peer[0]) if peer else ""
    if trusted_proxies > 0:
        entries = [
            entry
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for entry in value.decode("latin-1").split(",")
        ]
        if entries:
            return _plain(entries[-min(trusted_proxies, len(entries))]) or address
    return address


def _plain(text: str) -> str:
    """Without port, brackets and zone; IPv4 in IPv6 as IPv4; "" for what is no address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
