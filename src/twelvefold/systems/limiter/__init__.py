"""The limiter: one state behind a library, HTTP, Envoy and Redis doors, and the guard of our own API."""

from twelvefold.systems.limiter.compat.asgi import RateLimitMiddleware
from twelvefold.systems.limiter.contracts import (
    Decision,
    Hit,
    LimitExceededError,
    Permit,
    Rule,
    StateUnavailableError,
    Verdict,
)
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.settings import LimiterSettings

__all__ = [
    "Decision",
    "Hit",
    "LimitExceededError",
    "Limiter",
    "LimiterSettings",
    "Permit",
    "RateLimitMiddleware",
    "Rule",
    "StateUnavailableError",
    "Verdict",
    "open_limiter",
]
