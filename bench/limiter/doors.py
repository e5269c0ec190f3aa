"""Our Redis and gRPC doors alone in a process, without a database: what is weighed in the comparisons.

Usage: python -m bench.limiter.doors VALKEY_URL RESP_PORT GRPC_PORT MODE
"""

import asyncio
import sys

import uvloop

from twelvefold.kernel.tenancy import DEFAULT_TENANT
from twelvefold.systems.limiter.compat.callers import Callers
from twelvefold.systems.limiter.compat.grpc.service import RateLimitService
from twelvefold.systems.limiter.compat.resp import RespDoor
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.rules.envoy import compile_domain
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.web.server import tune_collector

CONFIG = """
domain: bench
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 1000000000, mode: MODE}
"""


async def main(url: str, resp_port: int, grpc_port: int, mode: str) -> None:
    async with open_limiter(url, settings=LimiterSettings(answer_ms=1000)) as limiter:
        callers = Callers(None, DEFAULT_TENANT)
        domain = compile_domain(CONFIG.replace("MODE", mode))
        domains = {(DEFAULT_TENANT, "bench"): domain}
        grpc = RateLimitService(limiter, callers, lambda: domains, mode="exact", failure="open")
        resp = RespDoor(limiter, callers, mode=mode, failure="open")  # type: ignore[arg-type] # a word of ours
        loop = asyncio.get_running_loop()
        await loop.create_server(resp.protocol, "127.0.0.1", resp_port)
        await loop.create_server(grpc.protocol, "127.0.0.1", grpc_port)
        tune_collector()  # as a web process does, where the doors are
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
