"""Access in PostgreSQL and Valkey. Every method takes the tenant, except those that find out who it is.

Invariant: secrets come in as hashes only. A login token lives in Valkey alone and is taken with GETDEL,
so two browsers that use it at once get one session.
"""

from datetime import datetime

from twelvefold.engines.database import ConstraintError, Database, Record
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import from_ms, to_ms
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web.access.contracts import ApiKey, NewKey, SessionView, Tenant, TenantNameTakenError
from twelvefold.web.access.rules import LOGIN_TOKEN_SECONDS


def _sql(text: str) -> str:
    """Our own names into a statement; values are always bound."""
    return text.replace(
        ":key", "id, tenant_id, public, name, scopes, tier, created_at, expires_at, last_used_at, revoked_at"
    ).replace(":live", "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)")


_KEY_BY_PUBLIC = _sql("""
    SELECT k.tenant_id, k.id, k.scopes, k.tier, k.secret_hash, k.last_used_at
    FROM access.api_key k WHERE k.public = $1 AND :live""")
_KEY_BY_ID = _sql(
    "SELECT k.tenant_id, k.id, k.scopes, k.tier FROM access.api_key k WHERE k.id = $1 AND :live"
)
_KEY_BY_SESSION = _sql("""
    SELECT k.tenant_id, k.id, k.scopes, k.tier FROM access.session s JOIN access.api_key k ON k.id = s.key_id
    WHERE s.token_hash = $1 AND s.expires_at > $2 AND :live""")
_TOUCH_KEY = """
    UPDATE access.api_key SET last_used_at = greatest(last_used_at, $3) WHERE tenant_id = $1 AND id = $2"""
_INSERT_KEY = _sql("""
    INSERT INTO access.api_key (tenant_id, public, secret_hash, name, scopes, tier, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (public) DO NOTHING RETURNING :key""")
_LIST_KEYS = _sql("""
    SELECT :key FROM access.api_key WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3""")
_ONE_KEY = _sql("SELECT :key FROM access.api_key WHERE tenant_id = $1 AND id = $2")
_REVOKE_KEY = _sql("""
    UPDATE access.api_key SET revoked_at = coalesce(revoked_at, $3)
    WHERE tenant_id = $1 AND id = $2 RETURNING :key""")
_RESTORE_KEY = _sql("""
    UPDATE access.api_key SET revoked_at = NULL
    WHERE tenant_id = $1 AND id = $2 AND (revoked_at IS NULL OR revoked_at > $3) RETURNING :key""")
_DESCRIBE = """
    SELECT t.name AS tenant, k.name AS key FROM access.api_key k JOIN access.tenant t ON t.id = k.tenant_id
    WHERE k.tenant_id = $1 AND k.id = $2"""


class AccessStore:
    """See the module."""

    def __init__(self, database: Database, valkey: Valkey) -> None:
        self._database = database
        self._valkey = valkey

    # -- who is asking --------------------------------------------------------------------------

    async def key_by_public(self, public: str, now_ms: int) -> tuple[Principal, bytes, int | None] | None:
        """A live key's principal, the hash of its secret, and when it was last used."""
        row = await self._database.fetch_row(
            _KEY_BY_PUBLIC,
            public,
            from_ms(now_ms),
        )
        return None if row is None else (_principal(row), row["secret_hash"], _ms(row["last_used_at"]))

    async def principal_of_key_id(self, key_id: int, now_ms: int) -> Principal | None:
        """A live key's principal."""
        row = await self._database.fetch_row(
            _KEY_BY_ID,
            key_id,
            from_ms(now_ms),
        )
        return None if row is None else _principal(row)

    async def principal_of_session(self, token_hash: bytes, now_ms: int) -> Principal | None:
        """The principal of the key that a live session was opened with, while that key lives."""
        row = await self._database.fetch_row(
            _KEY_BY_SESSION,
            token_hash,
            from_ms(now_ms),
        )
        return None if row is None else _principal(row)

    async def touch(self, tenant_id: TenantId, key_id: int, now_ms: int) -> None:
        """The key was used."""
        await self._database.execute(
            _TOUCH_KEY,
            tenant_id,
            key_id,
            from_ms(now_ms),
        )

    # -- keys -----------------------------------------------------------------------------------

    async def insert_key(
        self, tenant_id: TenantId, new: NewKey, public: str, secret_hash: bytes, now_ms: int
    ) -> ApiKey | None:
        """Keep a new key; None if its public part exists already."""
        row = await self._database.fetch_row(
            _INSERT_KEY,
            tenant_id,
            public,
            secret_hash,
            new.name,
            list(new.scopes),
            new.tier,
            from_ms(now_ms),
            None if new.expires_at_ms is None else from_ms(new.expires_at_ms),
        )
        return None if row is None else _key(row)

    async def keys(self, tenant_id: TenantId, *, before_id: int, limit: int) -> list[ApiKey]:
        """A tenant's keys with ids below `before_id`, newest first."""
        rows = await self._database.fetch(
            _LIST_KEYS,
            tenant_id,
            before_id,
            limit,
        )
        return [_key(row) for row in rows]

    async def key(self, tenant_id: TenantId, key_id: int) -> ApiKey | None:
        """One key."""
        row = await self._database.fetch_row(_ONE_KEY, tenant_id, key_id)
        return None if row is None else _key(row)

    async def revoke(self, tenant_id: TenantId, key_id: int, now_ms: int) -> ApiKey | None:
        """Revoke a key; one that is revoked already stays as it is. None if there is none."""
        row = await self._database.fetch_row(
            _REVOKE_KEY,
            tenant_id,
            key_id,
            from_ms(now_ms),
        )
        return None if row is None else _key(row)

    async def restore(self, tenant_id: TenantId, key_id: int, revoked_after_ms: int) -> ApiKey | None:
        """Undo a revocation later than `revoked_after_ms`; None if there is no such key."""
        row = await self._database.fetch_row(
            _RESTORE_KEY,
            tenant_id,
            key_id,
            from_ms(revoked_after_ms),
        )
        return None if row is None else _key(row)

    # -- tenants --------------------------------------------------------------------------------

    async def ensure_tenant(self, tenant_id: TenantId, name: str, now_ms: int) -> None:
        """Make the tenant with this id, if it is not there."""
        await self._database.execute(
            "INSERT INTO access.tenant (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
            tenant_id,
            name,
            from_ms(now_ms),
        )

    async def insert_tenant(self, name: str, now_ms: int) -> Tenant:
        """A new tenant. Raises `TenantNameTakenError`."""
        try:
            row = await self._database.fetch_row(
                "INSERT INTO access.tenant (name, created_at) VALUES ($1, $2) RETURNING id, name, created_at",
                name,
                from_ms(now_ms),
            )
        except ConstraintError as error:
            if error.constraint == "tenant_name_taken":
                raise TenantNameTakenError(field="name") from error
            raise
        assert row is not None
        return _tenant(row)

    async def tenants(self, *, before_id: int, limit: int) -> list[Tenant]:
        """All tenants with ids below `before_id`, newest first."""
        rows = await self._database.fetch(
            "SELECT id, name, created_at FROM access.tenant WHERE id < $1 ORDER BY id DESC LIMIT $2",
            before_id,
            limit,
        )
        return [_tenant(row) for row in rows]

    # -- sessions -------------------------------------------------------------------------------

    async def insert_session(
        self, principal: Principal, token_hash: bytes, now_ms: int, expires_at_ms: int
    ) -> None:
        """Keep a session, and drop those that have ended."""
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM access.session WHERE expires_at <= $1", from_ms(now_ms))
            await transaction.execute(
                "INSERT INTO access.session (token_hash, tenant_id, key_id, created_at, expires_at)"
                " VALUES ($1, $2, $3, $4, $5)",
                token_hash,
                principal.tenant_id,
                principal.key_id,
                from_ms(now_ms),
                from_ms(expires_at_ms),
            )

    async def delete_session(self, tenant_id: TenantId, token_hash: bytes) -> None:
        """End a session."""
        await self._database.execute(
            "DELETE FROM access.session WHERE tenant_id = $1 AND token_hash = $2", tenant_id, token_hash
        )

    async def describe(self, principal: Principal) -> SessionView | None:
        """A principal in words."""
        row = await self._database.fetch_row(
            _DESCRIBE,
            principal.tenant_id,
            principal.key_id,
        )
        if row is None:
            return None
        return SessionView(
            tenant_id=principal.tenant_id,
            tenant_name=row["tenant"],
            key_id=principal.key_id,
            key_name=row["key"],
            scopes=tuple(sorted(principal.scopes)),
            tier=principal.tier,
        )

    async def keep_login_token(self, token_hash: bytes, key_id: int) -> None:
        """Let the holder of a token log in once, as that key."""
        await self._valkey.call("SET", _login_key(token_hash), str(key_id), "EX", LOGIN_TOKEN_SECONDS)

    async def take_login_token(self, token_hash: bytes) -> int | None:
        """The key of a token that nobody has taken yet."""
        found = await self._valkey.call("GETDEL", _login_key(token_hash))
        return None if found is None else int(found)


def _login_key(token_hash: bytes) -> str:
    return f"access:login:{token_hash.hex()}"


def _principal(row: Record) -> Principal:
    return Principal(
        tenant_id=TenantId(row["tenant_id"]),
        key_id=row["id"],
        scopes=frozenset(row["scopes"]),
        tier=row["tier"],
    )


def _key(row: Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant_id=TenantId(row["tenant_id"]),
        public=row["public"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        tier=row["tier"],
        created_at_ms=to_ms(row["created_at"]),
        expires_at_ms=_ms(row["expires_at"]),
        last_used_at_ms=_ms(row["last_used_at"]),
        revoked_at_ms=_ms(row["revoked_at"]),
    )


def _tenant(row: Record) -> Tenant:
    return Tenant(id=TenantId(row["id"]), name=row["name"], created_at_ms=to_ms(row["created_at"]))


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)
