"""Twelve backends in one Python package.

`from twelvefold import Platform` is the library's door; it is imported lazily, so that
`import twelvefold` costs nothing and starts nothing.
"""

from typing import TYPE_CHECKING, Any

from twelvefold.kernel.tenancy import DEFAULT_TENANT

if TYPE_CHECKING:
    from twelvefold.platform import Platform

__version__ = "0.1.0"
__all__ = ["DEFAULT_TENANT", "Platform", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Platform` on first use (PEP 562)."""
    if name == "Platform":
        from twelvefold.platform import Platform  # noqa: PLC0415

        return Platform
    raise AttributeError(f"module 'twelvefold' has no attribute {name!r}")
