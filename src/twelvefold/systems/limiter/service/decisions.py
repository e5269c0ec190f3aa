"""From an algorithm's outcome to the decision that callers see, and from several to the one that binds."""

from collections.abc import Sequence

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.limiter.contracts import (
    UNLIMITED_REMAINING,
    Decision,
    LimitExceededError,
    Outcome,
    StateUnavailableError,
    Verdict,
)
from twelvefold.systems.limiter.rules.bound import Bound

_SECOND_US = 1_000_000


def decision_of(bound: Bound, outcome: Outcome, now_us: int, *, degraded: bool = False) -> Decision:
    """A rule with a limit has spoken: hard rules refuse, soft ones delay or flag, shadows only note."""
    plan, rule = bound.plan, bound.rule
    assert plan is not None
    over = not outcome.allowed
    allowed = not (over and bound.enforced)
    retry, delay = None, 0.0
    if over:
        if not allowed and outcome.retry_us >= 0:
            retry = outcome.retry_us / _SECOND_US
        if rule.action == "delay" and not rule.shadow:
            delay = max(0, outcome.retry_us) / _SECOND_US
    return Decision(
        allowed=allowed,
        rule=bound.name,
        limit=plan.capacity,
        remaining=outcome.remaining,
        reset_at=(now_us + outcome.reset_us) / _SECOND_US,
        reset_seconds=outcome.reset_us / _SECOND_US,
        retry_after_seconds=retry,
        period_seconds=plan.period // plan.per_second,
        over_limit=over,
        delay_seconds=delay,
        degraded=degraded,
    )


def unlimited(bound: Bound) -> Decision:
    """A rule without a limit has spoken."""
    return Decision(
        allowed=True,
        rule=bound.name,
        limit=None,
        remaining=UNLIMITED_REMAINING,
        reset_at=0.0,
        reset_seconds=0.0,
        retry_after_seconds=None,
    )


def unasked(bound: Bound) -> Decision:
    """A rule that was not asked, because another had refused before; it stands in nobody's way."""
    if bound.plan is None:
        return unlimited(bound)
    return decision_of(bound, Outcome(True, bound.plan.capacity, 0, 0), 0)


def degraded(bound: Bound, local: Outcome | None, now_us: int, draw: float) -> Decision:
    """The state cannot be reached. `draw` in [0, 1) spreads the retries of those who are refused."""
    if local is not None:
        return decision_of(bound, local, now_us, degraded=True)
    assert bound.plan is not None
    closed = bound.rule.failure == "closed" and bound.enforced
    wait_us = int((1 + draw) * _SECOND_US)
    return Decision(
        allowed=not closed,
        rule=bound.name,
        limit=bound.plan.capacity,
        remaining=0 if closed else bound.plan.capacity,
        reset_at=(now_us + wait_us) / _SECOND_US,
        reset_seconds=wait_us / _SECOND_US,
        retry_after_seconds=wait_us / _SECOND_US if closed else None,
        period_seconds=bound.rule.period_seconds,
        degraded=True,
    )


def verdict_of(decisions: Sequence[Decision]) -> Verdict:
    """All that were asked as one. The refusal with the longest wait binds; without one, the least remaining."""
    if len(decisions) == 1:
        only = decisions[0]
        return Verdict(allowed=only.allowed, binding=only, decisions=(only,))
    refused = [decision for decision in decisions if not decision.allowed]
    if refused:
        binding = max(
            refused,
            key=lambda each: float("inf") if each.retry_after_seconds is None else each.retry_after_seconds,
        )
    else:
        binding = min(decisions, key=lambda each: (each.remaining, -each.reset_seconds))
    return Verdict(allowed=not refused, binding=binding, decisions=tuple(decisions))


def refusal(decision: Decision) -> TwelvefoldError:
    """The error for a decision that says no."""
    if decision.degraded:
        return StateUnavailableError(
            "limiter",
            f"'{decision.rule}' refuses meanwhile",
            retry_after_seconds=decision.retry_after_seconds or 1,
        )
    wait = decision.retry_after_seconds
    return LimitExceededError(
        f"the limit '{decision.rule}' is used up"
        if wait is not None
        else f"the limit '{decision.rule}' never admits this request",
        retry_after_seconds=wait,
        rule=decision.rule,
        limit=decision.limit,
        remaining=decision.remaining,
    )
