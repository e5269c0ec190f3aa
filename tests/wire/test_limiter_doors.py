"""One rule and one state behind every door of a real `twelvefold up`, asked at once."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import redis.asyncio
from fastapi import FastAPI
from tests.conftest import RunningServer, start_server, stop_server
from tests.engines.valkey_server import ValkeyServer, free_ports
from tests.wire.test_limiter_grpc import PATH, answer_of, question
from tests.wire.test_limiter_proxies import NGINX, running, upstream

from twelvefold.systems.limiter import RateLimitMiddleware, Rule, open_limiter
from twelvefold.systems.limiter.settings import LimiterSettings

pytestmark = pytest.mark.wire

CAPACITY = 40
ASKS_A_DOOR = 25
RULE: dict[str, Any] = {"limit": CAPACITY, "burst": CAPACITY, "period_seconds": 20 * 86_400, "by": ["ip"]}
ENVOY = """
domain: edge
descriptors:
  - key: remote_address
    rate_limit: {rule: cl}
"""
CLIENT = "127.0.0.1"
Door = Callable[[], Coroutine[Any, Any, bool]]


class Doors:
    """A started platform over a Valkey that the application with our middleware shares."""

    def __init__(self, server: RunningServer, grpc_port: int, resp_port: int, valkey_url: str) -> None:
        self.server = server
        self.grpc_port = grpc_port
        self.resp_port = resp_port
        self.valkey_url = valkey_url


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    valkey = ValkeyServer()
    try:
        await valkey.start().answering()
        grpc_port, resp_port = free_ports(2)
        words = ["-X", f"valkey.url={valkey.url}", "-X", "limiter.answer_ms=5000"]
        words += ["-X", f"limiter.grpc_port={grpc_port}", "-X", f"limiter.resp_port={resp_port}"]
        process, server = await asyncio.to_thread(start_server, tmp_path / "data", *words)
        try:
            yield Doors(server, grpc_port, resp_port, valkey.url)
        finally:
            assert await asyncio.to_thread(stop_server, process) == 0
    finally:
        valkey.close()


async def open_doors(doors: Doors, stack: AsyncExitStack, folder: Path) -> dict[str, Door]:
    """What asks through each door once, and says whether it was let through."""
    api = await stack.enter_async_context(
        httpx2.AsyncClient(base_url=doors.server.url, headers=doors.server.headers, timeout=30)
    )
    for path, body in (("rules/cl", {"rule": RULE}), ("envoy", {"source": ENVOY})):
        answer = await api.put(f"/v1/limiter/{path}", json=body)
        assert answer.status_code == 200, answer.text

    async def http() -> bool:
        answer = await api.post("/v1/limiter/check", json={"rule": "cl", "key": CLIENT})
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["allowed"])

    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{doors.grpc_port}"))
    should_rate_limit = channel.unary_unary(PATH)
    metadata = (("authorization", f"Bearer {doors.server.api_key}"),)

    async def envoy() -> bool:
        asked = question([("remote_address", CLIENT)], domain="edge")
        return answer_of(await should_rate_limit(asked, metadata=metadata, timeout=30))[0] == 1

    client = await stack.enter_async_context(
        redis.asyncio.Redis(port=doors.resp_port, password=doors.server.api_key)
    )

    async def resp() -> bool:
        numbers = (RULE["limit"] - 1, RULE["limit"], RULE["period_seconds"])
        return bool((await client.execute_command("CL.THROTTLE", CLIENT, *numbers))[0] == 0)

    stored = Rule(name="cl", **RULE | {"by": ("ip",)})
    limiter = await stack.enter_async_context(
        open_limiter(doors.valkey_url, [stored], settings=LimiterSettings(answer_ms=5000))
    )
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, limiter=limiter, rules=["cl"])  # type: ignore[arg-type]
    app.get("/")(lambda: "ok")
    fast = await stack.enter_async_context(
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, client=(CLIENT, 1)), base_url="http://app")
    )

    async def middleware() -> bool:
        return (await fast.get("/")).status_code == 200

    found = {"http": http, "envoy": envoy, "resp": resp, "middleware": middleware}
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if shutil.which(program) is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    (port,) = free_ports(1)
    up = await stack.enter_async_context(upstream())
    config = folder / "nginx.conf"
    text = NGINX.format(folder=folder, port=port, up=up, url=doors.server.url, key=doors.server.api_key)
    config.write_text(text.replace("rule=web", "rule=cl"))
    command = [program, "-c", str(config), "-p", str(folder)]
    await stack.enter_async_context(running(*command, port=port, cwd=folder))
    proxied = await stack.enter_async_context(
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
    )

    async def nginx() -> bool:
        status = (await proxied.get("/")).status_code
        assert status in (200, 429)
        return status == 200

    return found | {"nginx": nginx}


async def test_all_doors_of_a_running_platform_draw_from_one_rule_and_one_state(
    doors: Doors, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        asks = await open_doors(doors, stack, tmp_path)
        admitted: Counter[str] = Counter()
        for name, ask in asks.items():  # each door opens, one unit each
            admitted[name] += await ask()
        assert set(admitted.values()) == {1}

        async def push(name: str) -> None:
            for _ in range(ASKS_A_DOOR):
                admitted[name] += await asks[name]()

        async with asyncio.TaskGroup() as group:
            for name in asks:
                group.create_task(push(name))
        assert sum(admitted.values()) == CAPACITY, admitted
        # Used up through one is used up through all.
        assert [await ask() for ask in asks.values()] == [False] * len(asks)
