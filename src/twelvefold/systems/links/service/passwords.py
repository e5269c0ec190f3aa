"""Passwords of links: scrypt (RFC 7914), computed off the event loop, a few at a time."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

# 16 MiB and about 50 ms a try: dear enough for a link that is also limited to a few tries a minute.
_COST = {"n": 1 << 14, "r": 8, "p": 1}
_AT_ONCE = 2


class Passwords:
    """Hashes and checks passwords; `salt` gives random bytes."""

    def __init__(self, salt: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._salt = salt
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def hashed(self, password: str) -> str:
        """`scrypt$<salt>$<key>`, both in base64."""
        salt = self._salt(16)
        key = await self._derive(password, salt)
        return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"

    async def matches(self, password: str, stored: str) -> bool:
        """Whether the password is the stored one, in constant time."""
        _, salt, key = stored.split("$")
        return hmac.compare_digest(
            await self._derive(password, base64.b64decode(salt)), base64.b64decode(key)
        )

    async def _derive(self, password: str, salt: bytes) -> bytes:
        async with self._slots:
            return await asyncio.to_thread(
                hashlib.scrypt, password.encode("utf-8", "surrogatepass"), salt=salt, **_COST
            )
