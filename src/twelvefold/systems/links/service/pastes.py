"""Pastes: texts under codes of the same space as the links; they expire, or burn after one reading."""

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import (
    MAX_PASTE_BYTES,
    Destination,
    LinkGoneError,
    LinkNotFoundError,
    NewPaste,
    Paste,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.service.allocator import CodeAllocator
from twelvefold.systems.links.service.budgets import ClickBudgets
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.store.pastes import PasteRow, PasteStore


class Pastes:
    """Texts of all tenants."""

    def __init__(
        self,
        *,
        store: PasteStore,
        allocator: CodeAllocator,
        budgets: ClickBudgets,
        domains: Domains,
        ids: SnowflakeGenerator,
        clock: Clock,
    ) -> None:
        self._store = store
        self._allocator = allocator
        self._budgets = budgets
        self._domains = domains
        self._ids = ids
        self._clock = clock

    async def create(self, tenant: TenantId, new: NewPaste) -> Paste:
        """Keep a text. Raises `InvalidInputError` naming the field."""
        if len(new.text.encode("utf-8", "surrogatepass")) > MAX_PASTE_BYTES:
            raise InvalidInputError(f"a paste has at most {MAX_PASTE_BYTES} bytes", field="text")
        if "\x00" in new.text:
            raise InvalidInputError("a paste cannot have the character U+0000", field="text")
        now = self._clock.now_ms()
        for code in await self._allocator.take(3):
            row = PasteRow(
                id=self._ids.make(),
                code=code,
                syntax=new.syntax,
                body=new.text,
                created_at_ms=now,
                expires_at_ms=life.expiry(now, new.expires_at_ms, new.ttl_seconds),
                burn=new.burn_after_reading,
            )
            if await self._store.insert(tenant, (0, code), row):
                return self._shown(row)
        raise InvalidInputError("no free code was found")

    async def read(self, destination: Destination) -> Paste:
        """The text behind a code. Reading one that burns uses it up: exactly one reader gets it."""
        life.require_alive(destination, self._clock.now_ms())
        if destination.limited and not await self._budgets.take(destination.link_id):
            raise LinkGoneError("This text was there to be read once, and somebody has read it")
        row = await self._store.read(destination.link_id)
        if row is None:
            raise LinkNotFoundError
        if row.burn:
            await self._store.erase(row.id)
        return msgspec.structs.replace(self._shown(row), text=row.body)

    def _shown(self, row: PasteRow) -> Paste:
        short_url = self._domains.short_url("", row.code)
        return Paste(
            id=row.id,
            code=row.code,
            short_url=short_url,
            raw_url=f"{short_url}/raw",
            syntax=row.syntax,
            size_bytes=len(row.body.encode("utf-8", "surrogatepass")),
            created_at_ms=row.created_at_ms,
            expires_at_ms=row.expires_at_ms,
            burn_after_reading=row.burn,
        )
