"""Valkey killed, stopped, restarted, full; scripts flushed; a home that is cut off."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from tests.engines.valkey_server import ValkeyServer

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import Hit, Rule, StateUnavailableError
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.limiter.store.shared_state import _PROBE_SECONDS

HOUR = {"period_seconds": 3600}


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer()
    await server.start().answering()
    yield server
    server.close()


@pytest.fixture
async def limiter(server: ValkeyServer) -> AsyncIterator[Limiter]:
    async with open_limiter(server.url) as limiter:
        yield limiter


async def until_back(limiter: Limiter) -> None:
    rule = Rule(name="probe", limit=1_000_000)
    async with asyncio.timeout(20):
        while (await limiter.check(rule, "k")).degraded:  # noqa: ASYNC110 - the server's return is what is awaited
            await asyncio.sleep(0.01)


def away(server: ValkeyServer, how: str) -> None:
    server.kill() if how == "killed" else server.pause()


async def back(server: ValkeyServer, how: str) -> None:
    if how == "killed":
        await server.start().answering()
    else:
        server.resume()


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("mode", ["exact", "leased"])
async def test_each_failure_policy_speaks_while_valkey_is_away(
    server: ValkeyServer, limiter: Limiter, how: str, mode: str
) -> None:
    rules = {
        failure: Rule(name=failure, limit=3, mode=mode, failure=failure, **HOUR)  # type: ignore[arg-type]
        for failure in ("open", "closed", "local")
    }
    away(server, how)
    try:
        answers = {
            failure: [await limiter.check(rule, "k") for _ in range(6)] for failure, rule in rules.items()
        }
    finally:
        await back(server, how)
    assert all(decision.degraded for decisions in answers.values() for decision in decisions)
    assert [d.allowed for d in answers["open"]] == [True] * 6
    assert [d.allowed for d in answers["closed"]] == [False] * 6
    assert [d.allowed for d in answers["local"]] == [True] * 3 + [False] * 3
    waits = {d.retry_after_seconds for d in answers["closed"]}
    assert len(waits) > 1, "who is refused at once would come back at once"
    await until_back(limiter)
    async with asyncio.timeout(20):
        while (await limiter.check(rules["closed"], "other")).degraded:  # noqa: ASYNC110 - a busy machine may be late
            await asyncio.sleep(0.01)


async def test_local_rules_and_valid_leases_do_not_notice(server: ValkeyServer, limiter: Limiter) -> None:
    local = Rule(name="local", limit=100, mode="local", **HOUR)
    leased = Rule(name="leased", limit=1000, mode="leased", failure="closed", **HOUR)
    for _ in range(50):
        await limiter.check(leased, "k")
    server.pause()
    try:
        decisions = [await limiter.check(local, "k"), await limiter.check(leased, "k")]
    finally:
        server.resume()
    assert [(d.allowed, d.degraded) for d in decisions] == [(True, False)] * 2


async def test_while_valkey_is_stopped_only_probes_are_sent_and_nothing_piles_up(
    server: ValkeyServer, limiter: Limiter
) -> None:
    rule = Rule(name="r", limit=10**6, **HOUR)
    server.pause()
    try:
        await limiter.check(rule, "k")
        before, began = limiter._shared.sent_batches, monotonic()
        for _ in range(2000):
            assert (await limiter.check(rule, "k")).degraded
        # One at a time, at least half of `_PROBE_SECONDS` apart: as many as fit, however slow this machine is.
        sent = limiter._shared.sent_batches - before
        assert sent <= 1 + (monotonic() - began) / (_PROBE_SECONDS / 2)
    finally:
        server.resume()
    await until_back(limiter)
    decision = await limiter.check(rule, "k")
    # What was written before the stop was counted; the thousands that were answered meanwhile were not.
    assert decision.remaining >= 10**6 - 10 - sent


async def test_all_or_nothing_holds_in_an_outage(server: ValkeyServer, limiter: Limiter) -> None:
    hits = (
        Hit(Rule(name="own", limit=5, mode="local", **HOUR), "k"),
        Hit(Rule(name="shared", limit=5, failure="closed", **HOUR), "k"),
    )
    server.kill()
    verdict = await limiter.check_all(hits)
    assert (verdict.allowed, verdict.binding.rule, verdict.binding.degraded) == (False, "shared", True)
    assert (await limiter.peek(hits[0].rule, "k")).remaining == 5
    await server.start().answering()


async def test_flushed_scripts_are_sent_again_without_a_double_charge(
    server: ValkeyServer, limiter: Limiter
) -> None:
    rule = Rule(name="r", limit=10, **HOUR)
    await limiter.check(rule, "k")
    for left in (8, 7):
        await limiter._shared._valkey.call("SCRIPT", "FLUSH")
        decision = await limiter.check(rule, "k")
        assert (decision.remaining, decision.degraded) == (left, False)


async def test_a_check_whose_reply_is_lost_is_never_sent_again(
    server: ValkeyServer, limiter: Limiter
) -> None:
    rule = Rule(name="r", limit=10, **HOUR)
    assert (await limiter.check(rule, "k")).remaining == 9
    server.pause()
    try:
        # This one lies in the server's socket: it will be executed, and nobody will hear of it.
        assert (await limiter.check(rule, "k")).degraded
    finally:
        server.resume()
    await until_back(limiter)
    async with asyncio.timeout(20):
        while (looked := await limiter.peek(rule, "k")).degraded:  # noqa: ASYNC110 - a busy machine may be late
            await asyncio.sleep(0.01)
    assert looked.remaining == 8, "executed once: it costs its unit, and not two"


async def test_a_full_valkey_refuses_by_policy_and_never_forgets_who_was_limited() -> None:
    server = ValkeyServer("--maxmemory", "1500000", "--maxmemory-policy", "noeviction")
    await server.start().answering()
    try:
        async with open_limiter(server.url) as limiter:
            closed = Rule(name="closed", limit=1, failure="closed", **HOUR)
            await limiter.check(closed, "first")
            rule = Rule(name="filler", limit=10, failure="closed", **HOUR)
            number = 0
            while not (await limiter.check(rule, f"{number}" * 10)).degraded:
                number += 1
                assert number < 100_000
            assert not (await limiter.check(closed, "first")).allowed
    finally:
        server.close()


async def test_a_refund_or_reset_that_cannot_be_done_says_so(server: ValkeyServer, limiter: Limiter) -> None:
    rule = Rule(name="r", limit=10, **HOUR)
    await limiter.check(rule, "k")
    server.kill()
    for act in (limiter.refund, limiter.reset):
        with pytest.raises(StateUnavailableError):
            await act(rule, "k")


async def test_two_data_centres_share_by_demand_and_heal_after_a_partition() -> None:
    """The home is cut off from one: it goes on with its leases and head start, and no more."""
    home = ValkeyServer()
    await home.start().answering()
    sites = [ValkeyServer(), ValkeyServer()]
    for site in sites:
        await site.start().answering()
    settings = LimiterSettings(home_url=home.url, lease_seconds=0.2, head_start_percent=5, answer_ms=2000)
    limit = 1000
    rule = Rule(
        name="global", limit=limit, mode="leased", reach="home", failure="closed", algorithm="fixed_window",
        calendar="year",
    )  # fmt: skip
    try:
        async with (
            open_limiter(sites[0].url, settings=settings) as busy,
            open_limiter(sites[1].url, settings=settings) as quiet,
        ):
            # The first check needs no round trip to the home: the head start answers it.
            assert busy.ask(DEFAULT_TENANT, busy.resolve(DEFAULT_TENANT, (Hit(rule, "k"),)), lambda _: None)
            admitted = 1 + sum([(await busy.check(rule, "k")).allowed for _ in range(600)])
            admitted += sum([(await quiet.check(rule, "k")).allowed for _ in range(50)])
            assert admitted == 651, "the busy site has far more than half"
            home.pause()
            cut_off = 0
            for _ in range(30):
                cut_off += sum([(await quiet.check(rule, "k")).allowed for _ in range(100)])
            held = limit // 10 + limit * settings.head_start_percent // 100
            assert cut_off <= 2 * held
            home.resume()
            async with asyncio.timeout(30):
                while (decision := await busy.check(rule, "k")).allowed or decision.degraded:
                    admitted += decision.allowed
            async with asyncio.timeout(30):
                while (decision := await quiet.check(rule, "k")).degraded:  # noqa: ASYNC110 - the partition ends
                    await asyncio.sleep(0.05)
            # Everything together: the limit, and at most what was outstanding and the head starts.
            assert limit - 2 * held <= admitted + cut_off <= limit + 2 * held
    finally:
        for server in (home, *sites):
            server.close()


async def test_what_is_given_back_or_reset_of_a_home_rule_is_so_at_home(server: ValkeyServer) -> None:
    """The state is at home; an act on the site's own Valkey would change nothing, and say that it did."""
    home = ValkeyServer()
    await home.start().answering()
    settings = LimiterSettings(home_url=home.url, head_start_percent=0, answer_ms=2000)
    rule = Rule(
        name="global", limit=5, mode="leased", reach="home", algorithm="fixed_window", calendar="year"
    )
    try:
        async with open_limiter(server.url, settings=settings) as here:
            assert (await here.check(rule, "k", 5)).allowed
        async with open_limiter(server.url, settings=settings) as there:
            assert not (await there.check(rule, "k")).allowed
            await there.refund(rule, "k", 2)
        async with open_limiter(server.url, settings=settings) as there:
            assert (await there.check(rule, "k", 2)).allowed
            assert not (await there.check(rule, "k")).allowed
            await there.reset(rule, "k")
            assert (await there.check(rule, "k", 5)).allowed
    finally:
        home.close()
