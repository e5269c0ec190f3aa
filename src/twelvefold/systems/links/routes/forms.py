"""The JSON of the links API: ids as strings, times as RFC 3339 with milliseconds, `snake_case` names."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from twelvefold.kernel.clock import to_ms
from twelvefold.systems.links.contracts import (
    Alias,
    Link,
    LinkChange,
    MaxClicks,
    NewLink,
    NewPaste,
    Note,
    Password,
    Paste,
    RedirectStatus,
    Revision,
    Rule,
    Rules,
    State,
    Stats,
    Tags,
    TtlSeconds,
    Url,
)
from twelvefold.web.moments import rfc3339, rfc3339_or_none

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=260)]


class LinkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link to create."""

    url: Url
    alias: Alias | None = None
    domain: Host | None = None
    expires_at: Moment | None = None
    ttl_seconds: TtlSeconds | None = None
    redirect: RedirectStatus = 302
    max_clicks: MaxClicks | None = None
    password: Password | None = None
    tags: Tags = ()
    note: Note = ""
    dedupe: bool = False
    rules: Rules = ()
    fetch_title: bool = False

    def to_contract(self) -> NewLink:
        """As the service takes it."""
        return NewLink(
            url=self.url,
            alias=self.alias,
            domain=self.domain,
            expires_at_ms=to_ms(self.expires_at) if self.expires_at is not None else None,
            ttl_seconds=self.ttl_seconds,
            redirect=self.redirect,
            max_clicks=self.max_clicks,
            password=self.password,
            tags=self.tags,
            note=self.note,
            dedupe=self.dedupe,
            rules=self.rules,
            fetch_title=self.fetch_title,
        )


class LinkPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes: what is left out stays, `null` takes away; `version` guards against a lost update."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    expires_at: Moment | None | msgspec.UnsetType = msgspec.UNSET
    redirect: RedirectStatus | msgspec.UnsetType = msgspec.UNSET
    max_clicks: MaxClicks | None | msgspec.UnsetType = msgspec.UNSET
    password: Password | None | msgspec.UnsetType = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    note: Note | msgspec.UnsetType = msgspec.UNSET
    rules: Rules | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    version: str | None = None

    def to_contract(self) -> LinkChange:
        """As the service takes it. Raises `ValueError` for a version that is no number."""
        expires = self.expires_at
        return LinkChange(
            url=self.url,
            expires_at_ms=to_ms(expires) if isinstance(expires, datetime) else expires,
            redirect=self.redirect,
            max_clicks=self.max_clicks,
            password=self.password,
            tags=self.tags,
            note=self.note,
            rules=self.rules,
            disabled=self.disabled,
            version=None if self.version is None else int(self.version),
        )


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """A link."""

    id: str
    code: str
    domain: str
    short_url: str
    url: str
    redirect: int
    state: State
    created_at: str
    updated_at: str
    version: str
    expires_at: str | None
    max_clicks: int | None
    clicks_left: int | None
    has_password: bool
    tags: tuple[str, ...]
    note: str
    title: str
    rules: tuple[Rule, ...]
    clicks: int

    @classmethod
    def of(cls, link: Link) -> "LinkView":
        """As the API shows it."""
        return cls(
            id=str(link.id),
            code=link.code,
            domain=link.domain,
            short_url=link.short_url,
            url=link.url,
            redirect=link.redirect,
            state=link.state,
            created_at=rfc3339(link.created_at_ms),
            updated_at=rfc3339(link.updated_at_ms),
            version=str(link.version),
            expires_at=rfc3339_or_none(link.expires_at_ms),
            max_clicks=link.max_clicks,
            clicks_left=link.clicks_left,
            has_password=link.has_password,
            tags=link.tags,
            note=link.note,
            title=link.title,
            rules=link.rules,
            clicks=link.clicks,
        )


class LinkList(msgspec.Struct, frozen=True):
    """A page of links, newest first."""

    items: list[LinkView]
    next_cursor: str | None


class RevisionView(msgspec.Struct, frozen=True, kw_only=True):
    """What a code pointed to from a moment on."""

    version: str
    url: str
    changed_at: str
    change: str

    @classmethod
    def of(cls, revision: Revision) -> "RevisionView":
        """As the API shows it."""
        return cls(
            version=str(revision.version),
            url=revision.url,
            changed_at=rfc3339(revision.changed_at_ms),
            change=revision.change,
        )


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item's outcome: a code, or the problem that stopped it."""

    index: int
    code: str | None = None
    short_url: str | None = None
    error: dict[str, Any] | None = None


class BulkView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a bulk call."""

    created: int
    failed: int
    results: list[BulkOutcome]


class PasteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text to keep under a code."""

    text: Annotated[str, msgspec.Meta(min_length=1)]
    syntax: Annotated[str, msgspec.Meta(max_length=40)] = ""
    expires_at: Moment | None = None
    ttl_seconds: TtlSeconds | None = None
    burn_after_reading: bool = False

    def to_contract(self) -> NewPaste:
        """As the service takes it."""
        return NewPaste(
            text=self.text,
            syntax=self.syntax,
            expires_at_ms=to_ms(self.expires_at) if self.expires_at is not None else None,
            ttl_seconds=self.ttl_seconds,
            burn_after_reading=self.burn_after_reading,
        )


class PasteView(msgspec.Struct, frozen=True, kw_only=True):
    """A stored text."""

    id: str
    code: str
    short_url: str
    raw_url: str
    syntax: str
    size_bytes: int
    created_at: str
    expires_at: str | None
    burn_after_reading: bool

    @classmethod
    def of(cls, paste: Paste) -> "PasteView":
        """As the API shows it."""
        return cls(
            id=str(paste.id),
            code=paste.code,
            short_url=paste.short_url,
            raw_url=paste.raw_url,
            syntax=paste.syntax,
            size_bytes=paste.size_bytes,
            created_at=rfc3339(paste.created_at_ms),
            expires_at=rfc3339_or_none(paste.expires_at_ms),
            burn_after_reading=paste.burn_after_reading,
        )


class SeriesPoint(msgspec.Struct, frozen=True):
    """Clicks in one step of a series."""

    at: str
    clicks: int


class GroupCount(msgspec.Struct, frozen=True):
    """Clicks of one value."""

    value: str
    clicks: int


class TotalsView(msgspec.Struct, frozen=True):
    """Counted clicks; bots and previews stand apart."""

    clicks: int
    unique_visitors: int
    bots: int


class StatsView(msgspec.Struct, frozen=True, kw_only=True):
    """A link's clicks over a span of time, widened to whole hours."""

    from_: str = msgspec.field(name="from")
    to: str
    interval: str
    totals: TotalsView
    series: list[SeriesPoint]
    groups: list[GroupCount]

    @classmethod
    def of(cls, stats: Stats) -> "StatsView":
        """As the API shows it."""
        totals = stats.totals
        return cls(
            from_=rfc3339(stats.from_ms),
            to=rfc3339(stats.to_ms),
            interval=stats.interval,
            totals=TotalsView(totals.clicks, totals.unique_visitors, totals.bots),
            series=[SeriesPoint(rfc3339(at), clicks) for at, clicks in stats.series],
            groups=[GroupCount(value, clicks) for value, clicks in stats.groups],
        )


class TopLink(msgspec.Struct, frozen=True):
    """One of the most clicked links."""

    code: str
    clicks: int


class TenantStatsView(msgspec.Struct, frozen=True):
    """All links at a glance."""

    links: int
    clicks: int
    clicks_today: int
    top: list[TopLink]


class DomainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host of your own to serve codes under."""

    host: Host
    ignore_case: bool = False


class DomainView(msgspec.Struct, frozen=True):
    """A registered host."""

    id: str
    host: str
    ignore_case: bool


class HostRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host to block."""

    host: Host


class IdView(msgspec.Struct, frozen=True):
    """An id taken apart."""

    id: str
    timestamp: str
    worker_id: int
    sequence: int
