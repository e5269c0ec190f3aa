"""Everything that the limiter asks of Valkey, asked of a cluster: one slot a call, all keys declared, all with an end."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.engines.test_valkey_cluster import Cluster

from twelvefold.kernel.tenancy import DEFAULT_TENANT, TenantId
from twelvefold.systems.limiter.contracts import Hit, Rule
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.service.rule_book import succeed
from twelvefold.systems.limiter.settings import LimiterSettings

HOUR = {"period_seconds": 3600}
ALGORITHMS = ("token_bucket", "fixed_window", "sliding_counter", "sliding_log")
TENANTS = [DEFAULT_TENANT, TenantId(2), TenantId(3), TenantId(4)]
"""Enough that their slots lie on different nodes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield asyncio.run(cluster.start())
    finally:
        cluster.stop()


async def use_everything(limiter: Limiter, tenant: TenantId) -> None:
    """Each kind of rule, each verb, and a rule that was changed."""
    for algorithm in ALGORITHMS:
        for mode in ("exact", "leased"):
            rule = Rule(name="r", limit=5, algorithm=algorithm, mode=mode, **HOUR)  # type: ignore[arg-type]
            key = f"{mode}{algorithm}"
            decisions = [await limiter.check(rule, key, tenant=tenant) for _ in range(7)]
            assert [each.degraded for each in decisions] == [False] * 7
            assert sum(each.allowed for each in decisions) == 5
            await limiter.refund(rule, key, tenant=tenant)
    hits = [Hit(Rule(name=each, limit=5, algorithm=each, **HOUR), ("}{", "k")) for each in ALGORITHMS]  # type: ignore[arg-type]
    assert (await limiter.check_all(hits, tenant=tenant)).allowed
    penalty = Rule(name="p", limit=1, penalty_seconds=60, **HOUR)  # type: ignore[arg-type]
    assert [(await limiter.check(penalty, "k", tenant=tenant)).allowed for _ in range(3)] == [
        True,
        False,
        False,
    ]
    places = Rule(name="c", limit=1, algorithm="concurrency", **HOUR)  # type: ignore[arg-type]
    permit = await limiter.acquire(places, "k", tenant=tenant)
    assert permit.allowed
    assert not (await limiter.acquire(places, "k", tenant=tenant)).allowed
    before = Rule(name="changed", limit=5, **HOUR)  # type: ignore[arg-type]
    stored = succeed(None, before)
    limiter.book.put(tenant, stored)
    assert (await limiter.check("changed", "k", 3, tenant=tenant)).remaining == 2
    limiter.book.put(tenant, succeed(stored, Rule(name="changed", limit=8, **HOUR)))  # type: ignore[arg-type]
    assert (await limiter.check("changed", "k", tenant=tenant)).remaining == 4
    await limiter.reset("changed", "k", tenant=tenant)


async def test_every_call_stays_in_one_slot_and_every_key_ends_by_itself(cluster: Cluster) -> None:
    seen, endless = 0, []
    async with open_limiter(cluster.url, settings=LimiterSettings(answer_ms=5000)) as limiter:
        for tenant in TENANTS:
            await use_everything(limiter, tenant)
            # A leased key that is not used up: its lease is out while we look.
            assert (
                await limiter.check(Rule(name="l", limit=1000, mode="leased"), "k", tenant=tenant)
            ).allowed
        for node in range(3):
            for key in await cluster.do(node, "KEYS", "*"):
                seen += 1
                if await cluster.do(node, "PTTL", key) == -1:
                    endless.append(key)
    assert seen > 8 * len(TENANTS)
    assert endless == []
