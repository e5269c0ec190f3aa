"""Dense, ordered sequences of entries, partitioned by stream and time bucket."""

from twelvefold.engines.timeline.contract import (
    Audit,
    Capability,
    Entry,
    Head,
    NewEntry,
    Outcome,
    Placed,
    Timeline,
    digest_of,
    require,
)
from twelvefold.engines.timeline.postgres import PostgresTimeline

__all__ = [
    "Audit",
    "Capability",
    "Entry",
    "Head",
    "NewEntry",
    "Outcome",
    "Placed",
    "PostgresTimeline",
    "Timeline",
    "digest_of",
    "require",
]
