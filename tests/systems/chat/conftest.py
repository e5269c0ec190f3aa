"""Chat on real engines: `node` is one server, `other` a second one on the same database and Valkey."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
from drills.chat.node import Node, new_owner_key
from tests.systems.chat.chat_client import Client

from twelvefold.systems.chat.settings import ChatSettings


@pytest.fixture
def owner_key() -> str:
    return new_owner_key()


@pytest.fixture
def settings() -> ChatSettings:
    return ChatSettings(user_messages_per_second=0, push_private_endpoints=True)


@pytest.fixture
async def node(
    database_url: str, valkey_url: str, tmp_path: Path, owner_key: str, settings: ChatSettings
) -> AsyncIterator[Node]:
    made = await Node.open(database_url, valkey_url, tmp_path, owner_key=owner_key, settings=settings)
    yield made
    await made.close()


@pytest.fixture
async def other(
    node: Node, database_url: str, valkey_url: str, tmp_path: Path, settings: ChatSettings
) -> AsyncIterator[Node]:
    made = await Node.open(database_url, valkey_url, tmp_path, name="web-1", settings=settings)
    yield made
    await made.close()


@pytest.fixture
async def api(node: Node, owner_key: str) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {owner_key}", "Chat-User": "ann"}
    async with httpx2.AsyncClient(base_url=node.url, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture
async def connect(node: Node) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """As `nodes.start`, ended with the test."""
    clients: list[Client] = []

    async def make(user: str, at: Node | None = None, **given) -> Client:
        at = at or node
        client = await Client.open(at.ws_url, at.token(user), **given)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
