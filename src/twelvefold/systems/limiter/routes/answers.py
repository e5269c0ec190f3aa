"""The answer to a check, the same from the fast lane and from the ordinary path."""

import msgspec

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Hit, HitRefusedError, RuleRefusedError, Verdict
from twelvefold.systems.limiter.routes.forms import CheckRequest, DecisionView, VerdictView
from twelvefold.systems.limiter.rules.headers import Reset, header_fields
from twelvefold.systems.limiter.service.limiter import Asked, Limiter

_encode = msgspec.json.Encoder().encode


ONE_FORM = "send rule, key and cost, or checks, or batch"


def names_one(data: CheckRequest) -> bool:
    """Whether the form of a single check was used; beside the others it would be ignored, unseen."""
    return data.rule is not None or data.key is not None or data.cost != 1


def single_hits(data: CheckRequest) -> tuple[Hit, ...]:
    """The rules of one check. Raises `HitRefusedError` where it names none, or both forms."""
    if data.checks is not None:
        if names_one(data):
            raise HitRefusedError(ONE_FORM, field="checks")
        return tuple(each.to_contract() for each in data.checks)
    if data.rule is None or data.key is None:
        raise HitRefusedError(
            "a check names a rule and a key",
            field="rule" if data.rule is None else "key",
            hint='{"rule": …, "key": …}',
        )
    return (Hit(data.rule, data.key, data.cost),)


def resolved(limiter: Limiter, tenant: TenantId, hit: Hit, place: str) -> list[Asked]:
    """What one check asks. Raises as `Limiter.resolve` does, naming where in the body the fault stands."""
    try:
        return limiter.resolve(tenant, (hit,))
    except RuleRefusedError as error:
        error.field = f"{place}rule.{error.field}"
        raise
    except TwelvefoldError as error:
        error.field = f"{place}{error.field}"
        raise


def check_body(verdict: Verdict, *, several: bool, reset: Reset) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The body, and the header fields of the rule that binds."""
    view = VerdictView.of(verdict) if several else DecisionView.of(verdict.binding)
    return _encode(view), header_fields(verdict.binding, verdict.decisions, reset=reset)


def whole_response(verdict: Verdict, *, several: bool, reset: Reset) -> bytes:
    """All bytes of a successful check, as the fast lane sends them."""
    body, fields = check_body(verdict, several=several, reset=reset)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body
