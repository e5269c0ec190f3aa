"""Links over HTTP, as a client meets them."""

import secrets
from collections.abc import Iterator

import httpx2
import pytest


@pytest.fixture
def api(server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        yield client


@pytest.fixture
def visitor(server) -> Iterator[httpx2.Client]:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    with httpx2.Client(base_url=server.url, headers={"User-Agent": agent}, timeout=30) as client:
        yield client


@pytest.fixture
def word() -> str:
    """A word that no other test uses."""
    return f"w{secrets.token_hex(6)}"


@pytest.fixture
def tenant(server, word) -> Iterator[httpx2.Client]:
    """Another tenant's client."""
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        made = client.post("/v1/tenants", headers=server.headers, json={"name": word, "tier": "enterprise"})
        assert made.status_code == 201, made.text
        client.headers["Authorization"] = f"Bearer {made.json()['owner_key']['key']}"
        yield client
