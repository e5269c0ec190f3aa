"""Batches of clicks into facts, a column at a time.

Invariant: every click becomes exactly one fact. The address ends here: what goes on is a keyed hash
(see `visitors`). Python's loops run over contexts, and only to split them; header lines are looked up in C
and all else is numpy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.systems.links.click_codec import ClickBatch, ContextTable
from twelvefold.systems.links.user_agents import read_agent
from twelvefold.systems.links.visitors import Words, hash_key, sip_hash
from twelvefold.systems.links.visits import HeaderLines, Kind, VisitReader, client_address

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Integers = NDArray[np.int64]


class ClickFact(msgspec.Struct, frozen=True):
    """A row of raw facts. `visitor` is the low 64 bits of the keyed hash, 0 for programs."""

    ts_ms: int
    link_id: int
    country: str
    referrer: str
    device: str
    browser: str
    os: str
    language: str
    bot: bool
    preview: bool
    visitor: int


class Coded(msgspec.Struct, frozen=True):
    """Text as numbers: row `i` is `values[codes[i]]`."""

    codes: NDArray[np.int32]
    values: list[str]


class Enriched(msgspec.Struct, frozen=True):
    """What became of some batches; columns have one entry a click, in the order of arrival."""

    ts_ms: Integers
    link_ids: Integers
    texts: dict[str, Coded]
    bot: NDArray[np.bool_]
    preview: NDArray[np.bool_]
    visitors: Integers

    def __len__(self) -> int:
        return len(self.ts_ms)

    def columns(self) -> Mapping[str, Any]:
        """Columns for the table of `ClickFact`."""
        return {
            "ts_ms": self.ts_ms,
            "link_id": self.link_ids,
            **self.texts,
            "bot": self.bot,
            "preview": self.preview,
            "visitor": self.visitors,
        }

    def facts(self, rows: slice | Integers = slice(None)) -> list[ClickFact]:
        """Some clicks as objects, for showing."""
        texts = [
            np.array(self.texts[name].values, dtype=object)[self.texts[name].codes[rows]] for name in _TEXTS
        ]
        columns = (
            self.ts_ms[rows].tolist(),
            self.link_ids[rows].tolist(),
            *texts,
            self.bot[rows].tolist(),
            self.preview[rows].tolist(),
            self.visitors[rows].tolist(),
        )
        return [ClickFact(*row) for row in zip(*columns, strict=True)]


_OF_AGENTS = ("device", "browser", "os")
_TEXTS = ("country", "referrer", "device", "browser", "os", "language")


class Enricher:
    """Turns batches into columns.

    Args:
        reader: reads heads and addresses.
        key_of_day: a secret for a day, counted from 1970-01-01 UTC. Random keys that are
            thrown away after their day make yesterday's hashes meaningless to everybody.
    """

    def __init__(self, reader: VisitReader, key_of_day: Callable[[int], bytes]) -> None:
        self._reader = reader
        self._key_of_day = key_of_day

    def enrich(self, batches: Sequence[ClickBatch]) -> Enriched:
        """All clicks of `batches`, in order."""
        ts_ms = np.rint(_joined([batch.timestamps for batch in batches], np.float64) * 1000).astype(np.int64)
        link_ids = _joined([batch.link_ids for batch in batches], np.int64)
        starts = np.cumsum([0, *(len(batch.contexts) for batch in batches)])
        indices = _joined([batch.context_indices for batch in batches], np.uint32).astype(np.int64)
        indices += np.repeat(starts[:-1], [len(batch) for batch in batches])
        contexts = self._contexts([batch.contexts for batch in batches])
        people = ~(contexts.bot | contexts.preview)[indices]
        return Enriched(
            ts_ms=ts_ms,
            link_ids=link_ids,
            texts={name: Coded(coded.codes[indices], coded.values) for name, coded in contexts.texts.items()},
            bot=contexts.bot[indices],
            preview=contexts.preview[indices],
            visitors=self._visitors(ts_ms, link_ids, indices, contexts.digests, people),
        )

    def _contexts(self, tables: Sequence[ContextTable]) -> "_Contexts":
        reader = self._reader
        reader.make_room()
        said = _Said(tables, reader.lines)
        clients = [client for table in tables for client in table.clients]
        if reader.trusted_hops:
            for n, forwarded in said.forwarded.items():
                clients[n] = client_address(clients[n], forwarded, reader.trusted_hops)
        addresses = np.fromiter(map(reader.addresses.__getitem__, clients), np.int64, len(clients))
        countries = np.array(reader.addresses.country_codes, dtype=np.int32)[addresses]
        address_digests = np.array(reader.addresses.digests, dtype=np.uint64).reshape(-1, 2)[addresses]
        agents, agent_of = said.first(Kind.AGENT, read_agent(""))
        by_agent = {name: _coded([getattr(agent, name) for agent in agents]) for name in _OF_AGENTS}
        preview = np.array([agent.preview for agent in agents], dtype=np.bool_)[agent_of]
        preview[said.who_has(Kind.PREVIEW)] = True
        return _Contexts(
            texts={
                "country": Coded(countries, list(reader.addresses.countries)),
                "referrer": _recoded(*said.first(Kind.REFERRER, "")),
                "language": _recoded(*said.first(Kind.LANGUAGE, "")),
                **{name: Coded(coded.codes[agent_of], coded.values) for name, coded in by_agent.items()},
            },
            bot=np.array([agent.bot for agent in agents], dtype=np.bool_)[agent_of],
            preview=preview,
            digests=np.hstack([address_digests, _words([agent.digest for agent in agents])[agent_of]]),
        )

    def _visitors(
        self,
        ts_ms: Integers,
        link_ids: Integers,
        indices: Integers,
        digests: Words,
        people: NDArray[np.bool_],
    ) -> Integers:
        visitors = np.zeros(len(ts_ms), dtype=np.int64)
        days = ts_ms // DAY_MS
        for day in np.unique(days[people]).tolist():
            chosen = np.flatnonzero(people & (days == day))
            words = [link_ids[chosen].view(np.uint64), *digests[indices[chosen]].T]
            visitors[chosen] = sip_hash(hash_key(self._key_of_day(day)), words).view(np.int64)
        return visitors


class _Contexts(msgspec.Struct, frozen=True):
    """What contexts say, one entry a context; `digests` are two words for the address, two for the agent."""

    texts: dict[str, Coded]
    bot: NDArray[np.bool_]
    preview: NDArray[np.bool_]
    digests: Words


class _Said:
    """The lines of many heads that say something about a visit.

    All heads are joined to one text, and only lines that begin right are cut out of it: two thirds of a
    browser's lines speak of nothing here, and making no object of them halves the time. `forwarded` has what
    X-Forwarded-For says in each head that has it, several lines as one.
    """

    def __init__(self, tables: Sequence[ContextTable], known: HeaderLines) -> None:
        text = b"\n".join((b"", *(table.tails for table in tables), b"\0" * 8))
        ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
        # Every 8 bytes of the text as one number: an overlapping view. Letters are made lower case.
        eights = np.ndarray((len(text) - 7,), dtype="<u8", buffer=text, strides=(1,))
        beginnings = eights[ends[:-1] + 1] | _LOWER_CASE
        chosen = np.flatnonzero(np.isin(beginnings, _BEGINNINGS))
        firsts, lasts = ends[chosen] + 1, ends[chosen + 1]
        sizes = np.concatenate([table.tail_sizes for table in tables] or [np.empty(0, np.int64)]) + 1
        heads = np.searchsorted(np.cumsum(sizes), firsts - 1, side="right")
        lines = [text[first:last] for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]

        self.forwarded: dict[int, bytes] = {}
        perhaps_forwarded = beginnings[chosen] == _FORWARDED
        found = np.flatnonzero(perhaps_forwarded)
        for n, head in zip(found.tolist(), heads[found].tolist(), strict=True):
            if lines[n][:16].lower() == b"x-forwarded-for:":
                before = self.forwarded.get(head)
                self.forwarded[head] = lines[n][16:] if before is None else before + b"," + lines[n][16:]
        rest = np.flatnonzero(~perhaps_forwarded)
        if len(rest) < len(lines):
            lines = [lines[n] for n in rest.tolist()]
        self._count = len(sizes)
        self._known = known
        self._heads = heads[rest]
        self._numbers = np.fromiter(map(known.__getitem__, lines), np.int64, len(lines))
        self._kinds = np.array([kind for kind, _ in known.said], dtype=np.int8)[self._numbers]

    def who_has(self, kind: Kind) -> Integers:
        """The heads with a line of this kind."""
        heads: Integers = self._heads[self._kinds == kind]
        return heads

    def first(self, kind: Kind, otherwise: Any) -> tuple[list[Any], Integers]:
        """The values that lines of this kind have, and for each head which one its first line has."""
        chosen = np.flatnonzero(self._kinds == kind)
        heads = self._heads[chosen]  # ascending, so a head's first line is where the head changes
        first = np.flatnonzero(np.diff(heads, prepend=-1))
        number_of = np.zeros(self._count, dtype=np.int64)
        number_of[heads[first]] = self._numbers[chosen[first]]
        numbers, positions = np.unique(number_of, return_inverse=True)
        return [self._known.said[n][1] if n else otherwise for n in numbers.tolist()], positions


_LOWER_CASE = np.uint64(0x2020202020202020)
_FORWARDED, *_OTHERS = (
    np.uint64(int.from_bytes(name[:8], "little")) | _LOWER_CASE
    for name in (
        *(b"x-forwarded-for:", b"user-agent:", b"referer:", b"accept-language:", b"sec-purpose:"),
        *(b"purpose:", b"x-purpose:", b"x-moz: p", b"x-moz:pr"),
    )
)
_BEGINNINGS = np.array([_FORWARDED, *_OTHERS])


def _words(digests: Sequence[bytes]) -> Words:
    return np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate([np.frombuffer(part, dtype=dtype) for part in parts] or [np.empty(0, dtype)])


def _distinct(values: Sequence[Any]) -> tuple[list[Any], NDArray[np.int32]]:
    """The different values in order of appearance, and for each value which one it is."""
    distinct = list(dict.fromkeys(values))
    positions = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(positions.__getitem__, values), np.int32, len(values))


def _coded(values: Sequence[str]) -> Coded:
    distinct, codes = _distinct(values)
    return Coded(codes, distinct)


def _recoded(values: Sequence[str], positions: Integers) -> Coded:
    """Positions in a list that may have a value twice (two lines, one meaning)."""
    coded = _coded(values)
    return Coded(coded.codes[positions], coded.values)
