"""What crosses the boundary of the limiter: rules, hits, decisions, and its errors.

Counts are whole numbers. Durations inside are microseconds (`_us`), because Valkey's scripts count in
doubles, which hold every microsecond since 1970 exactly but not every nanosecond.
"""

from typing import Annotated, Literal

import msgspec

from twelvefold.kernel.errors import (
    ConflictError,
    EngineUnavailableError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
)

Algorithm = Literal["token_bucket", "fixed_window", "sliding_log", "sliding_counter", "concurrency"]
Calendar = Literal["minute", "hour", "day", "week", "month", "year"]
Mode = Literal["exact", "leased", "local"]
Failure = Literal["open", "closed", "local"]
Action = Literal["deny", "delay", "flag"]
Reach = Literal["site", "home"]
Source = Literal["ip", "key", "tenant", "user", "method", "path", "host"]

MAX_LIMIT = 1_000_000_000
MAX_LOG_LIMIT = 10_000
"""A sliding log keeps one entry for each unit; more belongs into a sliding counter."""
MAX_PERIOD_SECONDS = 366 * 86_400
MAX_COST = MAX_LIMIT
MAX_KEY_BYTES = 4096
MAX_HITS = 16
UNLIMITED_REMAINING = 4_294_967_295
"""What `remaining` says where there is no limit; Envoy's own figure."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=64)]
Limit = Annotated[int, msgspec.Meta(ge=0, le=MAX_LIMIT)]
Key = str | tuple[str, ...]
"""Whose limit it is: one text, or its parts; parts never run into each other."""


class RuleNotFoundError(NotFoundError):
    """There is no rule with this name."""

    code = "limiter.rule_not_found"


class RuleRefusedError(InvalidInputError):
    """This rule cannot work."""

    code = "limiter.rule_refused"


class RuleConflictError(ConflictError):
    """The rule was changed since you read it; read it again and repeat your change."""

    code = "limiter.rule_conflict"


class HitRefusedError(InvalidInputError):
    """This check cannot be made."""

    code = "limiter.hit_refused"


class LimitExceededError(RateLimitedError):
    """The limit is used up; wait before the next request."""

    code = "limiter.limit_exceeded"


class StateUnavailableError(EngineUnavailableError):
    """The limit's state cannot be reached, and the rule says to refuse then."""

    code = "limiter.state_unavailable"


class TooManyFailuresError(RateLimitedError):
    """Too many API keys or sessions from this address were not valid; wait, and check the key."""

    code = "limiter.too_many_failures"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A limit. `limit` units a period; `None` is no limit, 0 is a ban."""

    name: Name
    limit: Limit | None
    period_seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_PERIOD_SECONDS)] = 60
    algorithm: Algorithm = "token_bucket"
    burst: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] | None = None
    """Capacity of a token bucket, where it is not `limit`."""
    calendar: Calendar | None = None
    """A fixed window that begins with the clock's minute, hour, day …, instead of every `period_seconds`."""
    zone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    """Whose midnight; a name of the time-zone database."""
    mode: Mode = "exact"
    failure: Failure = "open"
    """What a check says while the state cannot be reached."""
    action: Action = "deny"
    """Above the limit: refuse; or let through with a delay to keep; or let through, flagged."""
    shadow: bool = False
    """Only count what would have been refused."""
    penalty_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    """After a refusal refuse for so long, from the last attempt; 0: waiting is never made longer."""
    reach: Reach = "site"
    """`home`: one limit for all data centres, leased from the home site's Valkey."""
    by: Annotated[tuple[Source, ...], msgspec.Meta(max_length=4)] = ("ip",)
    """What a middleware or `/v1/limiter/auth` makes the key of."""
    record: bool = False
    """Keep the last minutes of traffic for a replay."""
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class StoredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it is kept: with its version and what it replaced while that still matters."""

    rule: Rule
    version: int
    created_at_ms: int
    updated_at_ms: int
    previous: tuple[tuple[Rule, int], ...] = ()
    """Earlier forms, newest first, with the millisecond until which state of theirs can exist."""


class Hit(msgspec.Struct, frozen=True, gc=False):
    """One rule asked for one key. `rule` is the name of a stored rule, or a rule."""

    rule: str | Rule
    key: Key
    cost: int = 1


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an algorithm says, in whole microseconds. `retry_us`: 0 when allowed, -1 for never."""

    allowed: bool
    remaining: int
    reset_us: int
    retry_us: int


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whether the request goes on, and the numbers of the rule that decided (or is nearest to it)."""

    allowed: bool
    rule: str
    limit: int | None
    remaining: int
    reset_at: float
    """Unix seconds at which the whole limit is there again."""
    reset_seconds: float
    retry_after_seconds: float | None
    """How long to wait before the same request succeeds; None: it never will, or it just did."""
    period_seconds: int = 0
    over_limit: bool = False
    """The limit is exceeded, whether or not the rule refuses for it."""
    delay_seconds: float = 0.0
    """A soft rule asks the caller to hold the request back for so long."""
    degraded: bool = False
    """The state could not be reached: this is the rule's failure policy speaking."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to several hits at once: all were debited, or none that refuses."""

    allowed: bool
    binding: Decision
    decisions: tuple[Decision, ...]


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """A place among so many at once; it ends by itself when its holder does not come back."""

    allowed: bool
    id: str
    rule: str
    limit: int
    in_use: int
    expires_at: float
    retry_after_seconds: float | None


class Offender(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was refused often."""

    rule: str
    key: str
    denied: int


class TrafficPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule decided in one step of time."""

    at_ms: int
    allowed: int
    denied: int


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an API key of a tier may do; every rule holds at once."""

    name: Name
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=8)]


class EndpointRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit for part of the API. `path` is exact, or a prefix when it ends with `*`."""

    method: Annotated[str, msgspec.Meta(min_length=1, max_length=16)] = "*"
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    rule: Rule
