"""Work behind the redirects: counting clicks, ending what has expired, dropping old tombstones, closing days.

Invariant: a click batch leaves the log only after its counts and facts are committed, and it is counted
once by its position; a worker that dies at any line loses nothing and doubles nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from twelvefold.engines.database import ContendedError
from twelvefold.engines.log import Consumer, Entry
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TwelvefoldError
from twelvefold.kernel.retry import Backoff
from twelvefold.systems.links.click_batches import hour_counts, watched_facts
from twelvefold.systems.links.click_codec import MalformedClickBatchError, decode
from twelvefold.systems.links.click_enrichment import Enriched, Enricher
from twelvefold.systems.links.service.live import LiveClick, LiveClicks, Watches
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.systems.links.store.clicks import DAY_MS, ClickStore
from twelvefold.systems.links.store.ends import EndStore
from twelvefold.systems.links.store.rollup import DayRollup

log = structlog.get_logger("links")

TOPIC = "links.clicks"
GROUP = "count"
FETCH_BATCHES = 64
FETCH_SECONDS = 1.0
TURN_SECONDS = 0.5
"""Between turns, so that a trickle of clicks does not make a segment of facts each."""
CLAIM_IDLE_SECONDS = 30.0
"""A batch that a worker holds longer is taken over; counting one takes well under a second."""
LATE_SECONDS = 3600
"""A day is closed an hour after its end, when even a spooled click has arrived."""
KEEP_POSITIONS_SECONDS = 7 * 86_400
SHOWN_CLICKS = 20
SWEEP_SECONDS = 5.0


class ClickWorker:
    """Takes click batches from the log and counts them.

    While an engine is away the batches stay in hand and nothing more is taken: each delivery brings a batch
    nearer to being set aside as poisonous, and an outage is not the batch's fault. What cannot be counted for
    another reason is given back, so that after a few deliveries it holds up nobody.

    Args:
        make_consumer: a member of the group under this worker's name. A new one begins with what the last one
            had fetched and not committed, so trouble delays a batch by moments, not until it is claimed.
    """

    def __init__(
        self,
        *,
        make_consumer: Callable[[], Consumer],
        store: ClickStore,
        enricher: Enricher,
        watches: Watches,
        clock: Clock,
    ) -> None:
        self._make_consumer = make_consumer
        self._consumer = make_consumer()
        self._in_hand: list[Entry] = []
        self._store = store
        self._enricher = enricher
        self._watches = watches
        self._clock = clock
        self.counted = 0
        self.lag = 0
        """Batches that wait, as of the last turn; for the overview."""

    async def run(self) -> None:
        """Work until cancelled; trouble is waited out, never skipped over."""
        try:
            await self._work()
        finally:
            await self._consumer.close()

    async def _work(self) -> None:
        delays = Backoff().delays()
        while True:
            try:
                began = self._clock.monotonic()
                await self._turn()
                delays = Backoff().delays()
                await asyncio.sleep(max(0.0, TURN_SECONDS - (self._clock.monotonic() - began)))
            except (EngineUnavailableError, OverloadedError, ContendedError) as error:
                log.warning("links.count.delayed", reason=error.message)
                await asyncio.sleep(next(delays))
            except TwelvefoldError as error:
                log.warning("links.count.given_back", batches=len(self._in_hand), reason=error.message)
                await asyncio.sleep(next(delays))
                await self._begin_again()

    async def _turn(self) -> None:
        if not self._in_hand:
            await self._store.answers()
            self._in_hand = await self._take()
        if self._in_hand:
            await self.count(self._in_hand)
            self._in_hand = []
        self.lag = await self._consumer.lag()

    async def _take(self) -> list[Entry]:
        try:
            claimed = await self._consumer.claim(CLAIM_IDLE_SECONDS)
            return list(claimed) or list(await self._consumer.fetch(FETCH_BATCHES, FETCH_SECONDS))
        except TwelvefoldError:
            await self._begin_again()  # what was on its way to us is ours
            raise

    async def _begin_again(self) -> None:
        self._in_hand = []
        await self._consumer.close()
        self._consumer = self._make_consumer()

    async def count(self, entries: Sequence[Entry]) -> None:
        """Count a few batches, whatever of them was counted before, and take them off the log."""
        while not await self._count_fresh(entries):
            pass  # another worker has counted some of them meanwhile: look again at what is left
        await self._consumer.commit(entries)
        await self._store.pass_on_facts()

    async def _count_fresh(self, entries: Sequence[Entry]) -> bool:
        """Whether all of these are counted now; False if nothing was, because somebody else counts them, too."""
        before = await self._store.counted([entry.position for entry in entries])
        fresh = [entry for entry in entries if entry.position not in before]
        batches = []
        for entry in fresh:
            try:
                batches.append(decode(entry.data))
            except MalformedClickBatchError as error:
                # Nothing can be done with it, and it would stop all that comes after.
                log.error("links.count.unreadable", position=entry.position, reason=error.message)  # noqa: TRY400
        if not batches:
            return True
        enriched = await asyncio.to_thread(self._enricher.enrich, batches)
        positions = [entry.position for entry in fresh]
        if not await self._store.count(positions, hour_counts(enriched), enriched.columns()):
            return False
        self.counted += len(enriched)
        await self._tell(enriched)
        return True

    async def _tell(self, enriched: Enriched) -> None:
        try:
            watched = await self._watches.watched()
            if not watched:
                return
            clicks: dict[int, list[LiveClick]] = defaultdict(list)
            counted: dict[int, int] = defaultdict(int)
            bots: dict[int, int] = defaultdict(int)
            for row in watched_facts(enriched, watched):
                if row.bot or row.preview:
                    bots[row.link_id] += 1
                else:
                    counted[row.link_id] += 1
                if len(clicks[row.link_id]) < SHOWN_CLICKS:
                    clicks[row.link_id].append(
                        LiveClick(
                            at_ms=row.ts_ms,
                            country=row.country,
                            referrer=row.referrer,
                            device=row.device,
                            browser=row.browser,
                            os=row.os,
                            bot=row.bot or row.preview,
                        )
                    )
            now = self._clock.now_ms()
            self._watches.tell(
                {
                    link_id: LiveClicks(
                        at_ms=now, clicks=tuple(shown), counted=counted[link_id], bots=bots[link_id]
                    )
                    for link_id, shown in clicks.items()
                }
            )
        except TwelvefoldError as error:
            log.info("links.live.skipped", reason=error.message)


class EndWorker:
    """Ends what has expired, drops old tombstones, closes days; in small steps, by whoever comes first."""

    def __init__(
        self,
        *,
        ends: EndStore,
        clicks: ClickStore,
        rollup: DayRollup,
        clock: Clock,
        settings: LinksSettings,
    ) -> None:
        self._ends = ends
        self._clicks = clicks
        self._rollup = rollup
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.turn()
            except TwelvefoldError as error:
                log.warning("links.end.delayed", reason=error.message)
            await asyncio.sleep(SWEEP_SECONDS)

    async def turn(self) -> None:
        """One sweep."""
        now = self._clock.now_ms()
        while await self._ends.expire(now):
            pass
        while await self._ends.drop(now - self._settings.tombstone_days * DAY_MS):
            pass
        await self._clicks.pass_on_facts()  # of a worker that died between counting and passing them on
        closed_before = (now - LATE_SECONDS * 1000) // DAY_MS
        async with self._ends.alone("links.rollup") as mine:
            if mine:
                for day in await self._rollup.due(closed_before):
                    await self._rollup.roll(day)
                await self._clicks.tidy_facts()
                await self._clicks.forget_batches(KEEP_POSITIONS_SECONDS)
                await self._clicks.forget_facts(now - self._settings.fact_days * DAY_MS)
