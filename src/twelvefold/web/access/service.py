"""The API of access: keys, tenants, sessions. It is the guard's verifier."""

import contextlib
import hmac
import secrets
from collections.abc import Callable, Iterable

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import (
    EngineUnavailableError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
)
from twelvefold.kernel.tenancy import DEFAULT_TENANT, Principal, TenantId
from twelvefold.web.access import rules
from twelvefold.web.access.contracts import (
    ApiKey,
    KeyInUseError,
    KeyNotFoundError,
    KeyNotRestorableError,
    KeyPage,
    MadeKey,
    NewKey,
    SessionView,
    Tenant,
    TenantPage,
    Tier,
)
from twelvefold.web.access.store import AccessStore

_END = (1 << 63) - 1


class Access:
    """Who may ask, and for whom.

    Args:
        store: where it is kept.
        clock: for expiry.
        systems: names of the systems, for the scopes that exist.
        draw: gives that many random bytes, unguessable.
        on_change: called when a key or session has ended or come back in this process.
    """

    def __init__(
        self,
        store: AccessStore,
        clock: Clock,
        *,
        systems: Iterable[str],
        draw: Callable[[int], bytes] = secrets.token_bytes,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._draw = draw
        self.on_change = on_change or (lambda: None)
        self.scopes = rules.known_scopes(systems)

    # -- the guard's verifier -------------------------------------------------------------------

    async def principal_of_key(self, key: str) -> Principal | None:
        """Who holds this API key; None if nobody, or it has expired or been revoked."""
        parts = rules.take_apart(key)
        if parts is None:
            return None
        public, secret_hash = parts
        now = self._clock.now_ms()
        found = await self._store.key_by_public(public, now)
        if found is None or not hmac.compare_digest(found[1], secret_hash):
            return None
        principal, _, last_used = found
        if last_used is None or now - last_used > rules.LAST_USED_GRAIN_SECONDS * 1000:
            # Only a hint for people; a request must not fail for it.
            with contextlib.suppress(EngineUnavailableError):
                await self._store.touch(principal.tenant_id, principal.key_id, now)
        return principal

    async def principal_of_session(self, token: str) -> Principal | None:
        """Who logged in with this session token; None if nobody, or it has ended."""
        return await self._store.principal_of_session(rules.hash_of(token), self._clock.now_ms())

    async def principal_of_key_id(self, key_id: int) -> Principal | None:
        """Who holds the key with this id, as long as it lives."""
        return await self._store.principal_of_key_id(key_id, self._clock.now_ms())

    # -- keys -----------------------------------------------------------------------------------

    async def create_key(self, granter: Principal, new: NewKey) -> MadeKey:
        """Make a key for the granter's tenant, with scopes and at most the tier that the granter has."""
        rules.check_grant(granter, new.scopes, new.tier, self.scopes)
        now = self._clock.now_ms()
        if new.expires_at_ms is not None and new.expires_at_ms <= now:
            raise InvalidInputError("this moment has passed", field="expires_at")
        return await self._make_key(granter.tenant_id, new, now)

    async def list_keys(
        self, tenant_id: TenantId, *, before_id: int | None = None, limit: int = 50
    ) -> KeyPage:
        """Keys of a tenant, newest first, revoked ones included."""
        found = await self._store.keys(tenant_id, before_id=before_id or _END, limit=limit + 1)
        return KeyPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def revoke_key(self, principal: Principal, key_id: int) -> ApiKey:
        """End a key. Raises `KeyNotFoundError`, and `KeyInUseError` for the one that asks."""
        if key_id == principal.key_id:
            raise KeyInUseError
        key = await self._store.revoke(principal.tenant_id, key_id, self._clock.now_ms())
        if key is None:
            raise KeyNotFoundError
        self.on_change()
        return key

    async def restore_key(self, tenant_id: TenantId, key_id: int) -> ApiKey:
        """Undo a revocation of the last ten minutes. Raises `KeyNotFoundError`, `KeyNotRestorableError`."""
        deadline = self._clock.now_ms() - rules.RESTORE_SECONDS * 1000
        key = await self._store.restore(tenant_id, key_id, deadline)
        if key is None:
            if await self._store.key(tenant_id, key_id) is None:
                raise KeyNotFoundError
            raise KeyNotRestorableError
        self.on_change()
        return key

    async def ensure_owner(self, key: str, *, name: str = "owner") -> None:
        """On the first start: the first tenant, and the key that owns it. Later it changes nothing.

        An owner key that was revoked stays revoked.
        """
        parts = rules.take_apart(key)
        if parts is None:
            raise ValueError("not an API key; make it with key_from_seed")
        now = self._clock.now_ms()
        await self._store.ensure_tenant(DEFAULT_TENANT, "default", now)
        new = NewKey(name=name, scopes=("*",), tier="enterprise")
        await self._store.insert_key(DEFAULT_TENANT, new, *parts, now)

    # -- tenants --------------------------------------------------------------------------------

    async def create_tenant(
        self, principal: Principal, name: str, tier: Tier = "free"
    ) -> tuple[Tenant, MadeKey]:
        """A new tenant and the key that owns it; its keys have at most this tier.

        Raises `ForbiddenError`, `TenantNameTakenError`.
        """
        self._check_administrator(principal)
        now = self._clock.now_ms()
        tenant = await self._store.insert_tenant(name, now)
        owner = NewKey(name="owner", scopes=("*",), tier=tier)
        return tenant, await self._make_key(tenant.id, owner, now)

    async def list_tenants(
        self, principal: Principal, *, before_id: int | None = None, limit: int = 50
    ) -> TenantPage:
        """All tenants, newest first. Raises `ForbiddenError`."""
        self._check_administrator(principal)
        found = await self._store.tenants(before_id=before_id or _END, limit=limit + 1)
        return TenantPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    # -- sessions -------------------------------------------------------------------------------

    async def make_login_token(self, key: str) -> str:
        """A token that opens one session as the holder of `key`, once, within ten minutes."""
        principal = await self.principal_of_key(key)
        if principal is None:
            raise UnauthenticatedError("this API key is not known, has expired or was revoked")
        token = self._draw(rules.SECRET_BYTES).hex()
        await self._store.keep_login_token(rules.hash_of(token), principal.key_id)
        return token

    async def log_in_with_token(self, token: str) -> tuple[str, Principal]:
        """Open a session for a one-time token. Returns the session's token; it is kept nowhere else."""
        key_id = await self._store.take_login_token(rules.hash_of(token))
        principal = await self.principal_of_key_id(key_id) if key_id is not None else None
        if principal is None:
            raise UnauthenticatedError(
                "this login link was used already, or is older than ten minutes",
                hint="`twelvefold up` and `twelvefold keys login` print a new one; an API key works, too",
            )
        return await self._open_session(principal), principal

    async def log_in_with_key(self, key: str) -> tuple[str, Principal]:
        """Open a session for the holder of an API key. Returns the session's token."""
        principal = await self.principal_of_key(key)
        if principal is None:
            raise UnauthenticatedError(
                "this API key is not known, has expired or was revoked", field="api_key"
            )
        return await self._open_session(principal), principal

    async def log_out(self, tenant_id: TenantId, token: str) -> None:
        """End a session."""
        await self._store.delete_session(tenant_id, rules.hash_of(token))
        self.on_change()

    async def describe(self, principal: Principal) -> SessionView:
        """Who that is, in words."""
        view = await self._store.describe(principal)
        if view is None:
            raise UnauthenticatedError("this session has ended")
        return view

    async def _open_session(self, principal: Principal) -> str:
        token = self._draw(rules.SECRET_BYTES).hex()
        now = self._clock.now_ms()
        await self._store.insert_session(
            principal, rules.hash_of(token), now, now + rules.SESSION_SECONDS * 1000
        )
        return token

    async def _make_key(self, tenant_id: TenantId, new: NewKey, now_ms: int) -> MadeKey:
        while True:
            key = rules.key_from_seed(self._draw(rules.SECRET_BYTES))
            parts = rules.take_apart(key)
            assert parts is not None
            record = await self._store.insert_key(tenant_id, new, *parts, now_ms)
            if record is not None:  # else the eight public characters were taken: one in 2^47
                return MadeKey(record, key)

    def _check_administrator(self, principal: Principal) -> None:
        if not rules.may_administer_tenants(principal):
            raise ForbiddenError(
                "this needs the scope 'admin' in the first tenant", scope=rules.PLATFORM_ADMIN
            )
