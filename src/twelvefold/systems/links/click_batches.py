"""What the worker takes from an enriched batch: counts by hour, the clicks of watched links, the day's key."""

import hashlib
from collections.abc import Callable, Collection, Iterable

import numpy as np

from twelvefold.systems.links.click_enrichment import ClickFact, Enriched

HOUR_MS = 3_600_000
SHOWN_CLICKS = 1000
"""Of a batch; who watches a link sees its pulse, and the counts say the rest."""

HourCount = tuple[int, int, int, int]
"""`(link_id, hours since 1970, clicks, bots)`; previews count as bots."""


def hour_counts(batch: Enriched) -> Iterable[HourCount]:
    """Clicks by link and hour, in their order."""
    hours = batch.ts_ms // HOUR_MS
    order = np.lexsort((hours, batch.link_ids))
    links, hours = batch.link_ids[order], hours[order]
    programs = (batch.bot | batch.preview)[order].astype(np.int64)
    first = np.flatnonzero(np.concatenate(([True], (links[1:] != links[:-1]) | (hours[1:] != hours[:-1]))))
    sizes = np.diff(np.append(first, len(links)))
    bots = np.add.reduceat(programs, first)
    return zip(
        links[first].tolist(), hours[first].tolist(), (sizes - bots).tolist(), bots.tolist(), strict=True
    )


def watched_facts(batch: Enriched, links: Collection[int]) -> list[ClickFact]:
    """Clicks of some links, the newest of them if there are very many."""
    rows = np.flatnonzero(np.isin(batch.link_ids, np.fromiter(links, dtype=np.int64)))[-SHOWN_CLICKS:]
    return batch.facts(rows)


def key_of_day(secret: bytes) -> Callable[[int], bytes]:
    """The key that hashes a day's visitors, from the server's secret."""

    def key(day: int) -> bytes:
        return hashlib.blake2b(b"visitors:%d" % day, key=secret[:64], digest_size=32).digest()

    return key
