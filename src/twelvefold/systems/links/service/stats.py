"""Reading counts: series and totals from the hours, groups and visitors from closed days and facts."""

from collections import Counter
from collections.abc import Sequence

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import InvalidInputError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.contracts import Facet, Interval, Link, Stats, TenantStats, Totals
from twelvefold.systems.links.store.clicks import DAY_MS, HOUR_MS, ClickStore
from twelvefold.systems.links.visitors import estimate_visitors

MAX_SPAN_DAYS = 400
DEFAULT_SPAN_DAYS = 30
MAX_GROUPS = 50


class ClickStats:
    """Statistics of links."""

    def __init__(self, store: ClickStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of_link(
        self,
        link: Link,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        interval: Interval = "day",
        group: Facet | None = None,
    ) -> Stats:
        """A link's clicks in `[from, to)`, both widened to whole hours. Raises `InvalidInputError`."""
        now = self._clock.now_ms()
        end = -(-(to_ms if to_ms is not None else now + 1) // HOUR_MS)
        start = (from_ms if from_ms is not None else end * HOUR_MS - DEFAULT_SPAN_DAYS * DAY_MS) // HOUR_MS
        if start >= end:
            raise InvalidInputError("from must be before to", field="from")
        if end - start > MAX_SPAN_DAYS * 24:
            raise InvalidInputError(f"a span has at most {MAX_SPAN_DAYS} days", field="from")
        hours = await self._store.hours(link.id, start, end)
        closed = await self._closed_days(start, end)
        return Stats(
            from_ms=start * HOUR_MS,
            to_ms=end * HOUR_MS,
            interval=interval,
            totals=Totals(
                clicks=sum(clicks for _, clicks, _ in hours),
                bots=sum(bots for _, _, bots in hours),
                unique_visitors=await self._visitors(link.id, start, end, closed) if hours else 0,
            ),
            series=_series(hours, start, end, interval),
            groups=await self._groups(link.id, start, end, closed, group) if group and hours else (),
        )

    async def of_tenant(self, tenant: TenantId) -> TenantStats:
        """All of a tenant's links at a glance."""
        return await self._store.tenant_stats(tenant, self._clock.now_ms())

    async def _closed_days(self, start: int, end: int) -> frozenset[int]:
        """Days that lie wholly in the span and are rolled up."""
        return await self._store.rolled_days(-(-start // 24), end // 24)

    async def _visitors(self, link_id: int, start: int, end: int, closed: frozenset[int]) -> int:
        sketches = await self._store.rolled_sketches(link_id, closed) if closed else []
        fresh = await self._store.fresh_visitors(link_id, start * HOUR_MS, end * HOUR_MS, closed)
        return estimate_visitors(sketches) + fresh

    async def _groups(
        self, link_id: int, start: int, end: int, closed: frozenset[int], facet: Facet
    ) -> tuple[tuple[str, int], ...]:
        counts: Counter[str] = Counter()
        if closed:
            counts.update(dict(await self._store.rolled_facets(link_id, closed, facet)))
        counts.update(
            dict(await self._store.fresh_facets(link_id, start * HOUR_MS, end * HOUR_MS, closed, facet))
        )
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(ordered[:MAX_GROUPS])


def _series(
    hours: Sequence[tuple[int, int, int]], start: int, end: int, interval: Interval
) -> tuple[tuple[int, int], ...]:
    """Every step of the span, empty ones too, so that a chart needs no gaps filled."""
    step = 24 if interval == "day" else 1
    counts = dict.fromkeys(range(start // step, -(-end // step)), 0)
    for hour, clicks, _ in hours:
        counts[hour // step] += clicks
    return tuple((place * step * HOUR_MS, clicks) for place, clicks in counts.items())
