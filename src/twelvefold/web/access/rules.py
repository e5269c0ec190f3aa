"""What a key is, which scopes exist, who may grant them.

A key is `tf_<8 public characters>_<secret>`: the public part finds the row, the secret is 32 random
bytes, so a plain SHA-256 of it is as good as a slow hash (there is nothing to guess). The prefix lets
secret scanners find keys that leaked.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import get_args

from twelvefold.kernel.errors import ForbiddenError, InvalidInputError
from twelvefold.kernel.tenancy import DEFAULT_TENANT, Principal
from twelvefold.web.access.contracts import Tier

SECRET_BYTES = 32
SESSION_SECONDS = 12 * 3600
LOGIN_TOKEN_SECONDS = 600
RESTORE_SECONDS = 600
LAST_USED_GRAIN_SECONDS = 300
"""`last_used_at` is written at most this often for a key."""

TIERS: tuple[str, ...] = get_args(Tier)
"""From the least to the most."""
ACTIONS = ("read", "write", "admin")
PLATFORM_ADMIN = "admin"
"""The scope over tenants; only the first tenant's keys can have it."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC_CHARACTERS = 8
_KEY = re.compile(r"tf_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})")


def key_from_seed(seed: bytes) -> str:
    """The key that these 32 random bytes stand for; the same bytes give the same key."""
    if len(seed) != SECRET_BYTES:
        raise ValueError(f"a key is made from {SECRET_BYTES} random bytes, not {len(seed)}")
    public = _base62(hashlib.sha256(b"twelvefold public part" + seed).digest()[:6], _PUBLIC_CHARACTERS)
    return f"tf_{public[-_PUBLIC_CHARACTERS:]}_{_base62(seed, 43)}"


def take_apart(key: str) -> tuple[str, bytes] | None:
    """A key's public part and the hash of its secret; None if it is not a key."""
    match = _KEY.fullmatch(key)
    return (match[1], hash_of(match[2])) if match else None


def hash_of(secret: str) -> bytes:
    """What is stored of a secret: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def known_scopes(systems: Iterable[str]) -> frozenset[str]:
    """All scopes that a key can have."""
    names = [*systems, "keys", "platform"]
    each = {f"{name}:{action}" for name in names for action in (*ACTIONS, "*")}
    return frozenset(each | {"*", PLATFORM_ADMIN})


def check_grant(granter: Principal, scopes: Iterable[str], tier: Tier, known: frozenset[str]) -> None:
    """Raise unless `scopes` exist and `granter` has them all, and the tier: nobody can grant more than they have."""
    if TIERS.index(tier) > TIERS.index(granter.tier):
        raise ForbiddenError(
            f"a key of the tier '{granter.tier}' cannot grant '{tier}'",
            field="tier",
            hint="whoever administers the platform sets a tenant's tier",
        )
    for scope in scopes:
        if scope not in known:
            raise InvalidInputError(
                f"there is no scope '{scope}'",
                field="scopes",
                hint=f"scopes are *, {PLATFORM_ADMIN} and <system>:read|write|admin|*",
            )
        if scope == PLATFORM_ADMIN and granter.tenant_id != DEFAULT_TENANT:
            raise ForbiddenError("only the first tenant's keys can administer tenants", field="scopes")
        if not granter.may(scope):
            raise ForbiddenError(
                f"a key cannot grant '{scope}', which it does not have itself", field="scopes"
            )


def may_administer_tenants(principal: Principal) -> bool:
    """Whether this is the platform's own administrator."""
    return principal.tenant_id == DEFAULT_TENANT and principal.may(PLATFORM_ADMIN)


def _base62(data: bytes, width: int) -> str:
    number = int.from_bytes(data)
    digits = []
    while number:
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits)).rjust(width, "0")
