"""Live traffic of all processes: requests, errors, latencies and queues of each system.

On the hot path a request costs a few additions of ints. Once a second a process shares what has
happened: its present figures under its own name (for the live view), and additions to the five-second
slot that all processes share (for the last twenty minutes). So any process answers for all. With
Valkey away each knows at least itself, and says that this is not everything.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.web.histogram import BUCKETS, LaneTimings, bucket_of, merge, quantile_ms

log = structlog.get_logger("web")

STEP_SECONDS: Final = 5
KEPT_SECONDS: Final = 20 * 60
STALE_MS: Final = 3_500
"""A process that has not spoken for this long is gone, or cannot reach Valkey."""

_SETTLE_MS: Final = 1_500
"""A step is shown when its last second has been shared by all."""

_STEP_MS: Final = STEP_SECONDS * 1000
_LIVE_KEY: Final = "web:traffic:live"
_SLOT_KEY: Final = "web:traffic:slot:"
_WINDOW: Final = 5
"""Seconds over which the live view takes its quantiles; one second has too few requests for a p99."""

_FIRST_SERVER_ERROR: Final = 500
_encode = msgspec.msgpack.Encoder().encode


class Tally(msgspec.Struct, array_like=True):
    """What happened in some span of time."""

    requests: int = 0
    errors: int = 0
    queue_depth: int = 0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def add(self, other: "Tally") -> None:
        """Put another span or process on top."""
        self.requests += other.requests
        self.errors += other.errors
        self.queue_depth += other.queue_depth
        self.buckets = merge((self.buckets, other.buckets))


class Report(msgspec.Struct, array_like=True):
    """What a process tells the others once a second."""

    at_ms: int
    seconds: float
    """How long the last second was."""
    last: dict[str, Tally]
    """The last second, with the last five seconds' latencies."""
    totals: dict[str, Tally]
    """Since the process began."""
    gauges: dict[str, float] = {}
    """Other readings of this process: connections, channels."""


_decode_report = msgspec.msgpack.Decoder(Report).decode


class Figures(msgspec.Struct, frozen=True):
    """One system now. Rates a second, times in milliseconds; a time is None when there was no request."""

    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors_per_second: float
    queue_depth: int


class Series(msgspec.Struct, frozen=True):
    """One system over time, oldest first."""

    requests_per_second: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]
    errors_per_second: list[float]
    queue_depth: list[int]


class History(msgspec.Struct, frozen=True):
    """All systems over time. `partial`: only this process's figures, since Valkey does not answer."""

    step_seconds: int
    from_ms: int
    series: dict[str, Series]
    partial: bool


class Live(msgspec.Struct, frozen=True):
    """All systems now."""

    at_ms: int
    systems: dict[str, Figures]
    partial: bool


class _Source:
    """One system's counters in this process."""

    __slots__ = ("hot_requests", "hot_seen", "queue_depth", "timings", "total")

    def __init__(self) -> None:
        self.total = Tally()
        self.hot_requests: Callable[[], int] | None = None
        self.hot_seen = 0
        self.queue_depth: Callable[[], int] | None = None
        self.timings = LaneTimings()

    def read(self) -> Tally:
        """The total up to now."""
        if self.hot_requests is not None:
            now = self.hot_requests()
            fresh, self.hot_seen = now - self.hot_seen, now
            self.total.requests += fresh
            self.total.buckets = merge((self.total.buckets, self.timings.take(fresh)))
        self.total.queue_depth = self.queue_depth() if self.queue_depth is not None else 0
        return Tally(
            self.total.requests, self.total.errors, self.total.queue_depth, self.total.buckets.copy()
        )


class Traffic:
    """See the module. It is the application's observer.

    Args:
        clock: for slots.
        process: this process's name among all that share the Valkey.
        valkey: where it is shared; None: this process is all there is.
    """

    def __init__(self, clock: Clock, *, process: str, valkey: Valkey | None) -> None:
        self._clock = clock
        self._process = process
        self._valkey = valkey
        self._sources: dict[str, _Source] = {}
        self._seen: dict[str, Tally] = {}
        self._seconds: list[dict[str, Tally]] = []
        self._slots: dict[int, dict[str, Tally]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._report = Report(0, 1.0, {}, {})
        self._ticked_at = clock.monotonic()
        self.shared = True
        """Whether the last second could be shared."""

    # -- counting -------------------------------------------------------------------------------

    def finished(self, system: str, seconds: float, status: int) -> None:
        """A request on the ordinary path; status 0: it ended without an answer."""
        source = self._sources.get(system)
        if source is None:
            source = self._sources[system] = _Source()
        total = source.total
        total.requests += 1
        if status >= _FIRST_SERVER_ERROR or not status:
            total.errors += 1
        total.buckets[bucket_of(seconds)] += 1

    def watch(
        self,
        system: str,
        *,
        hot_requests: Callable[[], int] | None = None,
        queue_depth: Callable[[], int] | None = None,
    ) -> LaneTimings:
        """Count a system's fast lane and queue, too. The result belongs to the lane's server."""
        source = self._sources.setdefault(system, _Source())
        source.hot_requests = hot_requests
        source.queue_depth = queue_depth
        return source.timings

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Report another reading of this process, `connections`, once a second."""
        self._gauges[name] = read

    # -- sharing --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Share what happened, once a second, for as long as the process serves; at first, that it is there."""
        while True:
            await self.tick()
            await asyncio.sleep(1)

    async def tick(self) -> None:
        """Close a second: note it here, and tell the others."""
        fresh = self._close_second()
        self._keep(fresh)
        if self._valkey is not None:
            await self._share(self._valkey, fresh)

    async def close(self) -> None:
        """This process ends: nobody need wait for it to be stale."""
        if self._valkey is not None:
            try:
                await self._valkey.call("HDEL", _LIVE_KEY, self._process)
            except TwelvefoldError:
                log.info("web.traffic.unshared")

    def _close_second(self) -> dict[str, Tally]:
        fresh: dict[str, Tally] = {}
        totals: dict[str, Tally] = {}
        for system, source in self._sources.items():
            total = totals[system] = source.read()
            before = self._seen.get(system) or Tally()
            fresh[system] = Tally(
                total.requests - before.requests,
                total.errors - before.errors,
                total.queue_depth,
                [now - then for now, then in zip(total.buckets, before.buckets, strict=True)],
            )
        self._seen = totals
        self._seconds = [*self._seconds[1 - _WINDOW :], fresh]
        now = self._clock.monotonic()
        seconds, self._ticked_at = now - self._ticked_at, now
        last = {
            system: Tally(
                tally.requests,
                tally.errors,
                tally.queue_depth,
                merge(second[system].buckets for second in self._seconds if system in second),
            )
            for system, tally in fresh.items()
        }
        gauges = {name: float(read()) for name, read in self._gauges.items()}
        self._report = Report(self._clock.now_ms(), max(seconds, 0.001), last, totals, gauges)
        return fresh

    def _keep(self, fresh: Mapping[str, Tally]) -> None:
        slot = self._slot_of_last_second()
        kept = self._slots.setdefault(slot, {})
        for system, tally in fresh.items():
            if system in kept:
                kept[system].queue_depth = 0  # a depth is a reading, not a count
                kept[system].add(tally)
            else:
                kept[system] = Tally(tally.requests, tally.errors, tally.queue_depth, tally.buckets.copy())
        for old in [known for known in self._slots if known <= slot - KEPT_SECONDS // STEP_SECONDS]:
            del self._slots[old]

    async def _share(self, valkey: Valkey, fresh: Mapping[str, Tally]) -> None:
        key = f"{_SLOT_KEY}{self._slot_of_last_second()}"
        try:
            calls = [valkey.send("HSET", _LIVE_KEY, self._process, _encode(self._report))]
            for system, tally in fresh.items():
                counts = {"n": tally.requests, "e": tally.errors}
                counts.update({str(i): count for i, count in enumerate(tally.buckets)})
                calls += [
                    valkey.send("HINCRBY", key, f"{system}:{name}", count)
                    for name, count in counts.items()
                    if count
                ]
                if tally.queue_depth:
                    field = f"{system}:q:{self._process}"
                    calls.append(valkey.send("HSET", key, field, tally.queue_depth))
            calls.append(valkey.send("EXPIRE", key, KEPT_SECONDS + 60))
            failed = [
                one
                for one in await asyncio.gather(*calls, return_exceptions=True)
                if isinstance(one, Exception)
            ]
        except TwelvefoldError as error:
            failed = [error]
        if bool(failed) == self.shared:
            log.info("web.traffic.shared" if not failed else "web.traffic.unshared", process=self._process)
        self.shared = not failed

    # -- reading --------------------------------------------------------------------------------

    async def reports(self) -> tuple[dict[str, Report], bool]:
        """What each process said last, by name, and whether some may be missing."""
        found = {self._process: self._report}
        if self._valkey is None:
            return found, False
        try:
            raw = await self._valkey.call("HGETALL", _LIVE_KEY)
        except TwelvefoldError:
            return found, True
        oldest = self._clock.now_ms() - STALE_MS
        for name, data in _pairs(raw):
            report = _decode_report(data)
            if report.at_ms >= oldest and name.decode() != self._process:
                found[name.decode()] = report
            elif report.at_ms < oldest - 60_000:
                self._valkey.send_with(_ignore, "HDEL", _LIVE_KEY, name)
        return found, not self.shared

    async def live(self) -> Live:
        """All systems now, over all processes."""
        reports, partial = await self.reports()
        requests: dict[str, float] = {}
        errors: dict[str, float] = {}
        merged: dict[str, Tally] = {}
        for report in reports.values():
            for system, tally in report.last.items():
                requests[system] = requests.get(system, 0.0) + tally.requests / report.seconds
                errors[system] = errors.get(system, 0.0) + tally.errors / report.seconds
                merged.setdefault(system, Tally()).add(tally)
        figures = {
            system: Figures(
                round(requests[system], 2),
                quantile_ms(tally.buckets, 0.5),
                quantile_ms(tally.buckets, 0.99),
                round(errors[system], 2),
                tally.queue_depth,
            )
            for system, tally in merged.items()
        }
        return Live(self._clock.now_ms(), figures, partial)

    async def history(self, minutes: int) -> History:
        """The last `minutes` (1 to 20) in steps of five seconds, over all processes, up to the last whole step."""
        last = (self._clock.now_ms() - _SETTLE_MS) // _STEP_MS - 1
        wanted = range(last - minutes * 60 // STEP_SECONDS + 1, last + 1)
        partial = self._valkey is not None
        slots: list[dict[str, Tally]] = [self._slots.get(slot, {}) for slot in wanted]
        if self._valkey is not None:
            try:
                calls = [self._valkey.send("HGETALL", f"{_SLOT_KEY}{slot}") for slot in wanted]
                slots = [_slot_of(raw) for raw in await asyncio.gather(*calls)]
                partial = not self.shared
            except TwelvefoldError:
                log.info("web.traffic.history_is_partial")
        systems = sorted({system for slot in slots for system in slot} | set(self._sources))
        return History(
            STEP_SECONDS,
            wanted[0] * _STEP_MS,
            {name: _series(name, slots) for name in systems},
            partial,
        )

    def _slot_of_last_second(self) -> int:
        middle_ms = self._report.at_ms - int(self._report.seconds * 500)
        return middle_ms // _STEP_MS


def _series(system: str, slots: list[dict[str, Tally]]) -> Series:
    nothing = Tally()
    tallies = [slot.get(system, nothing) for slot in slots]
    return Series(
        [round(tally.requests / STEP_SECONDS, 2) for tally in tallies],
        [quantile_ms(tally.buckets, 0.5) for tally in tallies],
        [quantile_ms(tally.buckets, 0.99) for tally in tallies],
        [round(tally.errors / STEP_SECONDS, 2) for tally in tallies],
        [tally.queue_depth for tally in tallies],
    )


def _slot_of(raw: Any) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for field, value in _pairs(raw):
        system, _, name = field.decode().partition(":")
        tally = found.setdefault(system, Tally())
        if name == "n":
            tally.requests = int(value)
        elif name == "e":
            tally.errors = int(value)
        elif name.startswith("q:"):
            tally.queue_depth += int(value)
        else:
            tally.buckets[int(name)] = int(value)
    return found


def _pairs(raw: Any) -> list[tuple[bytes, bytes]]:
    return list(raw.items()) if isinstance(raw, dict) else list(zip(raw[::2], raw[1::2], strict=True))


def _ignore(_: Any) -> None:
    """Tidying up may fail."""
