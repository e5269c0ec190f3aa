"""What crosses the boundary of the links system: frozen structs with units in their names, and its errors.

Times are milliseconds since 1970 UTC inside; the routes turn them into RFC 3339 text.
"""

from typing import Annotated, Literal

import msgspec

from twelvefold.kernel.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    TwelvefoldError,
    UnauthenticatedError,
)

RedirectStatus = Literal[301, 302, 307, 308]
State = Literal["active", "disabled", "expired", "used_up", "deleted"]
Kind = Literal["link", "paste"]
Device = Literal["mobile", "tablet", "desktop", "other"]
Facet = Literal["country", "referrer", "device", "browser", "os", "language"]
Interval = Literal["hour", "day"]

MAX_URL_LENGTH = 8192
MAX_BULK = 10_000
MAX_PASTE_BYTES = 1_000_000

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL_LENGTH)]
Alias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=20)]
Note = Annotated[str, msgspec.Meta(max_length=2000)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
MaxClicks = Annotated[int, msgspec.Meta(ge=1, le=2_000_000_000)]
TtlSeconds = Annotated[int, msgspec.Meta(ge=1, le=3_153_600_000)]
Words = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], ...], msgspec.Meta(max_length=250)
]


class LinkNotFoundError(NotFoundError):
    """There is no link with this code."""

    code = "links.not_found"


class LinkGoneError(GoneError):
    """This link has ended."""

    code = "links.gone"


class AliasTakenError(ConflictError):
    """This alias is taken on this domain; choose another."""

    code = "links.alias_taken"


class AliasRefusedError(InvalidInputError):
    """This alias cannot be used."""

    code = "links.alias_refused"


class TargetRefusedError(InvalidInputError):
    """This address cannot be a link's target."""

    code = "links.target_refused"


class VersionConflictError(ConflictError):
    """The link was changed since you read it; read it again and repeat your change."""

    code = "links.version_conflict"


class DomainRefusedError(InvalidInputError):
    """This domain cannot be used."""

    code = "links.domain_refused"


class DomainTakenError(ConflictError):
    """This domain is registered already."""

    code = "links.domain_taken"


class PasswordWrongError(ForbiddenError):
    """The password is wrong."""

    code = "links.password_wrong"


class PasswordNeededError(UnauthenticatedError):
    """This link asks for a password."""

    code = "links.password_needed"


class TooManyAttemptsError(RateLimitedError):
    """Too many passwords were tried on this link; wait a minute."""

    code = "links.too_many_attempts"


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions of a rule; all that are given must hold, and one of each list is enough."""

    country: Words = ()
    device: Annotated[tuple[Device, ...], msgspec.Meta(max_length=4)] = ()
    language: Words = ()
    query: Annotated[dict[str, str], msgspec.Meta(max_length=20)] = msgspec.field(default_factory=dict)


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One address of a rule and its share among the rule's targets."""

    url: Url
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where visitors who match go; the first rule that matches decides."""

    targets: Annotated[tuple[Target, ...], msgspec.Meta(min_length=1, max_length=20)]
    when: When = msgspec.field(default_factory=When)


Rules = Annotated[tuple[Rule, ...], msgspec.Meta(max_length=50)]


class NewLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link to create. `expires_at_ms` and `ttl_seconds` exclude each other."""

    url: Url
    alias: Alias | None = None
    domain: str | None = None
    expires_at_ms: int | None = None
    ttl_seconds: TtlSeconds | None = None
    redirect: RedirectStatus = 302
    max_clicks: MaxClicks | None = None
    password: Password | None = None
    tags: Tags = ()
    note: Note = ""
    dedupe: bool = False
    rules: Rules = ()
    fetch_title: bool = False


class LinkChange(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to a link; what is `UNSET` stays. `version` makes it fail if somebody was quicker."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    expires_at_ms: int | None | msgspec.UnsetType = msgspec.UNSET
    redirect: RedirectStatus | msgspec.UnsetType = msgspec.UNSET
    max_clicks: MaxClicks | None | msgspec.UnsetType = msgspec.UNSET
    password: Password | None | msgspec.UnsetType = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    note: Note | msgspec.UnsetType = msgspec.UNSET
    rules: Rules | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    version: int | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A stored link."""

    id: int
    code: str
    domain: str
    short_url: str
    url: str
    redirect: RedirectStatus
    state: State
    created_at_ms: int
    updated_at_ms: int
    version: int
    expires_at_ms: int | None
    max_clicks: int | None
    clicks_left: int | None
    has_password: bool
    tags: tuple[str, ...]
    note: str
    title: str
    rules: tuple[Rule, ...]
    clicks: int
    existed: bool = False
    """True when `dedupe` found this link instead of making one."""


class Page(msgspec.Struct, frozen=True):
    """Some links, newest first, and where to go on."""

    items: tuple[Link, ...]
    next_cursor: str | None


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What a code pointed to from `changed_at_ms` on."""

    version: int
    url: str
    changed_at_ms: int
    change: str


class Destination(msgspec.Struct, frozen=True, array_like=True):
    """What the redirect path knows of a code; it is what the caches hold."""

    link_id: int
    version: int
    kind: Kind
    state: State
    url: str
    redirect: int
    expires_at_ms: int | None = None
    limited: bool = False
    password_hash: str | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the answer is the same for everybody until it changes or expires."""
        return (
            self.kind == "link"
            and self.state == "active"
            and not (self.limited or self.rules or self.password_hash is not None)
        )


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A host whose paths are codes. Id 0 is the server's own, shared by all tenants."""

    id: int
    tenant_id: int
    host: str
    ignore_case: bool


class NewPaste(msgspec.Struct, frozen=True, kw_only=True):
    """A text to keep under a code."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASTE_BYTES)]
    syntax: Annotated[str, msgspec.Meta(max_length=40)] = ""
    expires_at_ms: int | None = None
    ttl_seconds: TtlSeconds | None = None
    burn_after_reading: bool = False


class Paste(msgspec.Struct, frozen=True, kw_only=True):
    """A stored text."""

    id: int
    code: str
    short_url: str
    raw_url: str
    syntax: str
    size_bytes: int
    created_at_ms: int
    expires_at_ms: int | None
    burn_after_reading: bool
    text: str | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counted clicks; bots and previews stand apart. A visitor is counted once a day."""

    clicks: int
    unique_visitors: int
    bots: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """A link's clicks over a span of time."""

    from_ms: int
    to_ms: int
    interval: Interval
    totals: Totals
    series: tuple[tuple[int, int], ...]
    groups: tuple[tuple[str, int], ...]


class TenantStats(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's links at a glance."""

    links: int
    clicks: int
    clicks_today: int
    top: tuple[tuple[str, int], ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's complaint about a link."""

    id: int
    code: str
    reason: str
    reported_at_ms: int


class BulkFailure(msgspec.Struct, frozen=True):
    """Why one item of a bulk call was not made; the others went on."""

    index: int
    error: TwelvefoldError


class BulkResult(msgspec.Struct, frozen=True):
    """One outcome an item, in their order."""

    created: tuple[tuple[int, str, str], ...]
    """`(index, code, short_url)`"""
    failures: tuple[BulkFailure, ...]
