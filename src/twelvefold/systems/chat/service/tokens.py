"""User tokens: made for a tenant's users, believed until they expire or are revoked."""

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.chat.contracts import TokenRefusedError, UserToken
from twelvefold.systems.chat.rules import tokens as rules
from twelvefold.systems.chat.service.gather import Gather
from twelvefold.systems.chat.store.progress import ProgressStore

CACHE_SECONDS = 1.0
MAX_CACHED = 20_000


class Tokens:
    """See the module. A revocation is known everywhere within a second; open sockets hear of it at once."""

    def __init__(self, store: ProgressStore, clock: Clock, secret: bytes, *, default_minutes: int) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret
        self._default_seconds = default_minutes * 60
        self._revocations = Gather(store.revocations)
        self._revoked: dict[tuple[int, str], tuple[float, int]] = {}

    def make(
        self, tenant: TenantId, user: str, *, seconds: int | None = None, channel: str | None = None
    ) -> tuple[str, int]:
        """A token for `user` (to open `channel`, if one is named), and when it expires (Unix seconds)."""
        now = self._clock.now_ms() // 1000
        expires = now + (seconds or self._default_seconds)
        claims: dict[str, object] = {"sub": user, "iat": now, "exp": expires}
        if channel is not None:
            claims["channel"] = channel
        return rules.sign(claims, self._secret, tenant), expires

    def secret_of(self, tenant: TenantId) -> str:
        """What a tenant's own programs sign with (HS256); their tokens need the tenant's id as `kid`."""
        return rules.tenant_secret(self._secret, tenant)

    async def verify(self, token: str) -> UserToken:
        """Who a token is of. Raises `TokenRefusedError`, `TokenExpiredError`."""
        found = rules.verify(
            token, self._secret, now_s=self._clock.now_ms() / 1000, default_tenant=DEFAULT_TENANT
        )
        before = await self._revoked_before(TenantId(found.tenant_id), found.user)
        if before and (found.issued_at_s is None or found.issued_at_s < before):
            raise TokenRefusedError("this token was revoked", field="token")
        return found

    async def revoke(self, tenant: TenantId, user: str) -> None:
        """All tokens of `user` made until now are no longer good."""
        # The moment after this second, because tokens made within it have the same number.
        await self._store.revoke(tenant, user, self._clock.now_ms() // 1000 + 1)
        self._revoked.pop((tenant, user), None)

    def seconds_until(self, unix_s: int) -> float:
        """How long until a moment."""
        return unix_s - self._clock.now_ms() / 1000

    async def _revoked_before(self, tenant: TenantId, user: str) -> int:
        now = self._clock.monotonic()
        known = self._revoked.get((tenant, user))
        if known is not None and known[0] > now:
            return known[1]
        try:
            before = await self._revocations.get((tenant, user))
        except EngineUnavailableError:
            if known is None:
                raise
            return known[1]
        if len(self._revoked) >= MAX_CACHED:
            self._revoked.clear()
        self._revoked[tenant, user] = (now + CACHE_SECONDS, before)
        return before
