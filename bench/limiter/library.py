"""Runs inside one pinned process: in-process checks, leases, exact batches, an outage. Prints one JSON line.

Usage: python -m bench.limiter.library local|limits|exact|one|leased|stopped [VALKEY_URL [PID]]
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from typing import Any

import uvloop

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import Hit, Rule
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.local import local_limit
from twelvefold.systems.limiter.store.shared_state import SharedState

CHECKS = 1_000_000
KEYS = 100_000


def zipf_keys(count: int) -> list[int]:
    draw = random.Random(1)
    return [min(int(draw.paretovariate(0.6)), KEYS) for _ in range(count)]


def local() -> dict[str, float]:
    """A loop of `hit` over 100k keys drawn by a power law, for each algorithm."""
    keys = [b"=user:%d" % number for number in zipf_keys(CHECKS)]
    found = {}
    for algorithm in ("token_bucket", "fixed_window", "sliding_counter", "sliding_log"):
        rule = Rule(name="r", limit=100, period_seconds=60, algorithm=algorithm)
        hit = local_limit(Bound(DEFAULT_TENANT, rule)).hit
        began = time.process_time()
        for key in keys:
            hit(key)
        found[algorithm] = CHECKS / (time.process_time() - began)
    return found


def peer() -> dict[str, float]:
    """The same with the `limits` package, in memory."""
    import limits  # noqa: PLC0415 - only this subject has it
    import limits.storage  # noqa: PLC0415
    import limits.strategies  # noqa: PLC0415

    keys = [f"user:{number}" for number in zipf_keys(CHECKS // 5)]
    item = limits.parse("100/minute")
    found = {}
    for name, strategy in (
        ("fixed_window", limits.strategies.FixedWindowRateLimiter),
        ("sliding_counter", limits.strategies.SlidingWindowCounterRateLimiter),
        ("sliding_log", limits.strategies.MovingWindowRateLimiter),
    ):
        limiter = strategy(limits.storage.MemoryStorage())
        began = time.process_time()
        for key in keys:
            limiter.hit(item, key)
        found[name] = len(keys) / (time.process_time() - began)
    return found


async def exact(url: str, pid: int) -> dict[str, float]:
    """Turns of 64 checks on 100k keys; what Valkey's process took for them."""
    found = {}
    async with await Valkey.open(url, deadline_seconds=10) as valkey:
        state = SharedState(valkey, deadline_seconds=10)
        bound = Bound(DEFAULT_TENANT, Rule(name="r", limit=100, period_seconds=60))
        keys = [b"=user:%d" % number for number in zipf_keys(400_000)]
        for size in (16, 64, 256):
            left = len(keys)

            def answer(_now: int, _numbers: Any, _at: int) -> None:
                nonlocal left
                left -= 1

            def fault(error: Exception) -> None:
                raise error

            before = cpu_of(pid)
            for start in range(0, len(keys), size):
                for key in keys[start : start + size]:
                    state.ask(1, ((bound, key, 1),), answer, fault)
                await asyncio.sleep(0)
                while start + size - (len(keys) - left) > 4 * size:  # noqa: ASYNC110 - turns of the loop are counted
                    await asyncio.sleep(0)
            while left:  # noqa: ASYNC110 - turns of the loop are counted
                await asyncio.sleep(0)
            found[f"batch_{size}"] = len(keys) / (cpu_of(pid) - before)
    return found


async def leased(url: str) -> dict[str, float]:
    """One of several nodes on one hot key: decisions for three seconds of wall time."""
    rule = Rule(name="hot", limit=50_000_000, period_seconds=60, mode="leased")
    async with open_limiter(url) as limiter:
        (asked,) = limiter.resolve(DEFAULT_TENANT, [Hit(rule, "hot")])
        bound, key, _ = asked
        leases = limiter._leases  # noqa: SLF001 - the hot path itself
        take = leases.take
        decided = admitted = waiting = 0

        def served(outcome: Any) -> None:
            nonlocal admitted, waiting
            waiting -= 1
            admitted += not isinstance(outcome, Exception) and outcome.allowed

        began, cpu = time.monotonic(), time.process_time()
        while time.monotonic() - began < 3:
            for _ in range(2000):
                outcome = take(bound, key, 1)
                decided += 1
                if outcome is None:
                    leases.wait(bound, key, 1, served)
                    waiting += 1
                    break
                admitted += outcome.allowed
            await asyncio.sleep(0)
        cpu = time.process_time() - cpu
        while waiting:  # noqa: ASYNC110 - the last leases arrive
            await asyncio.sleep(0.001)
        return {
            "decided": decided,
            "admitted": admitted,
            "cpu_seconds": cpu,
            "held": leases.outstanding,
        }


async def stopped(url: str, pid: int) -> dict[str, float]:
    """Five seconds of SIGSTOP, 500 checks a second in every mode; how long the checks took."""
    rules = [
        Rule(name=f"{mode}-{failure}", limit=10**6, mode=mode, failure=failure)
        for mode in ("exact", "leased", "local")
        for failure in ("open", "closed", "local")
    ]
    took: list[float] = []
    async with open_limiter(url) as limiter:
        for rule in rules:
            await limiter.check(rule, "k")

        async def one(rule: Rule) -> None:
            began = time.perf_counter()
            await limiter.check(rule, "k")
            took.append(time.perf_counter() - began)

        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(2500):
                    group.create_task(one(rules[number % len(rules)]))
                    await asyncio.sleep(0.002)
        finally:
            os.kill(pid, signal.SIGCONT)
        began = time.perf_counter()
        while (await limiter.check(rules[0], "k")).degraded:  # noqa: ASYNC110 - the return is what is timed
            await asyncio.sleep(0.005)
        back = time.perf_counter() - began
    took.sort()
    return {
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "max_ms": took[-1] * 1000,
        "back_ms": back * 1000,
    }


def cpu_of(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a hundred times a run
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one(url: str) -> dict[str, Any]:
    """One check, so that its key can be looked at; gives what stands before the user's number."""
    rule = Rule(name="r", limit=100, period_seconds=60)
    async with open_limiter(url) as limiter:
        ((bound, key, _),) = limiter.resolve(DEFAULT_TENANT, [Hit(rule, "user:1")])
        assert (await limiter.check(rule, "user:1")).allowed
        return {"prefix": (bound.prefix + key[:-1]).decode()}


def main() -> None:
    subject, *rest = sys.argv[1:]
    if subject == "local":
        found = local()
    elif subject == "limits":
        found = peer()
    elif subject == "exact":
        found = uvloop.run(exact(rest[0], int(rest[1])))
    elif subject == "one":
        found = uvloop.run(one(rest[0]))
    elif subject == "leased":
        found = uvloop.run(leased(rest[0]))
    else:
        found = uvloop.run(stopped(rest[0], int(rest[1])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
