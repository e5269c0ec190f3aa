"""The four algorithms side by side, in Valkey: what a check costs, what a key weighs, how far each goes past the limit.

`compare` starts a Valkey and runs this file in a process of its own. The figures are no bars: a choice is made by
them. Usage of that process: python -m bench.limiter.algorithms VALKEY_URL PID ROUNDS
"""

import asyncio
import json
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop

from bench.limiter.library import cpu_of
from bench.limiter.servers import valkey
from bench.load import LoadError
from bench.processes import cores, finished
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.contracts import Algorithm, Rule
from twelvefold.systems.limiter.rules.algorithms import judge
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.store.shared_state import SharedState

NAME = "algorithms"
ALGORITHMS: tuple[Algorithm, ...] = ("token_bucket", "fixed_window", "sliding_counter", "sliding_log")
LIMIT = 100
_CHECKS = 100_000
_TURN = 64
_KEYS = 40_000
_EDGES = 4
_BEFORE = 0.1
"""The attack: nothing for nearly two periods, then a flood from this part of one before an edge to a whole one after it."""
_FLOOD = 10
_EVEN = 1.5
"""Requests of the flood, and of even traffic, in times of what the limit admits."""
_SECOND_US = 1_000_000

Sent = list[tuple[int, bool]]
"""When Valkey saw a request, in microseconds, and whether it was admitted."""


def compare(folder: Path, rounds: int) -> dict[str, Any]:
    """Each algorithm's figures by its name."""
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (server, port):
        words = [f"valkey://127.0.0.1:{port}", str(server.pid), str(min(rounds, 3))]
        done = finished([sys.executable, "-m", "bench.limiter.algorithms", *words], cpus=load_cpus)
    if done.returncode:
        raise LoadError(done.stderr.strip()[-400:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def measure(url: str, pid: int, rounds: int) -> dict[str, Any]:
    """Costs in turns (A-B-A-B), weights, then all four before the same traffic."""
    async with await Valkey.open(url, deadline_seconds=10) as server:
        state = SharedState(server, deadline_seconds=10)
        rates: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
        draw = random.Random(1)
        keys = [
            b"=user:%d" % draw.randrange(_CHECKS * 2 // LIMIT) for _ in range(_CHECKS)
        ]  # all are half used then
        for _ in range(rounds):
            for name in ALGORITHMS:
                await server.call("FLUSHALL", "SYNC")
                before = cpu_of(pid)
                await _ask_all(state, _bound(name, 60), keys, 1)
                rates[name].append(len(keys) / (cpu_of(pid) - before))
        weights = {name: await _weight(server, state, _bound(name, 60)) for name in ALGORITHMS}
        edge, even = await _traffic(state)
    return {
        name: {
            "decisions_per_valkey_cpu_second": statistics.median(rates[name]),
            "bytes_per_key_half_used": weights[name],
            "flood_around_an_edge": _precision(edge[name]),
            "even_traffic": _precision(even[name]),
        }
        for name in ALGORITHMS
    }


def _bound(algorithm: Algorithm, period_seconds: int) -> Bound:
    return Bound(
        DEFAULT_TENANT, Rule(name="r", limit=LIMIT, period_seconds=period_seconds, algorithm=algorithm)
    )


async def _ask_all(state: SharedState, bound: Bound, keys: Sequence[bytes], cost: int) -> None:
    """Turns of 64 checks, at most four turns ahead of their answers."""
    left = len(keys)

    def answer(_now: int, _numbers: Any, _at: int) -> None:
        nonlocal left
        left -= 1

    for start in range(0, len(keys), _TURN):
        for key in keys[start : start + _TURN]:
            state.ask(DEFAULT_TENANT, ((bound, key, cost),), answer, _raise)
        await asyncio.sleep(0)
        while start + _TURN - (len(keys) - left) > 4 * _TURN:  # noqa: ASYNC110 - turns of the loop are counted
            await asyncio.sleep(0)
    while left:  # noqa: ASYNC110 - turns of the loop are counted
        await asyncio.sleep(0)


def _raise(error: Exception) -> None:
    raise error


async def _weight(server: Valkey, state: SharedState, bound: Bound) -> float:
    """Bytes a key of which half the limit is used: key, state, and its part of both indexes."""
    keys = [b"=user:%d" % number for number in range(_KEYS)]
    while True:
        await server.call("FLUSHALL", "SYNC")
        before = await _used_bytes(server)
        await _ask_all(state, bound, keys, LIMIT // 2)
        if await server.call("DBSIZE") == _KEYS:  # else a window ended meanwhile
            return (await _used_bytes(server) - before) / _KEYS


async def _used_bytes(server: Valkey) -> int:
    info: bytes = await server.call("INFO", "memory")
    return int(info.split(b"used_memory:")[1].split(b"\r\n")[0])


async def _traffic(state: SharedState) -> tuple[dict[str, Sent], dict[str, Sent]]:
    """Real requests against limits of a second: a flood around edges, and even traffic beside it.

    Of one moment all four are asked in one script call, so they judge the same times.
    """
    bounds = {name: _bound(name, 1) for name in ALGORITHMS}
    edge: dict[str, Sent] = {name: [] for name in ALGORITHMS}
    even: dict[str, Sent] = {name: [] for name in ALGORITHMS}
    loop = asyncio.get_running_loop()
    wall_us = 0

    def asked(key: bytes, into: dict[str, Sent]) -> None:
        for name in ALGORITHMS:

            def answer(now_us: int, numbers: Sequence[int], at: int, sent: Sent = into[name]) -> None:
                nonlocal wall_us
                wall_us = now_us
                sent.append((now_us, numbers[at] == 1))

            state.ask(DEFAULT_TENANT, ((bounds[name], key, 1),), answer, _raise)

    asked(b"=clock", {name: [] for name in ALGORITHMS})
    while not wall_us:  # noqa: ASYNC110 - Valkey's clock is on its way
        await asyncio.sleep(0.001)
    # The first edge lies a period and more ahead; the loop's clock counts from here.
    first_us = wall_us - wall_us % _SECOND_US + 2 * _SECOND_US
    began = loop.time() + (first_us - wall_us) / _SECOND_US
    schedule = sorted(
        [(began + at, b"=edge", edge) for at in _floods()]
        + [(began + at, b"=even", even) for at in _evenly()],
        key=lambda entry: entry[0],
    )
    for at, key, into in schedule:
        if (wait := at - loop.time()) > 0:
            await asyncio.sleep(wait)
        asked(key, into)
    await asyncio.sleep(0.1)
    return edge, even


def _floods() -> Iterator[float]:
    """Seconds from the first edge. A flood at every third edge, so that all are idle for two periods between."""
    for number in range(_EDGES):
        for step in range(int((1 + _BEFORE) * LIMIT * _FLOOD)):
            yield 3 * number - _BEFORE + step / (LIMIT * _FLOOD)


def _evenly() -> Iterator[float]:
    draw, at = random.Random(1), 0.0
    while at < 3 * _EDGES - 2:
        yield at
        at += draw.expovariate(LIMIT * _EVEN)


def _precision(sent: Sent) -> dict[str, float]:
    """The most in any period ÷ limit, and where the exact log, asked the same, says something else."""
    if any(later < earlier for (earlier, _), (later, _) in pairwise(sent)):
        raise LoadError("Valkey's clock was set back meanwhile")
    admitted = [at for at, allowed in sent if allowed]
    most = start = 0
    for end, at in enumerate(admitted):
        while admitted[start] <= at - _SECOND_US:
            start += 1
        most = max(most, end - start + 1)
    plan, log = _bound("sliding_log", 1).plan, None
    assert plan is not None
    too_many = too_few = 0
    for at, allowed in sent:
        outcome, log = judge(plan, log, at, 1)
        too_many += allowed and not outcome.allowed
        too_few += outcome.allowed and not allowed
    return {
        "most_in_a_period_by_limit": most / LIMIT,
        "requests": len(sent),
        "admitted": len(admitted),
        "share_admitted_that_the_log_refuses": too_many / len(admitted),
        "share_refused_that_the_log_admits": too_few / max(1, len(sent) - len(admitted)),
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
