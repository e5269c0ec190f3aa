"""Life: whether a link answers at a given moment, for how long that may be remembered, and with which bytes.

Invariant: no cache outlives the link. A remembered answer lives for the smaller of 24 hours and the
time left, and the moment of expiry itself belongs to the past: at `expires_at_ms` the link is gone.
"""

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.systems.links.contracts import Destination, LinkGoneError, State

CACHE_MS = 24 * 3600 * 1000
MAX_MOMENT_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; what JSON clients and PostgreSQL both understand."""

_REASONS: dict[State, str] = {
    "disabled": "This link was switched off by its owner",
    "expired": "This link has expired",
    "used_up": "This link was good for a number of clicks, and they are used up",
    "deleted": "This link was deleted",
}
_PHRASES = {301: b"Moved Permanently", 302: b"Found", 307: b"Temporary Redirect", 308: b"Permanent Redirect"}


def expiry(now_ms: int, expires_at_ms: int | None, ttl_seconds: int | None) -> int | None:
    """The moment a new link ends. Raises `InvalidInputError` for both, or for a moment that has passed."""
    if expires_at_ms is not None and ttl_seconds is not None:
        raise InvalidInputError("give expires_at or ttl_seconds, not both", field="ttl_seconds")
    if ttl_seconds is not None:
        return now_ms + ttl_seconds * 1000
    if expires_at_ms is not None and not now_ms < expires_at_ms <= MAX_MOMENT_MS:
        raise InvalidInputError("this moment has passed or is beyond the year 9999", field="expires_at")
    return expires_at_ms


def state_at(state: State, expires_at_ms: int | None, now_ms: int) -> State:
    """The state that counts at `now_ms`, whether or not the expiry worker has come by yet."""
    if state == "active" and expires_at_ms is not None and now_ms >= expires_at_ms:
        return "expired"
    return state


def require_alive(destination: Destination, now_ms: int) -> None:
    """Raise `LinkGoneError` with the reason unless the link answers at `now_ms`."""
    state = state_at(destination.state, destination.expires_at_ms, now_ms)
    if state != "active":
        raise LinkGoneError(_REASONS[state], state=state)


def cache_ms(expires_at_ms: int | None, now_ms: int) -> int:
    """How long an answer may be remembered, in milliseconds; 0 is not at all."""
    if expires_at_ms is None:
        return CACHE_MS
    return max(0, min(CACHE_MS, expires_at_ms - now_ms))


def _frame(status: int, phrase: bytes) -> tuple[bytes, bytes]:
    # A permanent redirect may be kept by browsers, since that was asked for; any other may not, or an
    # edit would never reach them.
    caching = b"public, max-age=86400" if status in (301, 308) else b"private, max-age=0"
    head = b"HTTP/1.1 %d %s\r\nlocation: " % (status, phrase)
    return head, b"\r\ncache-control: %s\r\ncontent-length: 0\r\n\r\n" % caching


_FRAMES = {status: _frame(status, phrase) for status, phrase in _PHRASES.items()}


def redirect_bytes(status: int, url: bytes) -> bytes:
    """The whole answer as the fast lane sends it; the ordinary path sends the same."""
    head, tail = _FRAMES[status]
    return head + url + tail


def redirect_headers(status: int, url: str) -> list[tuple[bytes, bytes]]:
    """The header fields of `redirect_bytes`, in their order on the wire."""
    lines = redirect_bytes(status, url.encode("ascii")).split(b"\r\n")[1:-2]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
