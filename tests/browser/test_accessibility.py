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
    page.goto("/console/systems/media")
    expect(page.get_by_text("Media is not running")).to_be_visible()


def chat_door(page: Page) -> None:
    page.goto("/console/systems/chat")
    expect(page.get_by_text("Who are you?")).to_be_visible()


def chat_empty(page: Page) -> None:
    page.goto("/console/systems/chat?as=ann")
    expect(page.get_by_role("button", name="Say hello to bob")).to_be_visible()


def chat_thread(page: Page) -> None:
    chat_empty(page)
    page.get_by_role("button", name="Say hello to bob").click()
    said = page.locator("article.message").first
    expect(said).to_contain_text("Sent")
    said.hover()
    said.get_by_role("button", name="React with heart").click()
    expect(said.locator(".reaction")).to_be_visible()
    said.get_by_role("button", name="Answer").click()
    page.get_by_label("Answer in this thread").fill("here")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="1 answer")).to_be_visible()


def chat_new(page: Page) -> None:
    chat_empty(page)
    page.get_by_role("button", name="Begin a group").click()
    page.get_by_role("dialog").get_by_role("button", name="Group", exact=True).click()


def chat_members(page: Page) -> None:
    chat_new(page)
    page.get_by_label("Name").fill("Lunch")
    page.get_by_label("Members").fill("bob, carol")
    page.get_by_role("button", name="Begin", exact=True).click()
    page.get_by_role("button", name="Members").click()
    page.get_by_role("button", name="Manage bob").click()
    expect(page.get_by_role("button", name="Ban bob")).to_be_visible()


def chat_storm(page: Page) -> None:
    page.goto("/console/systems/chat")
    page.get_by_role("tab", name="Storm").click()
    expect(page.get_by_role("button", name="Start the storm")).to_be_visible()


def chat_failed(page: Page) -> None:
    chat_thread(page)
    page.context.set_offline(True)
    field = page.get_by_role("textbox", name="Message", exact=True)
    field.fill("out of reach")
    field.press("Enter")
    expect(page.get_by_text("Not sent yet")).to_be_visible()


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
    limiter, new_limit, signed_out, chat_door, chat_empty, chat_thread, chat_new, chat_members, chat_storm, chat_failed,
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
