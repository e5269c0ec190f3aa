"""A decision as HTTP header fields: the ones everybody knows, and the IETF's.

Invariant: `Retry-After` is whole seconds, rounded up, at least 1, so waiting exactly so long succeeds.
Sources: RFC 9110 §10.2.3; draft-ietf-httpapi-ratelimit-headers (structured fields, RFC 9651).
"""

import math
from collections.abc import Iterable
from typing import Final, Literal

from twelvefold.systems.limiter.contracts import UNLIMITED_REMAINING, Decision

Reset = Literal["unix", "seconds"]
_MAX_INTEGER: Final = 999_999_999_999_999
"""The largest integer of a structured field."""


def header_fields(
    binding: Decision, decisions: Iterable[Decision] = (), *, reset: Reset = "unix"
) -> tuple[tuple[str, str], ...]:
    """The fields for a response, allowed or not; lower-case names. `decisions`: all rules that were asked.

    `reset`: `X-RateLimit-Reset` as a Unix time, or as seconds from now, as Envoy and Kong have it.
    """
    if binding.limit is None:
        return ()
    reset_seconds = math.ceil(binding.reset_seconds)
    fields = [
        ("x-ratelimit-limit", str(binding.limit)),
        ("x-ratelimit-remaining", str(min(binding.remaining, UNLIMITED_REMAINING))),
        ("x-ratelimit-reset", str(math.ceil(binding.reset_at) if reset == "unix" else reset_seconds)),
    ]
    if not binding.allowed and binding.retry_after_seconds is not None:
        fields.append(("retry-after", str(max(1, math.ceil(binding.retry_after_seconds)))))
    limited = [each for each in (tuple(decisions) or (binding,)) if each.limit is not None]
    fields.append(("ratelimit-policy", ", ".join(map(_policy, limited))))
    fields.append(("ratelimit", _service_limit(binding)))
    return tuple(fields)


def _policy(decision: Decision) -> str:
    window = f";w={decision.period_seconds}" if decision.period_seconds else ""
    return f"{_string(decision.rule)};q={min(decision.limit or 0, _MAX_INTEGER)}{window}"


def _service_limit(decision: Decision) -> str:
    # `t` is when more quota comes; a client that spreads `r` over `t` must not be invited to a burst.
    wait = decision.reset_seconds if decision.retry_after_seconds is None else decision.retry_after_seconds
    return f"{_string(decision.rule)};r={min(decision.remaining, _MAX_INTEGER)};t={max(0, math.ceil(wait))}"


def _string(text: str) -> str:
    """A structured-field string: printable ASCII, with quotes and backslashes escaped."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
