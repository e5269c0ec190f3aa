"""The frame: where one can go, how one gets there, and what it says when the server is away."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocket, expect
from tests.browser.doorway import Doorway

PAGES = (
    "",
    "systems/links",
    "keys",
    "drills",
    "docs",
    "systems/chat",
    "systems/chat?as=ann",
    "systems/media",
    "nowhere",
)
SET_HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def is_live(opened: WebSocket) -> bool:
    return opened.url.endswith("/v1/platform/live")


def test_the_overview_lists_what_runs_what_does_not_and_the_engines(console: Page) -> None:
    console.goto("/console/")
    running = console.get_by_role("table", name="Running systems")
    expect(running.get_by_role("link", name="Links")).to_be_visible()
    for engine in ("database", "valkey", "cache", "log"):
        expect(console.get_by_role("main").get_by_text(engine, exact=True)).to_be_visible()
    navigation = console.get_by_role("navigation", name="Console")
    expect(navigation.get_by_role("link", name=re.compile("Media.*not running"))).to_be_visible()


def test_a_system_that_does_not_run_says_so_on_its_page(console: Page) -> None:
    console.goto("/console/")
    console.get_by_role("navigation").get_by_role("link", name="Media").click()
    expect(console.get_by_role("heading", name="Media", exact=True)).to_be_visible()
    expect(console.get_by_role("main")).to_contain_text("Media is not running")


def test_a_hidden_tab_goes_quiet_and_comes_back(console: Page) -> None:
    with console.expect_websocket(is_live) as opened:
        console.goto("/console/")
    opened.value.wait_for_event("framereceived")
    with opened.value.expect_event("close"):
        console.evaluate(SET_HIDDEN, True)
    with console.expect_websocket(is_live) as again:
        console.evaluate(SET_HIDDEN, False)
    again.value.wait_for_event("framereceived")


@pytest.mark.parametrize("keys", ["/", "Control+k"])
def test_the_palette_jumps_by_keyboard_alone(console: Page, keys: str) -> None:
    console.goto("/console/")
    expect(console.get_by_role("heading", name="Overview")).to_be_visible()
    console.keyboard.press(keys)
    field = console.get_by_role("combobox", name="Jump to")
    expect(field).to_be_focused()
    console.keyboard.type("drills")
    console.keyboard.press("Enter")
    expect(console.get_by_role("heading", name="Drills")).to_be_visible()
    expect(field).not_to_be_attached()


def test_the_palette_finds_one_link_among_others(console: Page, api: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/other", "alias": "palette-other"})
    api("POST", "/v1/links", {"url": "https://example.com/needle", "alias": "palette-needle"})
    console.goto("/console/")
    expect(console.get_by_role("heading", name="Overview")).to_be_visible()
    console.keyboard.press("/")
    console.keyboard.type("needle")
    console.get_by_role("option", name="palette-needle").click()
    expect(console.get_by_role("dialog", name="Link palette-needle")).to_be_visible()


def test_escape_closes_the_palette_and_gives_the_focus_back(console: Page) -> None:
    console.goto("/console/")
    jump = console.get_by_role("button", name="Jump to")
    jump.click()
    expect(console.get_by_role("combobox")).to_be_focused()
    console.keyboard.press("Escape")
    expect(jump).to_be_focused()


def test_a_chosen_scheme_is_kept_and_the_systems_choice_is_the_default(console: Page) -> None:
    console.emulate_media(color_scheme="dark")
    console.goto("/console/")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = console.evaluate(background)
    console.get_by_role("button", name="Colours: by the system's choice").click()
    light = console.evaluate(background)
    assert light != dark
    console.reload()
    expect(console.get_by_role("button", name=re.compile("Colours: light"))).to_be_visible()
    assert console.evaluate(background) == light


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [360, 820, 1280])
def test_no_page_is_wider_than_the_screen(console: Page, path: str, width: int) -> None:
    console.set_viewport_size({"width": width, "height": 740})
    console.goto(f"/console/{path}", wait_until="networkidle")
    expect(console.get_by_role("main").locator(".skeleton")).to_have_count(0)
    assert console.evaluate("document.documentElement.scrollWidth") <= width


def test_the_menu_of_a_phone_opens_goes_and_closes(console: Page) -> None:
    console.set_viewport_size({"width": 360, "height": 740})
    console.goto("/console/")
    link = console.get_by_role("navigation", name="Console").get_by_role("link", name="Keys")
    expect(link).to_be_hidden()
    console.get_by_role("button", name="Menu").click()
    link.click()
    expect(console.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
    expect(link).to_be_hidden()


def test_the_reference_shows_every_call_of_the_description(console: Page, platform_server: Any) -> None:
    described = console.request.get(f"{platform_server.url}/openapi.json").json()
    methods = {"get", "post", "put", "patch", "delete"}
    calls = sum(len(methods & item.keys()) for item in described["paths"].values())
    console.goto("/console/docs")
    expect(console.locator("details.operation")).to_have_count(calls)
    console.get_by_label("Filter").fill("post /v1/links/bulk")
    expect(console.locator("details.operation")).to_have_count(1)
    console.get_by_text("/v1/links/bulk").click()
    expect(console.get_by_role("region", name="the call")).to_contain_text("curl -X POST")


def test_every_drill_has_its_command_and_what_it_proves(console: Page, api: Any) -> None:
    card = api("GET", "/v1/platform/systems/links")
    console.goto("/console/drills")
    for guarantee in card["guarantees"]:
        expect(console.get_by_role("main")).to_contain_text(guarantee["promise"].replace("`", ""))
    # What came of it is in the card of its command; a test has no record, it runs with every build.
    for card in console.locator("li.drill").all():
        command = card.locator("code").inner_text()
        said = "A test" if command.startswith("pytest") else r"(Held|Did not hold) .* on .* cores"
        expect(card).to_contain_text(re.compile(said))


def test_a_server_that_is_away_is_told_and_found_again(console: Page, doorway: Doorway) -> None:
    address = f"http://127.0.0.1:{doorway.port}/console/"
    with console.expect_websocket(is_live) as opened:
        console.goto(address)
    opened.value.wait_for_event("framereceived")
    doorway.shut()
    banner = console.get_by_text("Out of touch with the server.")
    expect(banner).to_be_visible()
    doorway.open()
    expect(banner).to_be_hidden(timeout=30_000)
    expect(console.get_by_role("table", name="Running systems")).to_be_visible()
