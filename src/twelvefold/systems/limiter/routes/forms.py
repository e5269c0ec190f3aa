"""The JSON of the limiter's API: times as RFC 3339 with milliseconds, versions as strings."""

from typing import Annotated, Any

import msgspec

from twelvefold.kernel.clock import from_ms
from twelvefold.systems.limiter.contracts import (
    MAX_HITS,
    Decision,
    EndpointRule,
    Hit,
    Offender,
    Permit,
    Rule,
    StoredRule,
    Tier,
    TrafficPoint,
    Verdict,
)
from twelvefold.systems.limiter.service.replay import MAX_CANDIDATES, MAX_EVENTS, Replayed

MAX_BATCH = 1000
KeyForm = str | tuple[str, ...]


def rfc3339(ms: float) -> str:
    """`2026-11-24T07:30:00.000Z`."""
    return from_ms(int(ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class HitForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule asked for one key: a stored rule's name, or a whole rule."""

    rule: str | Rule
    key: KeyForm
    cost: int = 1

    def to_contract(self) -> Hit:
        """As the service takes it."""
        return Hit(self.rule, self.key, self.cost)


class CheckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check: `rule` and `key`; or several rules that are debited together, in `checks`; or checks that
    have nothing to do with each other, in `batch`.
    """  # noqa: D205 - one sentence

    rule: str | Rule | None = None
    key: KeyForm | None = None
    cost: int = 1
    checks: Annotated[tuple[HitForm, ...], msgspec.Meta(min_length=1, max_length=MAX_HITS)] | None = None
    batch: Annotated[tuple[HitForm, ...], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """A decision."""

    allowed: bool
    rule: str
    limit: int | None
    remaining: int
    reset_at: str | None
    reset_seconds: float
    retry_after_seconds: float | None
    over_limit: bool
    delay_seconds: float
    degraded: bool

    @classmethod
    def of(cls, decision: Decision) -> "DecisionView":
        """As the API shows it."""
        return cls(
            allowed=decision.allowed,
            rule=decision.rule,
            limit=decision.limit,
            remaining=decision.remaining,
            reset_at=rfc3339(decision.reset_at * 1000) if decision.limit is not None else None,
            reset_seconds=decision.reset_seconds,
            retry_after_seconds=decision.retry_after_seconds,
            over_limit=decision.over_limit,
            delay_seconds=decision.delay_seconds,
            degraded=decision.degraded,
        )


class VerdictView(msgspec.Struct, frozen=True, kw_only=True):
    """Several rules' verdict: all were debited, or none."""

    allowed: bool
    binding: DecisionView
    decisions: list[DecisionView]

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictView":
        """As the API shows it."""
        return cls(
            allowed=verdict.allowed,
            binding=DecisionView.of(verdict.binding),
            decisions=[DecisionView.of(decision) for decision in verdict.decisions],
        )


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of a rule; `cost` to give back."""

    key: KeyForm
    cost: int = 1


class PermitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place of a concurrency rule; `id` to renew or leave it."""

    rule: str | Rule
    key: KeyForm
    id: str = ""


class PermitView(msgspec.Struct, frozen=True, kw_only=True):
    """A place."""

    allowed: bool
    id: str
    rule: str
    limit: int
    in_use: int
    expires_at: str
    retry_after_seconds: float | None

    @classmethod
    def of(cls, permit: Permit) -> "PermitView":
        """As the API shows it."""
        return cls(
            allowed=permit.allowed,
            id=permit.id,
            rule=permit.rule,
            limit=permit.limit,
            in_use=permit.in_use,
            expires_at=rfc3339(permit.expires_at * 1000),
            retry_after_seconds=permit.retry_after_seconds,
        )


class RulePut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule without its name, which the address has; `version` guards against a lost update."""

    rule: dict[str, Any]
    version: str | None = None


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A stored rule."""

    name: str
    rule: dict[str, Any]
    version: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, stored: StoredRule) -> "RuleView":
        """As the API shows it, with every default spelled out."""
        rule = {name: getattr(stored.rule, name) for name in stored.rule.__struct_fields__}
        return cls(
            name=stored.rule.name,
            rule=msgspec.to_builtins(rule),
            version=str(stored.version),
            created_at=rfc3339(stored.created_at_ms),
            updated_at=rfc3339(stored.updated_at_ms),
        )


class RuleList(msgspec.Struct, frozen=True):
    """All rules by name."""

    items: list[RuleView]
    next_cursor: str | None = None


class StateView(msgspec.Struct, frozen=True, kw_only=True):
    """How a key stands, and what nodes hold of it."""

    decision: DecisionView
    leases: dict[str, int]


class TierList(msgspec.Struct, frozen=True):
    """What API keys of each tier may do."""

    items: list[Tier]


class TierPut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tier may do; every rule holds at once."""

    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=8)]


class EndpointList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for parts of the API."""

    items: Annotated[tuple[EndpointRule, ...], msgspec.Meta(max_length=200)]


class DomainView(msgspec.Struct, frozen=True):
    """An Envoy domain and its YAML."""

    domain: str
    source: str


class DomainList(msgspec.Struct, frozen=True):
    """All Envoy domains."""

    items: list[DomainView]


class SourcePut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """YAML as envoyproxy/ratelimit reads it."""

    source: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000_000)]


class OffenderList(msgspec.Struct, frozen=True):
    """Who was refused most."""

    items: list[Offender]


class PointView(msgspec.Struct, frozen=True):
    """Decisions in one step."""

    at: str
    allowed: int
    denied: int


class TrafficView(msgspec.Struct, frozen=True):
    """Decisions over time."""

    step_seconds: int
    series: list[PointView]

    @classmethod
    def of(cls, step_seconds: int, points: list[TrafficPoint]) -> "TrafficView":
        """As the API shows it."""
        return cls(step_seconds, [PointView(rfc3339(p.at_ms), p.allowed, p.denied) for p in points])


class EventForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request: milliseconds from the beginning, whose, and how much."""

    at_ms: Annotated[float, msgspec.Meta(ge=0, le=1e13)]
    key: Annotated[str, msgspec.Meta(max_length=256)] = "k"
    cost: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Candidates, and the traffic: sent along, or what was recorded of a rule that has `record` set."""

    rules: Annotated[tuple[Rule, ...], msgspec.Meta(min_length=1, max_length=MAX_CANDIDATES)]
    events: Annotated[tuple[EventForm, ...], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)] | None = None
    recorded: str | None = None


class ReplayView(msgspec.Struct, frozen=True):
    """What each candidate would have done."""

    events: int
    results: list[Replayed]
