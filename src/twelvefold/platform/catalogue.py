"""The twelve systems by name, group and promise: those that are built, and those that are to come.

The console lists all twelve; what is not built is shown as such, never as running.
"""

import msgspec

from twelvefold.kernel.blueprint import Group


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the console's menu."""

    name: str
    title: str
    group: Group
    promise: str
    built: bool = False


CATALOGUE = (
    Entry(
        name="links",
        title="Links",
        group="serve",
        promise="A redirect in microseconds, every click counted, no code ever given twice.",
        built=True,
    ),
    Entry(name="media", title="Media", group="serve", promise="Uploaded once, streamed to everybody."),
    Entry(
        name="feed", title="Feed", group="serve", promise="What the people you follow wrote, newest first."
    ),
    Entry(name="typeahead", title="Typeahead", group="serve", promise="What you were about to type."),
    Entry(
        name="chat",
        title="Chat",
        group="talk",
        promise="Acknowledged means on disk, and everyone sees one order.",
        built=True,
    ),
    Entry(
        name="collab",
        title="Collaboration",
        group="talk",
        promise="Many hands on one text, and no lost word.",
    ),
    Entry(name="location", title="Location", group="place", promise="Who is near, and how to get there."),
    Entry(name="booking", title="Booking", group="place", promise="A seat is sold once."),
    Entry(
        name="limiter",
        title="Limiter",
        group="protect",
        promise="One state behind four doors, and no check too many.",
        built=True,
    ),
    Entry(name="metrics", title="Metrics", group="protect", promise="What happened, when, and how often."),
    Entry(name="judge", title="Judge", group="compute", promise="Strangers' code, run safely."),
    Entry(
        name="agent",
        title="Agent",
        group="compute",
        promise="Long work in steps that can be seen and undone.",
    ),
)

SYSTEMS: tuple[str, ...] = tuple(entry.name for entry in CATALOGUE if entry.built)
"""What `up` can run."""
