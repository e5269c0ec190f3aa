"""The client's address behind proxies of our own.

Invariant: an address is believed only as far as our own proxies wrote it. `X-Forwarded-For` is read from
the right, one entry for each trusted proxy; whatever stands further left may be the client's invention.
"""

from collections.abc import Mapping
from typing import Any

from twelvefold.kernel.addresses import normal_address


def client_of(scope: Mapping[str, Any], trusted_proxies: int) -> str:
    """The address that the outermost trusted proxy saw, in its shortest form; "" on a unix socket.

    With fewer entries than proxies the leftmost is taken: it was still written by one of ours. An entry
    that is no address is not believed, and the peer stands for it.
    """
    peer = scope.get("client")
    address = normal_address(peer[0]) if peer else ""
    if trusted_proxies > 0:
        entries = [
            entry
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for entry in value.decode("latin-1").split(",")
        ]
        if entries:
            return normal_address(entries[-min(trusted_proxies, len(entries))].strip()) or address
    return address
