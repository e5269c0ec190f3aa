"""Keys: whose limit it is, as bytes that nobody can forge and that never grow beyond a bound.

Parts carry their length, so `("a:b", "c")` and `("a", "b:c")` differ; a single part is the same key as its
text, because that is all that CL.THROTTLE can say; what is long is hashed. The tenant
stands first, in braces: it is the hash tag of a cluster, so all keys of one check share a slot, and no
key can choose another's slot, because only the first pair of braces counts.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from twelvefold.kernel.addresses import bare_address
from twelvefold.systems.limiter.contracts import MAX_KEY_BYTES, HitRefusedError, Key

LONGEST_PLAIN: Final = 80
_HASH_BYTES: Final = 20
_MAX_PARTS: Final = 32


def encode_key(key: Key) -> bytes:
    """`key` as at most 80 bytes. Raises `HitRefusedError` for an empty or oversized one."""
    if type(key) is str:
        try:
            return encode_bytes(key.encode())
        except UnicodeEncodeError as error:
            raise _refused("the key is not valid Unicode") from error
    if isinstance(key, tuple | list) and len(key) == 1 and key[0]:
        return encode_key(key[0])
    return _bounded(_encode_parts(key))


def encode_bytes(key: bytes) -> bytes:
    """As `encode_key`, for a key that comes as bytes; the same as for its text, if it is UTF-8."""
    if not key:
        raise _refused("the key is empty; name whose limit it is")
    return b"=" + key if len(key) < LONGEST_PLAIN else _bounded(b"=" + key)


def _bounded(data: bytes) -> bytes:
    if len(data) <= LONGEST_PLAIN:
        return data
    size = len(data) - 1  # the mark in front is ours
    if size > MAX_KEY_BYTES:
        raise _refused(f"the key has {size} bytes, at most {MAX_KEY_BYTES} are taken")
    return b"#" + hashlib.blake2b(data, digest_size=_HASH_BYTES).hexdigest().encode()


def _encode_parts(parts: Sequence[str]) -> bytes:
    if not isinstance(parts, tuple | list) or not 0 < len(parts) <= _MAX_PARTS:
        raise _refused(f"a key is a text, or 1 to {_MAX_PARTS} of them")
    pieces = [b"+"]
    for part in parts:
        if not isinstance(part, str):
            raise _refused("the parts of a key are texts")
        try:
            data = part.encode()
        except UnicodeEncodeError as error:
            raise _refused("the key is not valid Unicode") from error
        pieces.append(b"%d:%b" % (len(data), data))
    return b"".join(pieces)


@lru_cache(maxsize=65_536)
def client_network(address: str, ipv6_prefix: int = 64) -> str:
    """Whose address it is: IPv4 as it stands, IPv6 by its network, IPv4 in IPv6 clothing as IPv4.

    A client without an address (a unix socket) is `local`; what is no address stands for itself.
    """
    if not address:
        return "local"
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:  # only ::ffff:0:0/96; 2001:db8::1.2.3.4 is an IPv6 address
        return str(ip.ipv4_mapped)
    network = ipaddress.ip_network((int(ip) >> (128 - ipv6_prefix) << (128 - ipv6_prefix), ipv6_prefix))
    return str(network)


def client_address(peer: str, forwarded_for: Sequence[str], trusted_proxies: int) -> str:
    """Who asks, from the peer and the `X-Forwarded-For` fields in the order they were sent.

    Each proxy appends the address it saw, so the list is read from the right, and only as many entries
    are believed as there are trusted proxies; all that a client wrote itself stands further left.
    """
    if trusted_proxies <= 0:
        return peer
    hops = [hop.strip() for field in forwarded_for for hop in field.split(",")]
    hops = [hop for hop in hops if hop]
    if not hops:
        return peer
    return bare_address(hops[-min(trusted_proxies, len(hops))])


def _refused(message: str) -> HitRefusedError:
    return HitRefusedError(message, field="key")
