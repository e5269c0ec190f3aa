"""The limiter: one state behind a library, HTTP, Envoy and Redis doors, and the guard of our own API.

What runs is imported on first use, so that the settings stay cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_PLACES = {
    "RateLimitMiddleware": "compat.asgi",
    "open_limiter": "library",
    "Limiter": "service.limiter",
    "LimiterSettings": "settings",
}
"""Where what is not in `contracts` lives."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'contracts')}"), name)
