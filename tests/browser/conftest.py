"""Chromium, driven through Playwright, against the real server.

`platform_server`  the started platform: `url`, `api_key`, `console_url`
`tenant_key`       the owner's key of a tenant made for this test: tests share a server but never a link
`console`          a page that is signed in as that tenant; anything it logs as an error fails the test
`visitor`          a page that is not signed in
`doorway`          a way to the server that can be shut; `port`
`poll`             `poll(condition)`: looks until it holds, for what the server does without telling the page
"""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from tests.browser.doorway import Doorway

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
)
# Refused requests are part of some tests; Chromium reports each, and what the page makes of it is tested.
EXPECTED = ("Failed to load resource", "WebSocket connection to")

expect.set_options(timeout=10_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def platform_server(server: Any) -> Any:
    return server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed; bring it with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def call(
    url: str, key: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> Any:
    """The API, as a program uses it."""
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    request = urllib.request.Request(url, method=method, headers=headers)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture
def api(platform_server: Any, tenant_key: str) -> Any:
    """`api("POST", "/v1/links", {…})` as this test's tenant."""
    return lambda method, path, body=None: call(platform_server.url + path, tenant_key, method, body)


@pytest.fixture
def tenant_key(platform_server: Any, request: pytest.FixtureRequest) -> str:
    made = call(
        f"{platform_server.url}/v1/tenants", platform_server.api_key, "POST", {"name": request.node.name[:60]}
    )
    return str(made["owner_key"]["key"])


class Watch:
    """Collects what a page reports as wrong: scripts that failed, policies that were broken."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def on(self, context: BrowserContext) -> None:
        context.on("console", self._message)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _message(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.complaints.append(message.text)


@pytest.fixture
def context(chromium: Browser, platform_server: Any) -> Iterator[BrowserContext]:
    watch = Watch()
    context = chromium.new_context(base_url=platform_server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    watch.on(context)
    yield context
    context.close()
    assert watch.complaints == []


@pytest.fixture
def visitor(context: BrowserContext) -> Page:
    return context.new_page()


def sign_in(context: BrowserContext, url: str, key: str) -> None:
    answer = context.request.post(f"{url}/v1/session", data={"api_key": key})
    assert answer.ok, answer.text()


@pytest.fixture
def console(context: BrowserContext, platform_server: Any, tenant_key: str) -> Page:
    sign_in(context, platform_server.url, tenant_key)
    return context.new_page()


@pytest.fixture
def poll() -> Callable[[Callable[[], bool]], None]:
    def look(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it never came to be"
            threading.Event().wait(0.02)

    return look


@pytest.fixture
def doorway(platform_server: Any) -> Iterator[Doorway]:
    port = urlsplit(platform_server.url).port
    assert port is not None
    doorway = Doorway(port)
    yield doorway
    doorway.shut()
