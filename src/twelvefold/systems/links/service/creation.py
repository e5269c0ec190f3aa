"""Creating links, one or ten thousand at a time.

Invariant: what is reported as created is committed, and what is reported as refused left no trace. The
number of transactions a bulk call needs does not grow with its items, but for those that need a
look-up (dedupe, hash mode) or a slow hash (passwords).
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

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
    NewLink,
)
from twelvefold.systems.links.rules import life
from twelvefold.systems.links.rules.codes import BASE36, BASE62, CodeSpace, checked_alias, folded, hash_codes
from twelvefold.systems.links.service.abuse import Abuse
from twelvefold.systems.links.service.allocator import CodeAllocator
from twelvefold.systems.links.service.domains import Domains
from twelvefold.systems.links.service.passwords import Passwords
from twelvefold.systems.links.service.screening import Screening
from twelvefold.systems.links.service.titles import TitleFetcher
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.systems.links.store.links import LinkStore
from twelvefold.systems.links.store.rows import NewRow

_TRIES = 5
"""A counter's code can only be taken by an alias of seven characters; five in a row never happen."""


class _Draft(msgspec.Struct):
    """One item on its way: everything about it but its code."""

    index: int
    new: NewLink
    domain: Domain
    row: NewRow
    is_slow: bool

    def coded(self, code: str) -> NewRow:
        return msgspec.structs.replace(
            self.row, code=code, folded=folded(code, ignore_case=self.domain.ignore_case)
        )


class LinkCreation:
    """Makes links for all tenants."""

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
        self._is_hashing = settings.code_mode == "hash"
        self._passwords = passwords
        self._titles = titles
        self._allocators: Mapping[bool, CodeAllocator] = {
            ignore_case: CodeAllocator(CodeSpace(alphabet, code_key), self._lease(space), settings.code_block)
            for ignore_case, space, alphabet in ((False, "base62", BASE62), (True, "base36", BASE36))
        }

    def _lease(self, space: str) -> Callable[[int], Awaitable[int]]:
        return lambda count: self._links.lease_counters(space, count)

    async def create(self, tenant: TenantId, new: NewLink) -> Link:
        """See `Links.create`; the link comes as stored, without its short URL."""
        screening = await self._screening(tenant)
        draft = self._draft(
            tenant, 0, new, screening=screening, link_id=self._ids.make(), now_ms=self._clock.now_ms()
        )
        if new.password:
            draft.row = msgspec.structs.replace(
                draft.row, password_hash=await self._passwords.hashed(new.password)
            )
        title = await self._titles.fetch(draft.row.url) if new.fetch_title else ""
        link = await self._store(tenant, draft)
        if title and not link.existed:
            await self._links.set_title(tenant, link.id, title)
            link = msgspec.structs.replace(link, title=title)
        return link

    async def _store(self, tenant: TenantId, draft: _Draft) -> Link:
        if draft.new.alias is not None:
            row = draft.coded(draft.new.alias)
            if not await self._links.insert(tenant, row):
                raise AliasTakenError(field="alias")
            return await self._links.find(tenant, (row.domain_id, row.folded))
        if (found := await self._twin(tenant, draft)) is not None:
            return found
        async for code in self._candidates(draft):
            row = draft.coded(code)
            if await self._links.insert(tenant, row):
                return await self._links.find(tenant, (row.domain_id, row.folded))
            # Somebody may have made the same link since we looked: then theirs is the answer.
            if (found := await self._twin(tenant, draft)) is not None:
                return found
        raise AliasTakenError("No free code was found for this address", field="url")

    async def _twin(self, tenant: TenantId, draft: _Draft) -> Link | None:
        row = draft.row
        if row.dedupe_key is None:
            return None
        found = await self._links.find_by_dedupe_key(tenant, row.domain_id, row.dedupe_key, row.created_at_ms)
        return msgspec.structs.replace(found, existed=True) if found is not None else None

    async def _candidates(self, draft: _Draft) -> AsyncIterator[str]:
        if self._is_hashing:
            for code in hash_codes(draft.row.url, BASE36 if draft.domain.ignore_case else BASE62):
                yield code
        else:
            for _ in range(_TRIES):
                yield (await self._allocators[draft.domain.ignore_case].take(1))[0]

    async def create_many(self, tenant: TenantId, items: Sequence[NewLink | TwelvefoldError]) -> BulkResult:
        """See `Links.create_many`."""
        if len(items) > MAX_BULK:
            raise InvalidInputError(f"a bulk call takes at most {MAX_BULK} items, not {len(items)}")
        failures: list[BulkFailure] = []
        drafts = await self._drafts(tenant, items, failures)
        rows = await self._coded_rows([draft for draft in drafts if not draft.is_slow])
        stored = await self._links.insert_many(tenant, [row for _, row in rows])
        created: list[tuple[int, str, str]] = []
        alone = [draft for draft in drafts if draft.is_slow]
        for draft, row in rows:
            if row.id in stored:
                created.append((draft.index, row.code, self._domains.short_url(draft.domain.host, row.code)))
            elif draft.new.alias is not None:
                failures.append(BulkFailure(draft.index, AliasTakenError(field="alias")))
            else:
                alone.append(draft)
        for draft in alone:
            try:
                link = await self.create(tenant, draft.new)
            except TwelvefoldError as error:
                failures.append(BulkFailure(draft.index, error))
            else:
                created.append((draft.index, link.code, self._domains.short_url(link.domain, link.code)))
        return BulkResult(tuple(sorted(created)), tuple(sorted(failures, key=lambda failure: failure.index)))

    async def _drafts(
        self, tenant: TenantId, items: Sequence[NewLink | TwelvefoldError], failures: list[BulkFailure]
    ) -> list[_Draft]:
        screening = await self._screening(tenant)
        now = self._clock.now_ms()
        ids = self._ids.make_many(len(items))
        drafts: list[_Draft] = []
        for index, (item, link_id) in enumerate(zip(items, ids, strict=True)):
            try:
                if isinstance(item, TwelvefoldError):
                    raise item
                drafts.append(
                    self._draft(tenant, index, item, screening=screening, link_id=link_id, now_ms=now)
                )
            except TwelvefoldError as error:
                failures.append(BulkFailure(index, error))
        return drafts

    async def _coded_rows(self, drafts: Sequence[_Draft]) -> list[tuple[_Draft, NewRow]]:
        rows: list[tuple[_Draft, NewRow]] = []
        for ignore_case, allocator in self._allocators.items():
            here = [draft for draft in drafts if draft.domain.ignore_case is ignore_case]
            codes = iter(await allocator.take(sum(draft.new.alias is None for draft in here)))
            rows += [
                (draft, draft.coded(draft.new.alias if draft.new.alias is not None else next(codes)))
                for draft in here
            ]
        return rows

    async def _screening(self, tenant: TenantId) -> Screening:
        return Screening(self._domains.own_hosts, await self._abuse.blocked(tenant))

    def _draft(
        self, tenant: TenantId, index: int, new: NewLink, *, screening: Screening, link_id: int, now_ms: int
    ) -> _Draft:
        if new.alias is not None:
            checked_alias(new.alias)
        domain = self._domains.find(tenant, new.domain)
        url = screening.target(new.url)
        is_deduped = self._is_deduped(new)
        row = NewRow(
            id=link_id,
            domain_id=domain.id,
            folded="",
            code="",
            url=url,
            redirect=new.redirect,
            created_at_ms=now_ms,
            expires_at_ms=life.expiry(now_ms, new.expires_at_ms, new.ttl_seconds),
            max_clicks=new.max_clicks,
            password_hash=None,
            dedupe_key=_dedupe_key(url, new) if is_deduped else None,
            tags=tuple(dict.fromkeys(new.tags)),
            note=new.note,
            rules=screening.rules(new.rules),
        )
        return _Draft(index, new, domain, row, is_deduped or new.password is not None or new.fetch_title)

    def _is_deduped(self, new: NewLink) -> bool:
        if new.dedupe and new.alias is not None:
            raise InvalidInputError(
                "dedupe finds the code by the address; it cannot have an alias too", field="dedupe"
            )
        if new.dedupe and new.password is not None:
            raise InvalidInputError("a link with a password is never shared by dedupe", field="dedupe")
        return new.dedupe or (self._is_hashing and new.alias is None and new.password is None)


def _dedupe_key(url: str, new: NewLink) -> bytes:
    """Two links are the same when a visitor could not tell them apart."""
    options = (url, new.redirect, new.expires_at_ms, new.ttl_seconds, new.max_clicks, new.rules)
    return hashlib.sha256(msgspec.json.encode(options)).digest()
