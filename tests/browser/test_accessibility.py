"""axe-core finds nothing serious on any page, in both schemes."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SERIOUS = {"serious", "critical"}


def overview(page: Page) -> None:
    page.goto("/console/")
    expect(page.get_by_role("table", name="Running systems")).to_be_visible()


def links(page: Page) -> None:
    page.goto("/console/systems/links")
    expect(page.get_by_role("grid", name="Links").get_by_role("gridcell").first).to_be_visible()
    expect(page.get_by_role("heading", name="Connect")).to_be_visible()


def made(page: Page) -> None:
    links(page)
    page.get_by_text("More: expiry").click()
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Address", exact=True).first.fill("https://example.com/axe")
    page.get_by_role("button", name="Remove rule 1").click()
    page.get_by_role("button", name="Shorten", exact=True).click()
    expect(page.get_by_role("button", name="Copy the short link").first).to_be_visible()


def opened(page: Page) -> None:
    links(page)
    page.get_by_role("grid", name="Links").get_by_role("gridcell").nth(1).click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Over time")).to_be_visible()


def editing(page: Page) -> None:
    opened(page)
    page.get_by_role("tab", name="Edit").click()
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_role("button", name="Split between addresses").click()


def importing(page: Page) -> None:
    links(page)
    page.get_by_role("button", name="Import a file").click()


def keys(page: Page) -> None:
    page.goto("/console/keys")
    expect(page.get_by_role("grid", name="API keys").get_by_role("gridcell").first).to_be_visible()


def new_key(page: Page) -> None:
    keys(page)
    page.get_by_role("button", name="New key").click()


def drills(page: Page) -> None:
    page.goto("/console/drills")
    expect(page.get_by_role("heading", name="Links")).to_be_visible()


def reference(page: Page) -> None:
    page.goto("/console/docs")
    page.get_by_text("/v1/links/bulk").click()


def asleep(page: Page) -> None:
    page.goto("/console/systems/chat")
    expect(page.get_by_text("Chat is not running")).to_be_visible()


def limiter(page: Page) -> None:
    page.goto("/console/systems/limiter")
    expect(page.locator(".lanes .lane")).to_have_count(4)
    expect(page.get_by_label("Decisions of the last 15 minutes")).to_be_visible()


def new_limit(page: Page) -> None:
    limiter(page)
    page.get_by_role("button", name="New rule").click()
    expect(page.get_by_role("dialog").get_by_label("Name")).to_be_visible()


def palette(page: Page) -> None:
    overview(page)
    page.keyboard.press("/")
    expect(page.get_by_role("option", name="Overview")).to_be_visible()


def signed_out(page: Page) -> None:
    page.context.clear_cookies()
    page.goto("/console/#login=nonsense")
    expect(page.get_by_role("alert")).to_be_visible()


STATES = (
    overview, links, made, opened, editing, importing, keys, new_key, drills, reference, asleep, palette,
    limiter, new_limit, signed_out,
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_nothing_serious(console: Page, api: Any, state: Callable[[Page], None], scheme: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/", "tags": ["axe"]})
    console.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    state(console)
    found = Axe().run(console).response["violations"]
    serious = [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
    assert serious == []
