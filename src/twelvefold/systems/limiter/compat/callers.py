"""Who calls on a door without HTTP: a key is verified once, believed for a second, and asked again then."""

import asyncio
import hashlib
import time
from typing import Final, Protocol

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.systems.limiter.service.guesses import Guesses

BELIEVED_SECONDS: Final = 1.0
_MAX_KNOWN: Final = 10_000
_VERIFY_SECONDS: Final = 2.0
SCOPE: Final = "limiter:write"


class Keys(Protocol):
    """What knows API keys; `web.guard.Verifier` is one."""

    async def principal_of_key(self, key: str) -> Principal | None:
        """Who holds this API key; None if nobody does any more."""


class Callers:
    """Tenants by API key.

    Args:
        keys: who knows the keys; None admits nobody but the anonymous.
        anonymous: the tenant of callers without a key; 0 is nobody.
        guesses: counts keys that are not known, by address; None: nobody counts.
    """

    def __init__(self, keys: Keys | None, anonymous: TenantId, guesses: Guesses | None = None) -> None:
        self._keys = keys
        self._guesses = guesses
        self.anonymous = anonymous
        self._known: dict[bytes, tuple[float, TenantId]] = {}

    def known(self, key: str) -> TenantId | None:
        """The tenant that a key was believed to be within the last second."""
        if not key:
            return self.anonymous or None
        entry = self._known.get(_digest(key))
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    async def verify(self, key: str, client: str = "") -> TenantId | None:
        """The tenant of a key that may check limits; None for any other, or when it cannot be found out.

        Raises `TooManyFailuresError` where an address (`client`) that has guessed too often shows a new key.
        """
        if not key or self._keys is None or len(key) > 256:
            return (self.anonymous or None) if not key else None
        digest = _digest(key)
        if digest not in self._known and self._guesses is not None:
            barred = self._guesses.barred(client)
            if barred is not None:
                raise barred
        try:
            async with asyncio.timeout(_VERIFY_SECONDS):
                principal = await self._keys.principal_of_key(key)
        except (TwelvefoldError, TimeoutError):
            # Somebody who was let in a moment ago is not thrown out because the database is away.
            entry = self._known.get(digest)
            return entry[1] if entry is not None else None
        if principal is None or not principal.may(SCOPE):
            self._known.pop(digest, None)
            if principal is None and self._guesses is not None:
                too_many = await self._guesses.failed(client)
                if too_many is not None:
                    raise too_many
            return None
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[digest] = (time.monotonic() + BELIEVED_SECONDS, principal.tenant_id)
        return principal.tenant_id


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
