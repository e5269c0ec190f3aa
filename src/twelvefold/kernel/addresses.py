"""IP addresses in one form, whoever wrote them: browsers, proxies, sockets.

Invariant: equal addresses give equal text, and what is no address gives "" and never an error.
"""

import ipaddress
import socket


def normal_address(text: str) -> str:
    """An address without port, brackets or zone; IPv4 inside IPv6 as IPv4; "" for what is none."""
    try:
        socket.inet_pton(socket.AF_INET, text)  # takes only the normal form, in a thirtieth of the time
    except (OSError, ValueError):
        return _careful_address(bare_address(text))
    return text


def bare_address(text: str) -> str:
    """Without the port and the brackets that some proxies add; the rest is not looked at."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _careful_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
