"""The only wiring: configuration to engines to systems to web; the processes of a platform."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twelvefold.platform.library import Platform

__all__ = ["Platform"]


def __getattr__(name: str) -> Any:
    if name == "Platform":
        from twelvefold.platform.library import Platform  # noqa: PLC0415 - the supervisor imports this package

        return Platform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
