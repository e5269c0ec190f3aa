"""Moments as the API writes them: RFC 3339 in UTC with milliseconds."""

from twelvefold.kernel.clock import from_ms


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as `2026-11-24T07:30:00.000Z`."""
    return from_ms(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(ms: int | None) -> str | None:
    """As `rfc3339`; None stays None."""
    return None if ms is None else rfc3339(ms)
