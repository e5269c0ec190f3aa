"""Creating, reading, changing and ending links.

Invariant: a code belongs to one link at a time and for ever to its tenant; what was acknowledged is
committed. Rules decide, the store touches, this file puts them in order.
"""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import (
    BulkResult,
    Link,
    LinkChange,
    NewLink,
    Page,
    Revision,
    State,
    VersionConflictError,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.creation import LinkCreation
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.passwords import Passwords
from twelvefold.systems.links.service.screening import Screening
from twelvefold.systems.links.store.links import LinkStore
from twelvefold.systems.links.store.rows import LETTERS

_CHANGE_TRIES = 5


class Links:
    """Short links of all tenants."""

    def __init__(
        self,
        *,
        links: LinkStore,
        domains: Domains,
        abuse: Abuse,
        clock: Clock,
        passwords: Passwords,
        creation: LinkCreation,
    ) -> None:
        self._links = links
        self._domains = domains
        self._abuse = abuse
        self._clock = clock
        self._passwords = passwords
        self._creation = creation

    # Creating

    async def create(self, tenant: TenantId, new: NewLink) -> Link:
        """Make a link; with `dedupe`, find the one that stands for the address already.

        Raises `AliasTakenError`, `AliasRefusedError`, `TargetRefusedError`, `InvalidInputError`.
        """
        return self._shown(await self._creation.create(tenant, new))

    async def create_many(self, tenant: TenantId, items: Sequence[NewLink | TwelvefoldError]) -> BulkResult:
        """Make up to 10,000 links. An item that cannot be made is reported, and the others go on.

        Items that could not even be read come in as their errors. Raises `InvalidInputError` above 10,000.
        """
        return await self._creation.create_many(tenant, items)

    # Reading

    async def get(self, tenant: TenantId, code: str, domain: str | None = None) -> Link:
        """One of the tenant's links. Raises `LinkNotFoundError`."""
        return self._shown(await self._links.find(tenant, self._domains.place(tenant, code, domain)))

    async def list(
        self,
        tenant: TenantId,
        *,
        text: str | None = None,
        tag: str | None = None,
        state: State | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """The tenant's links, newest first; without a state, all but the deleted ones."""
        found = await self._links.page(
            tenant,
            before_id=_read_cursor(cursor) if cursor else None,
            limit=limit + 1,
            text=text,
            tag=tag,
            state=state,
            now_ms=self._clock.now_ms(),
        )
        items = tuple(self._shown(link) for link in found[:limit])
        return Page(items, _write_cursor(items[-1].id) if len(found) > limit else None)

    async def ranked(self, tenant: TenantId, order: str, limit: int, start: int = 0) -> Sequence[Link]:
        """The tenant's links by `top`, `bottom` (clicks), `last` or `rand`."""
        return [self._shown(link) for link in await self._links.ranked(tenant, order, limit, start)]

    async def history(self, tenant: TenantId, code: str, domain: str | None = None) -> Sequence[Revision]:
        """What the code pointed to, and when."""
        return await self._links.history(tenant, self._domains.place(tenant, code, domain))

    # Changing

    async def change(
        self, tenant: TenantId, code: str, change: LinkChange, domain: str | None = None
    ) -> Link:
        """Edit a link; every process sees it within 100 ms."""
        place = self._domains.place(tenant, code, domain)
        screening = Screening(self._domains.own_hosts, await self._abuse.blocked(tenant))
        hashed = await self._passwords.hashed(change.password) if change.password else None
        for _ in range(_CHANGE_TRIES):
            before = await self._links.find(tenant, place)
            version = before.version if change.version is None else change.version
            values = self._changed_columns(before, change, screening)
            if change.password is not msgspec.UNSET:
                values["password_hash"] = hashed
            try:
                after = await self._links.change(
                    tenant, place, values, version=version, now_ms=self._clock.now_ms()
                )
            except VersionConflictError:
                if change.version is not None:
                    raise
                continue  # the caller did not ask about versions: decide again on what stands there now
            return self._shown(after)
        raise VersionConflictError(field="version")

    def _changed_columns(self, before: Link, change: LinkChange, screening: Screening) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in ("redirect", "note"):
            if getattr(change, name) is not msgspec.UNSET:
                values[name] = getattr(change, name)
        if change.tags is not msgspec.UNSET:
            values["tags"] = list(dict.fromkeys(change.tags))
        if change.url is not msgspec.UNSET:
            # A link that stood for an address does not stand for it any more.
            values |= {"url": screening.target(change.url), "dedupe_key": None, "title": ""}
        if change.rules is not msgspec.UNSET:
            rules = screening.rules(change.rules)
            values["rules"] = msgspec.to_builtins(rules) if rules else None
        return values | self._changed_life(before, change)

    def _changed_life(self, before: Link, change: LinkChange) -> dict[str, Any]:
        """Columns that say until when a link lives; raising a limit that ended it wakes it up."""
        values: dict[str, Any] = {}
        alive_again = False
        if change.expires_at_ms is not msgspec.UNSET:
            values["expires_at_ms"] = life.expiry(self._clock.now_ms(), change.expires_at_ms, None)
            alive_again |= before.state == "expired"
        if change.max_clicks is not msgspec.UNSET:
            used = (before.max_clicks or 0) - (before.clicks_left or 0)
            if change.max_clicks is not None and change.max_clicks <= used:
                raise InvalidInputError(
                    f"{used} clicks are used already; the limit must be higher", field="max_clicks"
                )
            values["max_clicks"] = change.max_clicks
            alive_again |= before.state == "used_up"
        if change.disabled is not msgspec.UNSET and before.state in ("active", "disabled"):
            values["state"] = LETTERS["disabled" if change.disabled else "active"]
        elif alive_again:
            values |= {"state": LETTERS["active"], "ended_at_ms": None}
        return values

    async def delete(self, tenant: TenantId, code: str, domain: str | None = None) -> None:
        """End a link; its code answers 410 for as long as the tombstone stands."""
        await self._links.end(tenant, self._domains.place(tenant, code, domain), self._clock.now_ms())

    async def restore(self, tenant: TenantId, code: str, domain: str | None = None) -> Link:
        """Undo a delete while the tombstone stands."""
        place = self._domains.place(tenant, code, domain)
        return self._shown(await self._links.restore(tenant, place, self._clock.now_ms()))

    # Forms

    def _shown(self, link: Link) -> Link:
        return msgspec.structs.replace(
            link,
            short_url=self._domains.short_url(link.domain, link.code),
            state=life.state_at(link.state, link.expires_at_ms, self._clock.now_ms()),
        )


def _write_cursor(link_id: int) -> str:
    return base64.urlsafe_b64encode(link_id.to_bytes(8, "big")).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=")
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise InvalidInputError(
            "this is not a cursor of ours", field="cursor", hint="send next_cursor as it came"
        )
    return int.from_bytes(raw, "big")
