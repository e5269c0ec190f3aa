"""Links: short links, pastes and unique ids."""

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
