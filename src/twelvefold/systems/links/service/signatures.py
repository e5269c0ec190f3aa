"""Signature tokens for YOURLS clients: one a key, known in clear, since a timed signature can only be checked with it."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

from twelvefold.kernel.tenancy import Principal
from twelvefold.systems.links.store.signatures import SignatureStore


class Signatures:
    """Makes and checks tokens.

    Args:
        secret: the server's; the same key gets the same token.
        principal_of_key_id: who holds a key now; None when it was revoked or has expired.
    """

    def __init__(
        self,
        store: SignatureStore,
        secret: bytes,
        principal_of_key_id: Callable[[int], Awaitable[Principal | None]],
    ) -> None:
        self._store = store
        self._secret = secret
        self._principal_of_key_id = principal_of_key_id

    async def token_of(self, principal: Principal) -> str:
        """The key's token, made on first use."""
        digest = hmac.new(self._secret, f"yourls:{principal.key_id}".encode(), hashlib.sha256)
        token = digest.hexdigest()[:32]
        await self._store.keep(token, principal.tenant_id, principal.key_id)
        return token

    async def tokens(self) -> Sequence[str]:
        """All tokens, at most a thousand, newest first."""
        return await self._store.tokens()

    async def holder(self, token: str) -> Principal | None:
        """Whose token this is, as long as the key is good."""
        key_id = await self._store.key_of(token)
        return await self._principal_of_key_id(key_id) if key_id is not None else None
