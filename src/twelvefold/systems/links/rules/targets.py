r"""Targets: what a link may point to, read as a browser reads it.

Invariant: what is stored is the address that a browser would go to, in ASCII, so that nothing can
look harmless here and lead elsewhere there. Parsing follows the WHATWG URL Standard (`can_ada`);
`urllib` takes the host of `http://good.example\\@evil.example/` to be the wrong one.
"""

import ipaddress
import re
from collections.abc import Collection

import can_ada

from twelvefold.systems.links.contracts import MAX_URL_LENGTH, TargetRefusedError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCHEMES = ("http:", "https:")


def checked_target(
    text: str, *, own_hosts: Collection[str] = (), blocked_hosts: Collection[str] = (), field: str = "url"
) -> str:
    """The address in the form that a browser would use. Raises `TargetRefusedError` naming what is wrong.

    Args:
        text: what the caller sent.
        own_hosts: hosts (with their port, if not the default) that lead back to this server.
        blocked_hosts: hosts that nobody may link to; their subdomains are meant too.
        field: the name to report.
    """
    control = _CONTROL.search(text)
    if control:
        raise TargetRefusedError(
            f"the address has a control character (U+{ord(control.group()):04X})", field=field
        )
    try:
        parsed = can_ada.parse(text.strip(" "))
    except ValueError:
        hint = "begin it with https://" if "://" not in text else "check its host and port"
        raise TargetRefusedError(
            "this is not an address that a browser could open", field=field, hint=hint
        ) from None
    if parsed.protocol not in _SCHEMES:
        raise TargetRefusedError(
            f"only http and https addresses can be shortened, not '{parsed.protocol}'", field=field
        )
    if parsed.username or parsed.password:
        raise TargetRefusedError(
            "the address has a user name before its host, a common trick",
            field=field,
            hint="leave out all up to '@'",
        )
    host = parsed.hostname.rstrip(".")
    if not host:
        raise TargetRefusedError("the address has no host", field=field)
    if (f"{host}:{parsed.port}" if parsed.port else host) in own_hosts:
        raise TargetRefusedError("the address leads back to this server and would loop", field=field)
    if is_blocked(host, blocked_hosts):
        raise TargetRefusedError(f"links to {host} are blocked here", field=field)
    href: str = parsed.href
    if len(href) > MAX_URL_LENGTH:
        raise TargetRefusedError(f"the address is longer than {MAX_URL_LENGTH} characters", field=field)
    return href


def is_blocked(host: str, blocked_hosts: Collection[str]) -> bool:
    """Whether the host or a domain above it is blocked."""
    if not blocked_hosts:
        return False
    labels = host.lower().split(".")
    return any(".".join(labels[start:]) in blocked_hosts for start in range(len(labels)))


def checked_host(text: str) -> str:
    """A host name as browsers write it (lower case, punycode), with its port if any. Raises `ValueError`."""
    try:
        parsed = can_ada.parse(f"http://{text}/")
    except ValueError as error:
        raise ValueError(f"'{text}' is not a host name") from error
    more = parsed.username or parsed.password or parsed.pathname != "/" or parsed.search or parsed.hash
    if more or not parsed.host:
        raise ValueError(f"'{text}' is not a host name")
    host: str = parsed.host
    return host.rstrip(".")


def with_query(url: str, query: str) -> str:
    """The address with a visitor's own query parameters (`utm_source=…`) put behind its own."""
    if not query:
        return url
    parsed = can_ada.parse(url)
    parsed.search = f"{parsed.search}&{query}" if parsed.search else query
    href: str = parsed.href
    return href


def is_public_address(text: str) -> bool:
    """Whether a server may fetch from an IP address: global, with no private one embedded in it."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            address = inner
    return address.is_global and not (address.is_multicast or address.is_reserved)
