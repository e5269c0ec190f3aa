"""Work beside the checks: handing counts over in every process, and telling of persistent abuse in one."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.limiter.contracts import Offender
from twelvefold.systems.limiter.service.tally import Tally
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.traffic import TrafficStore

log = structlog.get_logger("limiter")

HAND_OVER_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 20.0
QUIET_SECONDS: Final = 3600
"""A key is told of once an hour, however long it goes on."""
_POST_SECONDS: Final = 5.0


async def hand_over_counts(tally: Tally, traffic: TrafficStore, clock: Clock) -> None:
    """Give this process's counts to the store once a second, until cancelled; lost counts harm nobody."""
    while True:
        await asyncio.sleep(HAND_OVER_SECONDS)
        try:
            await traffic.add(tally, clock.now_ms())
        except TwelvefoldError as error:
            log.debug("limiter.counts.lost", reason=error.message)


class AbuseWatch:
    """Looks for keys that are refused minute after minute, and tells the webhook."""

    def __init__(
        self,
        *,
        traffic: TrafficStore,
        tenants: Callable[[], Awaitable[Sequence[TenantId]]],
        clock: Clock,
        settings: LimiterSettings,
    ) -> None:
        self._traffic = traffic
        self._tenants = tenants
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.turn()
            except TwelvefoldError as error:
                log.info("limiter.abuse.unseen", reason=error.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def turn(self) -> None:
        """One look; each offender is told of once an hour."""
        for tenant in {TenantId(0), *await self._tenants()}:
            found = await self._traffic.persistent(
                tenant,
                denials=self._settings.alert_denials,
                minutes=self._settings.alert_minutes,
                now_ms=self._clock.now_ms(),
            )
            for offender in found:
                if await self._traffic.first_to_say(tenant, offender, QUIET_SECONDS):
                    log.warning(
                        "limiter.abuse.found", tenant=tenant, rule=offender.rule, denied=offender.denied
                    )
                    if self._settings.alert_webhook and not await self._tell(tenant, offender):
                        # The next look tries again; the others need not wait for a webhook that is away.
                        await self._traffic.unsaid(tenant, offender)
                        return

    async def _tell(self, tenant: TenantId, offender: Offender) -> bool:
        """Whether the webhook has taken it."""
        body = msgspec.json.encode(
            {
                "event": "limiter.key_denied_persistently",
                "tenant_id": str(tenant),
                "rule": offender.rule,
                "key": offender.key,
                "denied": offender.denied,
                "minutes": self._settings.alert_minutes,
            }
        )
        try:
            await asyncio.to_thread(_post, self._settings.alert_webhook, body)
        except (OSError, ValueError) as error:
            log.warning("limiter.webhook.failed", reason=str(error))
            return False
        return True


def _post(url: str, body: bytes) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("limiter.alert_webhook is an http or https address")
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=_POST_SECONDS) as response:  # noqa: S310 - the operator's own address
            response.read(1024)
    except urllib.error.HTTPError as error:
        error.close()
        raise
