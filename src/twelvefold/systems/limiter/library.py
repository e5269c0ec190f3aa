"""The limiter in a process of one's own: `async with open_limiter("valkey://…", rules) as limiter`.

Only Valkey is needed; rules are given, not stored.
"""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.leased import LeaseBook
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.local import LocalLimit
from twelvefold.systems.limiter.service.local_limits import LocalLimits
from twelvefold.systems.limiter.service.rule_book import RuleBook, succeed
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.leases import LeaseStore, PermitStore
from twelvefold.systems.limiter.store.shared_state import SharedState

HOME_SECONDS = 0.5
"""How long a home far away may take to grant a lease."""


@asynccontextmanager
async def open_limiter(
    url: str,
    rules: Iterable[Rule] = (),
    *,
    settings: LimiterSettings | None = None,
    tenant: TenantId = DEFAULT_TENANT,
) -> AsyncIterator[Limiter]:
    """A limiter over the Valkey at `url`. Raises `EngineUnavailableError` when nothing answers there now."""
    settings = settings or LimiterSettings()
    async with AsyncExitStack() as stack:
        valkey = await stack.enter_async_context(await Valkey.open(url, name="limiter"))
        home = valkey
        if settings.home_url:
            home = await stack.enter_async_context(await Valkey.open(settings.home_url, name="limiter home"))
        limiter, closers = build_limiter(valkey, home, settings=settings, parts=settings.fallback_parts or 1)
        for closer in closers:
            stack.push_async_callback(closer.close)
        for rule in rules:
            limiter.book.put(tenant, succeed(None, rule))
        yield limiter


def build_limiter(
    valkey: Valkey, home: Valkey, *, settings: LimiterSettings, parts: int
) -> tuple[Limiter, tuple[LeaseBook, ...]]:
    """Wire a limiter onto its Valkey and its home's (which may be the same); the lease books are to be closed."""
    answer_seconds = settings.answer_ms / 1000
    holder = secrets.token_hex(6)
    local = LocalLimits(max_keys=settings.local_keys, fallback_parts=parts)

    def head_start(bound: Bound) -> LocalLimit | None:
        if home is valkey or not settings.head_start_percent:
            return None
        return local.limit(bound, parts=100 // settings.head_start_percent, purpose=b"head start")

    leases = LeaseBook(
        LeaseStore(valkey, holder, call_seconds=answer_seconds), lease_seconds=settings.lease_seconds
    )
    far = LeaseBook(
        LeaseStore(home, holder, call_seconds=HOME_SECONDS if home is not valkey else answer_seconds),
        lease_seconds=settings.lease_seconds * (1 if home is valkey else 5),
        head_start=head_start,
    )
    shared = SharedState(valkey, deadline_seconds=answer_seconds)
    limiter = Limiter(
        shared=shared,
        home_shared=shared if home is valkey else SharedState(home, deadline_seconds=HOME_SECONDS),
        leases=leases,
        home=far,
        permits=PermitStore(valkey, call_seconds=answer_seconds),
        book=RuleBook(),
        local=local,
    )
    return limiter, (leases, far)
