"""`limiter-valkey`: Valkey is killed, then stopped, under load.

The promises: every check is answered, p99 within 20 ms; each failure policy says what it says; one probe at a
time goes out, so that nothing stampedes when Valkey is back; and no outage is charged, or forgotten.
"""

import asyncio
import signal
import time
from pathlib import Path

import uvloop

from drills.harness import Audit, DrillError
from drills.limiter.server import StateServer, state_server
from twelvefold.systems.limiter import Decision, Limiter, Rule, open_limiter
from twelvefold.systems.limiter.contracts import Failure, Mode

BOUND_MS = 20.0
AWAY_SECONDS = 5.0
BACK_SECONDS = 20.0
CHECKS_A_SECOND = 400
LIMIT = 50
PROBES_A_SECOND = 40
"""A probe waits at least 25 ms for its turn, and everyone else is answered without one."""
FAILURES: tuple[Failure, ...] = ("open", "closed", "local")
MODES: tuple[Mode, ...] = ("exact", "leased")
RULES = [
    Rule(name=f"{mode}-{failure}", limit=LIMIT, period_seconds=3600, mode=mode, failure=failure)
    for mode in MODES
    for failure in FAILURES
]


class Outage:
    """What checks said while the server was away."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self.said: dict[str, list[Decision]] = {rule.name: [] for rule in RULES}

    async def ask(self, limiter: Limiter, rule: Rule, key: str) -> None:
        """One check, timed."""
        began = time.perf_counter()
        decision = await limiter.check(rule, key)
        self.took_ms.append((time.perf_counter() - began) * 1000)
        if decision.degraded:
            self.said[rule.name].append(decision)

    def of(self, failure: Failure) -> list[list[Decision]]:
        """What each rule with this policy said."""
        return [self.said[f"{mode}-{failure}"] for mode in MODES]

    def judge(self, audit: Audit, how: str) -> None:
        """Counts and checks."""
        self.took_ms.sort()
        p99 = self.took_ms[len(self.took_ms) * 99 // 100]
        audit.count(f"{how}: checks", len(self.took_ms))
        audit.count(f"{how}: p50, p99, longest (ms)", [
            round(self.took_ms[len(self.took_ms) // 2], 2), round(p99, 2), round(self.took_ms[-1], 2)
        ])  # fmt: skip
        audit.check(f"{how}: p99 of a check is at most {BOUND_MS:g} ms", p99 <= BOUND_MS)
        audit.check(f"{how}: every policy was asked", all(self.said.values()))
        opened = [decision.allowed for said in self.of("open") for decision in said]
        audit.check(f"{how}: open rules let everything through", all(opened))
        closed = [decision for said in self.of("closed") for decision in said]
        audit.check(f"{how}: closed rules let nothing through", not any(each.allowed for each in closed))
        waits = {each.retry_after_seconds for each in closed}
        audit.check(f"{how}: who is refused is told to come back at different moments", len(waits) > 1)
        fallbacks = [sum(decision.allowed for decision in said) for said in self.of("local")]
        audit.count(f"{how}: let through by local fallbacks", fallbacks)
        audit.check(
            f"{how}: a local fallback keeps the limit", all(0 < count <= LIMIT for count in fallbacks)
        )


async def away(server: StateServer, limiter: Limiter, audit: Audit, how: str) -> None:
    """One outage."""
    used = [await limiter.check(rule, f"{how}-used", 10) for rule in RULES]
    outage = Outage()
    sent = limiter._shared.sent_batches  # noqa: SLF001 - probes are not seen from outside
    if how == "killed":
        await asyncio.sleep(1.2)  # the append-only file is synced once a second
        server.kill()
    else:
        server.signal(signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        for number in range(int(AWAY_SECONDS * CHECKS_A_SECOND)):
            group.create_task(outage.ask(limiter, RULES[number % len(RULES)], how))
            await asyncio.sleep(1 / CHECKS_A_SECOND)
    probes = limiter._shared.sent_batches - sent  # noqa: SLF001
    began = time.perf_counter()
    if how == "killed":
        await server.start()
    else:
        server.signal(signal.SIGCONT)
    outage.judge(audit, how)
    audit.count(f"{how}: probes sent", probes)
    audit.check(f"{how}: probes go out one at a time", probes <= AWAY_SECONDS * PROBES_A_SECOND)
    try:
        async with asyncio.timeout(BACK_SECONDS):
            left = [await until_back(limiter, rule, f"{how}-used") for rule in RULES]
    except TimeoutError as error:
        raise DrillError(f"{how}: checks did not recover in {BACK_SECONDS:g} s") from error
    audit.count(f"{how}: all rules back after (ms)", round((time.perf_counter() - began) * 1000))
    # A bucket of 50 an hour gives one back in 72 s; a killed Valkey may have lost its last second.
    same = [
        before.remaining - 1 <= now <= before.remaining + 2 for before, now in zip(used, left, strict=True)
    ]
    audit.count(
        f"{how}: left before, and after", list(zip([each.remaining for each in used], left, strict=True))
    )
    audit.check(f"{how}: what was used before is used, and nothing more", all(same))


async def until_back(limiter: Limiter, rule: Rule, key: str) -> int:
    """What is left of a key, as soon as the state says so."""
    while (decision := await limiter.check(rule, key, 0)).degraded:  # noqa: ASYNC110 - the return is what is timed
        await asyncio.sleep(0.005)
    return decision.remaining


async def run(folder: Path) -> Audit:
    """Both outages, one after the other, of one limiter."""
    audit = Audit("limiter-valkey")
    with state_server(folder) as server:
        await server.start()
        async with open_limiter(server.url) as limiter:
            for how in ("killed", "stopped"):
                await away(server, limiter, audit, how)
    return audit


def drill(folder: Path) -> Audit:
    """Carry it through."""
    return uvloop.run(run(folder))
