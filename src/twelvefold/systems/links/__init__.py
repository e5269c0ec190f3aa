"""Links: short links, pastes and unique ids.

The service is imported on first use, so that the contracts and the rules stay cheap to import.
"""

from typing import TYPE_CHECKING, Any

from twelvefold.systems.links.contracts import (
    Link,
    LinkChange,
    NewLink,
    NewPaste,
    Page,
    Paste,
    Rule,
    Stats,
    Target,
    When,
)

if TYPE_CHECKING:
    from twelvefold.systems.links.service import Links

__all__ = [
    "Link",
    "LinkChange",
    "Links",
    "NewLink",
    "NewPaste",
    "Page",
    "Paste",
    "Rule",
    "Stats",
    "Target",
    "When",
]


def __getattr__(name: str) -> Any:
    if name == "Links":
        from twelvefold.systems.links.service import Links  # noqa: PLC0415

        return Links
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
