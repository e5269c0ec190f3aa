"""Which objects make up a table: names, manifests and the rules of merging. No I/O, no clock.

    <root>/<table>/segments/2026-11-24/07-b-<batch id>.parquet       loose: one batch's rows of one hour
    <root>/<table>/segments/2026-11-24/07-c-<made ms>-<random>.parquet    merged
    <root>/<table>/manifests/2026-11-24/07-00000003.json             version 3 of what is merged in that hour
    <root>/<table>/forgotten/001795500000000                         all hours before this are gone

Invariant: an hour's rows are the segments of its newest manifest plus the loose segments whose batch that
manifest has not absorbed. Segments never change. A manifest is committed by creating version n+1, which the
store grants to one; so merging is a compare-and-swap, and a merge that lost, or died, is only garbage. The
absorbed batch ids are kept for as long as the hour, so that a batch that is delivered again counts once.

Readers list segments first and manifests afterwards. A loose segment is deleted only when a committed
manifest has absorbed it; so a reader that misses it in the first listing finds that manifest in the second:
neither a gap nor a double, without a lock. The idea is that of Delta Lake's log (Armbrust et al., VLDB 2020).
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

HOUR_MS = 3_600_000

GRACE_MS = 60_000
"""How long replaced objects stay for queries that are already reading them."""

ORPHAN_MS = 3_600_000
"""A merged segment that no manifest names after this long belongs to a merge that died or lost."""

SETTLE_MS = 900_000
"""An hour that ended this long ago is closed: it is merged into one segment."""

FAN_IN = 32
"""Loose segments, or merged ones of one level, that make the next merge."""

LARGE_BYTES = 128 << 20
"""A segment of this size is not merged again."""

_SEGMENT = re.compile(
    r".*/segments/(\d{4}-\d\d-\d\d)/(\d\d)-(?:b-(?P<batch>[^/]+)|c-(?P<made>\d+)-\w+)\.parquet"
)
_MANIFEST = re.compile(r".*/manifests/(\d{4}-\d\d-\d\d)/(\d\d)-(?P<version>\d+)\.json")
_MARK = re.compile(r".*/forgotten/(\d+)")


class Segment(msgspec.Struct, frozen=True):
    """A merged segment. `level` is how many merges deep it is."""

    key: str
    level: int
    rows: int
    size_bytes: int
    first_ms: int
    last_ms: int


class Absorption(msgspec.Struct, frozen=True):
    """The batches that one merge took in."""

    at_ms: int
    batches: list[str]


class Manifest(msgspec.Struct, frozen=True):
    """What is merged in one hour."""

    version: int = 0
    committed_ms: int = 0
    segments: list[Segment] = []
    absorbed: list[Absorption] = []

    def batches(self) -> set[str]:
        """All batches that are in merged segments."""
        return {batch for absorption in self.absorbed for batch in absorption.batches}


class SegmentName(msgspec.Struct, frozen=True):
    """A segment's key, taken apart. A loose one has a `batch`, a merged one `made_ms`."""

    key: str
    hour_ms: int
    batch: str | None
    made_ms: int


class ManifestName(msgspec.Struct, frozen=True):
    """A manifest's key, taken apart."""

    key: str
    hour_ms: int
    version: int


class Hour(msgspec.Struct, frozen=True):
    """What two listings (segments, then manifests) found of one hour."""

    hour_ms: int
    segments: list[SegmentName]
    manifest: Manifest
    old_manifests: list[ManifestName] = []

    def loose(self) -> list[SegmentName]:
        """The segments of batches that are not merged yet."""
        if not any(name.batch for name in self.segments):
            return []
        absorbed = self.manifest.batches()
        return [name for name in self.segments if name.batch and name.batch not in absorbed]

    def live(self, from_ms: int, to_ms: int) -> list[str]:
        """The keys that hold this hour's rows, without those that have none in [from_ms, to_ms)."""
        merged = [s.key for s in self.manifest.segments if s.first_ms < to_ms and s.last_ms >= from_ms]
        return merged + [name.key for name in self.loose()]


class Merge(msgspec.Struct, frozen=True):
    """Segments to be merged into one."""

    loose: list[SegmentName]
    merged: list[Segment]
    level: int

    @property
    def keys(self) -> list[str]:
        """The keys to read."""
        return [name.key for name in self.loose] + [segment.key for segment in self.merged]


def segment_folder(root: str, table: str, day: str = "") -> str:
    """The folder of a table's segments, of one day or of all."""
    return f"{root}/{table}/segments" + (f"/{day}" if day else "")


def manifest_folder(root: str, table: str, day: str = "") -> str:
    """The folder of a table's manifests, of one day or of all."""
    return f"{root}/{table}/manifests" + (f"/{day}" if day else "")


def mark_folder(root: str, table: str) -> str:
    """The folder of a table's marks."""
    return f"{root}/{table}/forgotten"


def loose_key(root: str, table: str, hour_ms: int, batch_id: str) -> str:
    """The key of a batch's rows of one hour."""
    day, hour = _day_and_hour(hour_ms)
    return f"{segment_folder(root, table, day)}/{hour}-b-{batch_id}.parquet"


def merged_key(root: str, table: str, hour_ms: int, made_ms: int, random_hex: str) -> str:
    """The key of a new merged segment."""
    day, hour = _day_and_hour(hour_ms)
    return f"{segment_folder(root, table, day)}/{hour}-c-{made_ms}-{random_hex}.parquet"


def manifest_key(root: str, table: str, hour_ms: int, version: int) -> str:
    """The key of a manifest's version."""
    day, hour = _day_and_hour(hour_ms)
    return f"{manifest_folder(root, table, day)}/{hour}-{version:08}.json"


def mark_key(root: str, table: str, before_ms: int) -> str:
    """The key that says that hours before this are gone."""
    return f"{mark_folder(root, table)}/{before_ms:015}"


def parse_segment(key: str) -> SegmentName | None:
    """Take a segment's key apart; None for anything else."""
    found = _SEGMENT.fullmatch(key)
    if not found:
        return None
    return SegmentName(key, _hour_ms(found[1], found[2]), found["batch"], int(found["made"] or 0))


def parse_manifest(key: str) -> ManifestName | None:
    """Take a manifest's key apart; None for anything else."""
    found = _MANIFEST.fullmatch(key)
    return ManifestName(key, _hour_ms(found[1], found[2]), int(found["version"])) if found else None


def parse_mark(key: str) -> int:
    """The time that a mark stands for; 0 for anything else."""
    found = _MARK.fullmatch(key)
    return int(found[1]) if found else 0


def days_between(from_ms: int, to_ms: int) -> list[str]:
    """The days (UTC) that [from_ms, to_ms) touches."""
    day, last = (
        datetime.fromtimestamp(ms / 1000, tz=UTC).date() for ms in (from_ms, max(from_ms, to_ms - 1))
    )
    return [str(day + timedelta(days=n)) for n in range((last - day).days + 1)]


def next_merge(hour: Hour, now_ms: int) -> Merge | None:
    """What to merge in this hour, if anything.

    While an hour is open, `FAN_IN` segments of a level make one of the next, so a row is rewritten once a
    level and not once a batch. When it has closed, all that is not large becomes one.
    """
    loose = hour.loose()
    small = [segment for segment in hour.manifest.segments if segment.size_bytes < LARGE_BYTES]
    # Late batches count as news: an hour is rewritten as a whole at most once in SETTLE_MS.
    if now_ms >= max(hour.hour_ms + HOUR_MS, hour.manifest.committed_ms) + SETTLE_MS:
        if len(loose) + len(small) <= 1:
            return None
        return Merge(loose, small, max((segment.level for segment in small), default=0) + 1)
    if len(loose) >= FAN_IN:
        return Merge(loose, [], 1)
    for level in sorted({segment.level for segment in small}):
        same = [segment for segment in small if segment.level == level]
        if len(same) >= FAN_IN:
            return Merge([], same, level + 1)
    return None


def committed(hour: Hour, merge: Merge, made: Segment, now_ms: int) -> Manifest:
    """The manifest that puts `made` in the place of what was merged."""
    replaced = {segment.key for segment in merge.merged}
    kept = [segment for segment in hour.manifest.segments if segment.key not in replaced]
    absorbed = [*hour.manifest.absorbed]
    if merge.loose:
        absorbed.append(Absorption(now_ms, [name.batch for name in merge.loose if name.batch]))
    return Manifest(hour.manifest.version + 1, now_ms, [*kept, made], absorbed)


def garbage(hour: Hour, now_ms: int) -> list[str]:
    """The keys that nobody needs any more.

    Nothing is garbage while a segment of the manifest is missing from the listing: its inputs may then be the
    only copy (a merge that was stopped for an hour between writing and committing could cause that).
    """
    present = {name.key for name in hour.segments}
    named = {segment.key for segment in hour.manifest.segments}
    if not named <= present:
        return []
    absorbed = {
        batch
        for absorption in hour.manifest.absorbed
        if absorption.at_ms <= now_ms - GRACE_MS
        for batch in absorption.batches
    }
    settled = hour.manifest.committed_ms <= now_ms - GRACE_MS
    return [
        *(name.key for name in hour.segments if name.batch in absorbed),
        *(
            name.key
            for name in hour.segments
            if not name.batch and name.key not in named and settled and name.made_ms <= now_ms - ORPHAN_MS
        ),
        *(name.key for name in hour.old_manifests if settled),
    ]


def assemble(
    segments: Iterable[SegmentName],
    manifests: Sequence[tuple[ManifestName, Manifest]],
    old_manifests: Iterable[ManifestName],
) -> list[Hour]:
    """Sort what was found by hour. `manifests` has the newest of each hour."""
    names: dict[int, list[SegmentName]] = {}
    for name in segments:
        names.setdefault(name.hour_ms, []).append(name)
    old: dict[int, list[ManifestName]] = {}
    for older in old_manifests:
        old.setdefault(older.hour_ms, []).append(older)
    newest = {name.hour_ms: manifest for name, manifest in manifests}
    return [
        Hour(ms, names.get(ms, []), newest.get(ms, Manifest()), old.get(ms, []))
        for ms in sorted(names.keys() | newest.keys())
    ]


def _day_and_hour(hour_ms: int) -> tuple[str, str]:
    moment = datetime.fromtimestamp(hour_ms // 1000, tz=UTC)
    return f"{moment:%Y-%m-%d}", f"{moment:%H}"


def _hour_ms(day: str, hour: str) -> int:
    return int(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp()) * 1000
