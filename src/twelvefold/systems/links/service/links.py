"""Creating, reading, changing and ending links.

Invariant: a code belongs to one link at a time and for ever to its tenant; what was acknowledged is
committed. Rules decide, the store touches, this file puts them in order.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError, TwelvefoldError
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import (
    MAX_BULK,
    AliasTakenError,
    BulkFailure,
    BulkResult,
    Domain,
    Link,
    LinkChange,
    NewLink,
    Page,
    Revision,
    Rule,
    State,
    VersionConflictError,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.rules.codes import BASE36, BASE62, CodeSpace, checked_alias, folded, hash_codes
from twelvefold.systems.links.rules.targets import checked_target
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.allocator import CodeAllocator
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.passwords import Passwords
from twelvefold.systems.links.service.titles import TitleFetcher
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.systems.links.store.links import LETTERS, LinkStore, NewRow

_CHANGE_TRIES = 5
_COUNTER_TRIES = 5
"""A counter's code can only be taken by an alias of seven characters; five in a row never happen."""


class Links:
    """Short links of all tenants."""

    def __init__(
        self,
        *,
        links: LinkStore,
        domains: Domains,
        abuse: Abuse,
        ids: SnowflakeGenerator,
        clock: Clock,
        code_key: bytes,
        settings: LinksSettings,
        passwords: Passwords,
        titles: TitleFetcher,
    ) -> None:
        self._links = links
        self._domains = domains
        self._abuse = abuse
        self._ids = ids
        self._clock = clock
        self._settings = settings
        self._passwords = passwords
        self._titles = titles
        self._allocators = {
            name: CodeAllocator(CodeSpace(alphabet, code_key), self._lease(name), settings.code_block)
            for name, alphabet in (("base62", BASE62), ("base36", BASE36))
        }

    def _lease(self, space: str) -> Any:
        async def lease(count: int) -> int:
            return await self._links.lease_counters(space, count)

        return lease

    # Creating

    async def create(self, tenant: TenantId, new: NewLink) -> Link:
        """Make a link. Raises `AliasTakenError`, `TargetRefusedError` and other `InvalidInputError`s."""
        domain = self._domains.find(tenant, new.domain)
        blocked = await self._abuse.blocked(tenant)
        draft = self._draft(new, domain, blocked)
        password_hash = await self._passwords.hashed(new.password) if new.password else None
        title = await self._titles.fetch(draft.url) if new.fetch_title else ""
        draft = msgspec.structs.replace(draft, password_hash=password_hash)
        link = await self._store(tenant, new, draft, domain)
        if title:
            await self._links.set_title(tenant, link.id, title)
            link = msgspec.structs.replace(link, title=title)
        return link

    async def _store(self, tenant: TenantId, new: NewLink, draft: NewRow, domain: Domain) -> Link:
        if new.alias is not None:
            row = _coded(draft, new.alias, domain)
            if not await self._links.insert(tenant, row):
                raise AliasTakenError(field="alias")
            return self._shown(await self._links.find(tenant, (domain.id, row.folded)))
        if draft.dedupe_key is not None:
            found = await self._links.find_by_dedupe_key(
                tenant, domain.id, draft.dedupe_key, draft.created_at_ms
            )
            if found is not None:
                return msgspec.structs.replace(self._shown(found), existed=True)
        for code in await self._candidates(draft.url, domain):
            row = _coded(draft, code, domain)
            if await self._links.insert(tenant, row):
                return self._shown(await self._links.find(tenant, (domain.id, row.folded)))
            if draft.dedupe_key is not None:
                # Somebody made the same link since we looked: theirs is the answer.
                found = await self._links.find_by_dedupe_key(
                    tenant, domain.id, draft.dedupe_key, draft.created_at_ms
                )
                if found is not None:
                    return msgspec.structs.replace(self._shown(found), existed=True)
        raise AliasTakenError("No free code was found for this address", field="url")

    async def _candidates(self, url: str, domain: Domain) -> Sequence[str]:
        if self._settings.code_mode == "hash":
            return list(hash_codes(url, BASE36 if domain.ignore_case else BASE62))
        return await self._allocator(domain).take(_COUNTER_TRIES)

    async def create_many(self, tenant: TenantId, items: Sequence[NewLink | TwelvefoldError]) -> BulkResult:
        """Make many links in one transaction. An item that cannot be made is reported, the others go on.

        Items that could not even be read come in as their errors. Raises `InvalidInputError` above 10,000.
        """
        if len(items) > MAX_BULK:
            raise InvalidInputError(f"a bulk call takes at most {MAX_BULK} items, not {len(items)}")
        blocked = await self._abuse.blocked(tenant)
        failures: list[BulkFailure] = []
        drafts: list[tuple[int, NewLink, NewRow, Domain]] = []
        for index, item in enumerate(items):
            try:
                if isinstance(item, TwelvefoldError):
                    raise item
                domain = self._domains.find(tenant, item.domain)
                drafts.append((index, item, self._draft(item, domain, blocked), domain))
            except TwelvefoldError as error:
                failures.append(BulkFailure(index, error))
        single, rows = await self._bulk_rows(drafts)
        stored = await self._links.insert_many(tenant, [row for _, _, row in rows])
        created = [
            (index, row.code, self._domains.short_url(domain.host, row.code))
            for index, domain, row in rows
            if row.id in stored
        ]
        by_index = {index: (new, domain) for index, new, _, domain in drafts}
        for index, _, row in rows:
            if row.id in stored:
                continue
            if by_index[index][0].alias is not None:
                failures.append(BulkFailure(index, AliasTakenError(field="alias")))
            else:
                single.append(index)
        for index in single:
            new, _ = by_index[index]
            try:
                link = await self.create(tenant, new)
                created.append((index, link.code, link.short_url))
            except TwelvefoldError as error:
                failures.append(BulkFailure(index, error))
        return BulkResult(tuple(sorted(created)), tuple(sorted(failures, key=lambda failure: failure.index)))

    async def _bulk_rows(
        self, drafts: Sequence[tuple[int, NewLink, NewRow, Domain]]
    ) -> tuple[list[int], list[tuple[int, Domain, NewRow]]]:
        """Rows for one insert; items that need a look-up or a slow hash are named apart."""
        hashing = self._settings.code_mode == "hash"
        single = [index for index, new, draft, _ in drafts if _is_slow(new, draft, hashing=hashing)]
        slow = set(single)
        rows: list[tuple[int, Domain, NewRow]] = []
        codeless: dict[str, list[tuple[int, Domain, NewRow]]] = {"base62": [], "base36": []}
        for index, new, draft, domain in drafts:
            if index in slow:
                continue
            if new.alias is not None:
                rows.append((index, domain, _coded(draft, new.alias, domain)))
            else:
                codeless["base36" if domain.ignore_case else "base62"].append((index, domain, draft))
        for space, waiting in codeless.items():
            if waiting:
                codes = await self._allocators[space].take(len(waiting))
                rows += [
                    (index, domain, _coded(draft, code, domain))
                    for (index, domain, draft), code in zip(waiting, codes, strict=True)
                ]
        return single, rows

    def _draft(self, new: NewLink, domain: Domain, blocked: frozenset[str]) -> NewRow:
        """Everything about a new link but its code."""
        now = self._clock.now_ms()
        if new.alias is not None:
            checked_alias(new.alias)
        url = self._target(new.url, blocked, "url")
        return NewRow(
            id=self._ids.make(),
            domain_id=domain.id,
            folded="",
            code="",
            url=url,
            redirect=new.redirect,
            created_at_ms=now,
            expires_at_ms=life.expiry(now, new.expires_at_ms, new.ttl_seconds),
            max_clicks=new.max_clicks,
            password_hash=None,
            dedupe_key=_dedupe_key(url, new) if self._deduped(new) else None,
            tags=tuple(dict.fromkeys(new.tags)),
            note=new.note,
            rules=self._rules(new.rules, blocked),
        )

    def _deduped(self, new: NewLink) -> bool:
        if new.dedupe and new.alias is not None:
            raise InvalidInputError(
                "dedupe finds the code by the address; it cannot have an alias too", field="dedupe"
            )
        return new.dedupe or (self._settings.code_mode == "hash" and new.alias is None)

    def _target(self, url: str, blocked: frozenset[str], field: str) -> str:
        return checked_target(url, own_hosts=self._domains.own_hosts, blocked_hosts=blocked, field=field)

    def _rules(self, rules: Sequence[Rule], blocked: frozenset[str]) -> tuple[Rule, ...]:
        return tuple(
            msgspec.structs.replace(
                rule,
                targets=tuple(
                    msgspec.structs.replace(
                        target, url=self._target(target.url, blocked, f"rules[{place}].targets[{number}].url")
                    )
                    for number, target in enumerate(rule.targets)
                ),
            )
            for place, rule in enumerate(rules)
        )

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
        blocked = await self._abuse.blocked(tenant)
        hashed = await self._passwords.hashed(change.password) if change.password else None
        for _ in range(_CHANGE_TRIES):
            before = await self._links.find(tenant, place)
            version = before.version if change.version is None else change.version
            values = self._changed_columns(before, change, blocked)
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

    def _changed_columns(self, before: Link, change: LinkChange, blocked: frozenset[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in ("redirect", "note"):
            if getattr(change, name) is not msgspec.UNSET:
                values[name] = getattr(change, name)
        if change.tags is not msgspec.UNSET:
            values["tags"] = list(dict.fromkeys(change.tags))
        if change.url is not msgspec.UNSET:
            # A link that stood for an address does not stand for it any more.
            values |= {"url": self._target(change.url, blocked, "url"), "dedupe_key": None, "title": ""}
        if change.rules is not msgspec.UNSET:
            rules = self._rules(change.rules, blocked)
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

    def _allocator(self, domain: Domain) -> CodeAllocator:
        return self._allocators["base36" if domain.ignore_case else "base62"]

    def _shown(self, link: Link) -> Link:
        return msgspec.structs.replace(
            link,
            short_url=self._domains.short_url(link.domain, link.code),
            state=life.state_at(link.state, link.expires_at_ms, self._clock.now_ms()),
        )


def _coded(draft: NewRow, code: str, domain: Domain) -> NewRow:
    return msgspec.structs.replace(draft, code=code, folded=folded(code, ignore_case=domain.ignore_case))


def _is_slow(new: NewLink, draft: NewRow, *, hashing: bool) -> bool:
    return bool(draft.dedupe_key or new.password or new.fetch_title or (hashing and new.alias is None))


def _dedupe_key(url: str, new: NewLink) -> bytes:
    """Two links are the same when a visitor could not tell them apart."""
    options = msgspec.json.encode(
        (url, new.redirect, new.expires_at_ms, new.ttl_seconds, new.max_clicks, new.rules)
    )
    return hashlib.sha256(options).digest()


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
