"""`limiter-lease`: of four nodes on one leased key two die by SIGKILL, each in the middle of its lease.

The promises: what all admit together is at most the limit and the leases that the dead held; and not less
than the limit, because what they held comes back when their leases end.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from drills.harness import Audit, DrillError
from drills.limiter.node import admitted_in, leased_rule
from drills.limiter.server import state_server
from twelvefold.systems.limiter import Limiter, open_limiter

LIMIT = 40_000
NODES = 4
LEASE_SECONDS = 1.0
DEADLINE_SECONDS = 60.0
IN_FLIGHT = 1
"""A node that is killed may have admitted one unit that it had not written down yet."""


async def reached(files: list[Path], units: int, limiter: Limiter, holders: int) -> dict[str, int]:
    """Wait until so much is admitted and all hold leases; gives who holds what."""
    while True:
        held = await limiter.outstanding(leased_rule(LIMIT), "k")
        if admitted_in(files) >= units and len(held) >= holders:
            return held
        await asyncio.sleep(0.005)


async def run(folder: Path) -> Audit:
    """Start, kill, kill, and count."""
    audit = Audit("limiter-lease")
    files = [folder / f"node-{number}" for number in range(NODES)]
    nodes: list[asyncio.subprocess.Process] = []
    rule = leased_rule(LIMIT)
    bound = 0
    with state_server(folder) as server:
        await server.start()
        try:
            for file in files:
                file.write_bytes(bytes(8))
                words = [server.url, str(file), str(LIMIT), str(LEASE_SECONDS)]
                nodes.append(
                    await asyncio.create_subprocess_exec(sys.executable, "-m", "drills.limiter.node", *words)
                )
            async with asyncio.timeout(DEADLINE_SECONDS), open_limiter(server.url) as limiter:
                for number, part in ((0, 4), (1, 2)):
                    before = await reached(files, LIMIT // part, limiter, NODES - number)
                    nodes[number].kill()
                    await nodes[number].wait()
                    after = await limiter.outstanding(rule, "k")
                    # Who of them died is not told: the largest lease of any is the bound.
                    bound += max((*before.values(), *after.values()))
                    audit.count(f"admitted when node {number} died", admitted_in(files))
                died_at = time.monotonic()
                used_up = admitted_in(files) >= LIMIT
                # What other processes do gives no event to wait for.
                while await limiter.outstanding(rule, "k") or (await limiter.check(rule, "k", 0)).allowed:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                audit.count("used up, seconds after the last death", round(time.monotonic() - died_at, 1))
        except TimeoutError as error:
            raise DrillError(f"the limit was not used up in {DEADLINE_SECONDS:g} s") from error
        finally:
            for node in nodes:
                if node.returncode is None:
                    node.kill()
                    await node.wait()
    total = admitted_in(files)
    audit.count("limit", LIMIT)
    audit.count("admitted by all", total)
    audit.count("leases of the dead, at most", bound)
    audit.check("the nodes died before the limit was used up", not used_up)
    audit.check("a lease is about a tenth of the limit at most", 0 < bound <= 2 * (LIMIT // 8))
    audit.check("at most the limit and the leases of the dead were admitted", total <= LIMIT + bound)
    audit.check("what the dead held came back: the whole limit was admitted", total >= LIMIT - 2 * IN_FLIGHT)
    return audit


def drill(folder: Path) -> Audit:
    """Carry it through."""
    return uvloop.run(run(folder))
