"""Any order of starts, deaths, pauses, take-overs and clock changes: no id twice, no worker id shared."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from twelvefold.engines.database import Database
from twelvefold.engines.identity import WorkerLease
from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.ids import ClockBehindError, LeaseExpiredError

T = TypeVar("T")
LEASE_SECONDS = 1000.0  # so long that only the rules renew, expire and revoke
index = st.integers(0, 5)


EXPIRE = "UPDATE identity.worker_lease SET expires_at = '-infinity' WHERE worker_id = $1 AND fence = $2"


class Node:
    def __init__(self, lease: WorkerLease, clock: ManualClock) -> None:
        self.lease = lease
        self.clock = clock


class Leases(RuleBasedStateMachine):
    """`nodes` live; `asleep` no longer renew but may still make ids, as paused processes do."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database: Database = self.run(Database.open(self.url, name="machine"))
        self.run(self.database.execute("DROP SCHEMA IF EXISTS identity, twelvefold CASCADE"))
        self.nodes: list[Node] = []
        self.asleep: list[Node] = []
        self.made: set[int] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(offset_ms=st.integers(-2, 2))
    def start(self, offset_ms: int) -> None:
        if len(self.nodes) < 5:
            clock = ManualClock(1_800_000_000_000 + offset_ms)
            lease = WorkerLease.acquire(
                self.database,
                clock,
                holder="node",
                lease_seconds=LEASE_SECONDS,
                wait=lambda ms: clock.advance(ms=int(ms)),
            )
            self.nodes.append(Node(self.run(lease), clock))

    @precondition(lambda self: self.nodes)
    @rule(which=index, for_long=st.booleans())
    def fall_asleep(self, which: int, *, for_long: bool) -> None:
        node = self.nodes.pop(which % len(self.nodes))
        self.asleep.append(node)
        if for_long:
            self.run(self.database.execute(EXPIRE, node.lease.worker_id, node.lease.fence))

    @precondition(lambda self: self.asleep)
    @rule(which=index)
    def wake_up(self, which: int) -> None:
        node = self.asleep.pop(which % len(self.asleep))
        self.run(node.lease.renew())
        self.nodes.append(node)

    @precondition(lambda self: self.nodes)
    @rule(which=index)
    def release(self, which: int) -> None:
        self.run(self.nodes.pop(which % len(self.nodes)).lease.release())

    @precondition(lambda self: self.nodes)
    @rule(which=index)
    def renew(self, which: int) -> None:
        self.run(self.nodes[which % len(self.nodes)].lease.renew())

    @precondition(lambda self: self.nodes or self.asleep)
    @rule(which=index, ms=st.sampled_from([-60, -2, -1, 1, 2, 1_000_001]))
    def clock_moves(self, which: int, ms: int) -> None:
        everyone = [*self.nodes, *self.asleep]
        clock = everyone[which % len(everyone)].clock
        clock.advance(ms=ms) if ms >= 0 else clock.step_back(ms=-ms)

    @precondition(lambda self: self.nodes or self.asleep)
    @rule(which=index, count=st.sampled_from([1, 3, 4097]))
    def make(self, which: int, count: int) -> None:
        everyone = [*self.nodes, *self.asleep]
        ids = everyone[which % len(everyone)].lease.ids
        try:
            for _ in range(count):
                snowflake = ids.make()
                assert snowflake not in self.made
                self.made.add(snowflake)
        except (ClockBehindError, LeaseExpiredError):
            pass

    @invariant()
    def no_worker_id_is_shared_by_those_awake(self) -> None:
        worker_ids = [node.lease.worker_id for node in self.nodes]
        assert len(set(worker_ids)) == len(worker_ids)

    def teardown(self) -> None:
        for node in [*self.nodes, *self.asleep]:
            self.run(node.lease.release())
        self.run(self.database.close())
        self.runner.close()


def explore(url: str, *, max_examples: int, phases: list[Phase]) -> None:
    run_state_machine_as_test(
        type("LeasesHere", (Leases,), {"url": url}),
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_events_makes_an_id_twice(database_url: str) -> None:
    explore(database_url, max_examples=60, phases=list(Phase))


def test_the_machine_would_notice(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the high water mark the same machine finds a duplicate."""
    monkeypatch.setattr(
        "twelvefold.engines.identity.store._FREE",
        "SELECT worker_id, 0::bigint FROM identity.worker_lease"
        " WHERE expires_at < clock_timestamp() AND $1::bigint > 0 LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    with pytest.raises(AssertionError):
        explore(database_url, max_examples=60, phases=[Phase.generate])
