"""How much of what a client may send, and for how long we wait for it.

Every figure is a bound that the connection enforces before a system sees the request.
"""

from collections.abc import Mapping

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one web process. Sizes in bytes, times in seconds."""

    max_connections: int = 20_000
    max_concurrency: int = 2_000
    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 10 * 1024 * 1024
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    min_body_bytes_per_second: int = 16 * 1024
    keep_alive_seconds: float = 75.0
    send_seconds: float = 60.0
    request_seconds: float = 30.0
    drain_seconds: float = 20.0
    body_bytes_by_prefix: Mapping[str, int] = {}
    """By the beginning of a path, instead of `max_body_bytes`; the longest wins."""

    def body_bytes_for(self, url: bytes) -> int:
        """The largest body taken at `url` (the request's target as sent)."""
        best = ""
        limit = self.max_body_bytes
        for prefix, size_bytes in self.body_bytes_by_prefix.items():
            if len(prefix) >= len(best) and url.startswith(prefix.encode()):
                best, limit = prefix, size_bytes
        return limit
