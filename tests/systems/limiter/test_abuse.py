"""A key that is refused minute after minute is told of: once, to the webhook and the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import Rule
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.tally import Tally
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.traffic import TrafficStore
from twelvefold.systems.limiter.workers import AbuseWatch

MINUTE_MS = 60_000
BOUND = Bound(DEFAULT_TENANT, Rule(name="api", limit=1))


@asynccontextmanager
async def webhook(status: int = 204) -> AsyncIterator[tuple[str, list[Any]]]:
    """Where alerts are posted to, and what has come."""
    told: list[Any] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        told.append(json.loads(await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 %d -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts", told
    finally:
        server.close()
        await server.wait_closed()


class Minutes:
    """Counts as the processes hand them over, minute by minute, and the one that watches."""

    def __init__(self, valkey: Valkey, url: str, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.traffic = TrafficStore(valkey)
        settings = LimiterSettings(alert_webhook=url, alert_denials=10, alert_minutes=3)
        self.watch = AbuseWatch(
            traffic=self.traffic, tenants=self.tenants, clock=self.clock, settings=settings
        )

    async def tenants(self) -> list[TenantId]:
        return [DEFAULT_TENANT]

    async def pass_with(self, refusals: dict[str, int]) -> None:
        """A minute in which each key was refused so often."""
        tally = Tally()
        for key, count in refusals.items():
            for _ in range(count):
                tally.count(BOUND, key, 1, 0, refused=True)
        await self.traffic.add(tally, self.clock.now_ms())
        self.clock.advance(ms=MINUTE_MS)


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[Valkey]:
    async with await Valkey.open(valkey_url) as valkey:
        yield valkey


async def test_a_persistent_offender_is_told_of_once_with_all_that_one_needs(valkey: Valkey) -> None:
    async with webhook() as (url, told):
        minutes = Minutes(valkey, url)
        for _ in range(3):
            await minutes.pass_with({"mallory": 40, "bob": 9})
        with capture_logs() as logs:
            await minutes.watch.turn()
            await minutes.watch.turn()
        assert told == [
            {
                "event": "limiter.key_denied_persistently", "tenant_id": str(DEFAULT_TENANT), "rule": "api",
                "key": "mallory", "denied": 120, "minutes": 3,
            }
        ]  # fmt: skip
        assert [line["event"] for line in logs] == ["limiter.abuse.found"]


async def test_one_quiet_minute_is_no_persistence(valkey: Valkey) -> None:
    async with webhook() as (url, told):
        minutes = Minutes(valkey, url)
        for count in (40, 3, 40):
            await minutes.pass_with({"mallory": count})
        await minutes.watch.turn()
        assert told == []


@pytest.mark.parametrize("status", [500, None])
async def test_a_webhook_that_fails_is_logged_and_told_again_at_the_next_look(
    valkey: Valkey, status: int | None
) -> None:
    async with webhook(status or 204) as (url, told):
        minutes = Minutes(valkey, url if status else "http://127.0.0.1:1/nobody")
        for _ in range(3):
            await minutes.pass_with({"mallory": 40, "trudy": 50})
        with capture_logs() as logs:
            await minutes.watch.turn()
        assert len(told) == (1 if status else 0)
        assert [line["event"] for line in logs].count("limiter.webhook.failed") == 1
    async with webhook() as (url, told):
        await Minutes(valkey, url, minutes.clock).watch.turn()
        assert sorted(each["key"] for each in told) == ["mallory", "trudy"]
