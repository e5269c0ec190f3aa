"""Windows of people, and the chat API as one of them, for the tests of the chat page."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.chat.page import CHAT, CROWD, TALKERS, Api, Window, begin, chatter
from tests.browser.conftest import Watch, call, sign_in


@pytest.fixture
def tenant_key(platform_server: Any, request: pytest.FixtureRequest) -> str:
    """Of a tenant without the limits of a free one: two windows are driven faster than people write."""
    wanted = {"name": request.node.name[:60], "tier": "enterprise"}
    made = call(f"{platform_server.url}/v1/tenants", platform_server.api_key, "POST", wanted)
    return str(made["owner_key"]["key"])


@pytest.fixture
def chat(platform_server: Any, tenant_key: str) -> Api:
    """`chat("ann", "POST", "/conversations", {…})`: the chat API, for a user of this test's tenant."""

    def ask(user: str, method: str, path: str, body: Any = None) -> Any:
        return call(f"{platform_server.url}/v1/chat{path}", tenant_key, method, body, {"Chat-User": user})

    return ask


@pytest.fixture
def window(chromium: Browser, platform_server: Any, tenant_key: str) -> Iterator[Window]:
    """`window("ann", room)`: a window of its own, signed in, speaking as ann."""
    watch, contexts = Watch(), []

    def open_window(user: str = "", room: str = "", *, url: str = "", height: int = 900) -> Page:
        context = chromium.new_context(
            base_url=url or platform_server.url, viewport={"width": 1280, "height": height}
        )
        context.set_default_timeout(10_000)
        watch.on(context)
        contexts.append(context)
        sign_in(context, url or platform_server.url, tenant_key)
        page = context.new_page()
        page.goto(f"{CHAT}?as={user}&chat={room}" if user else CHAT)
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert watch.complaints == []


@pytest.fixture
def crowded(platform_server: Any, tenant_key: str, chat: Api) -> str:
    """A conversation of 500, in which 10,000 messages were said."""
    talkers = [f"talker-{number:02}" for number in range(TALKERS)]
    room = begin(chat, "ann", *talkers, *(f"user-{number:03}" for number in range(CROWD)), name="Everybody")
    chatter(platform_server.url, tenant_key, room, talkers)
    return room
