"""The links page: shorten, see the very call, find, change, delete with undo, watch the clicks come."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

LINKS = "/console/systems/links"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def visit(url: str) -> tuple[int, str | None]:
    """A visitor's click: the status and where it leads."""
    opener = urllib.request.build_opener(NoRedirect)
    request = urllib.request.Request(
        url, headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    )
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["location"]


def shorten(console: Page, url: str, alias: str) -> None:
    console.get_by_label("Address", exact=True).fill(url)
    console.get_by_label("Alias").fill(alias)
    console.get_by_role("button", name="Shorten", exact=True).click()


def row(console: Page, code: str) -> Locator:
    return console.get_by_role("grid", name="Links").get_by_role("row", name=code)


def test_a_link_is_shortened_shown_copied_and_redirects(
    console: Page, api: Any, platform_server: Any
) -> None:
    console.goto(LINKS)
    shorten(console, "example.com/a/long/address", "page-shorten")
    shown = console.get_by_role("link", name="/page-shorten")
    expect(shown).to_be_visible()
    address = shown.get_attribute("href")
    assert address is not None
    expect(row(console, "page-shorten")).to_be_visible()
    console.get_by_role("button", name="Copy the short link").first.click()
    assert console.evaluate("navigator.clipboard.readText()") == address
    expect(console.get_by_role("img", name="QR code")).to_have_js_property("complete", True)
    assert visit(f"{platform_server.url}/page-shorten") == (302, "https://example.com/a/long/address")


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_call_shown_runs_as_it_stands(console: Page, tenant_key: str, api: Any, language: str) -> None:
    console.goto(LINKS)
    console.get_by_text("More: expiry").click()
    console.get_by_label("Tags").fill("it's, quoted")
    console.get_by_label("Reuse an existing link").check()
    shorten(console, "https://example.com/call?a='b'", "")
    calls = console.get_by_role("tablist", name="This call")
    calls.get_by_role("tab", name=language, exact=True).click()
    code = console.get_by_role("region", name="the call").inner_text()
    program = [sys.executable, "-c", code] if language == "Python" else ["bash", "-c", code]
    before = api("GET", "/v1/links/stats")["links"]
    said = subprocess.run(
        program,
        env={**os.environ, "TWELVEFOLD_KEY": tenant_key},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "it's" in said.stdout
    assert api("GET", "/v1/links/stats")["links"] == before == 1


def test_a_taken_alias_is_told_beside_its_field(console: Page, api: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/", "alias": "page-taken"})
    console.goto(LINKS)
    shorten(console, "https://example.com/", "page-taken")
    expect(console.get_by_label("Alias")).to_have_attribute("aria-invalid", "true")
    expect(console.get_by_role("alert")).to_contain_text("taken")


def test_an_address_that_cannot_be_a_target_is_told_beside_its_field(console: Page) -> None:
    console.goto(LINKS)
    shorten(console, "javascript:alert(1)", "")
    expect(console.get_by_label("Address", exact=True)).to_have_attribute("aria-invalid", "true")


def test_all_options_arrive(console: Page, api: Any) -> None:
    console.goto(LINKS)
    console.get_by_text("More: expiry").click()
    console.get_by_label("Expires", exact=True).select_option("In 7 days")
    console.get_by_label("Most clicks").fill("50")
    console.get_by_label("Password").fill("open sesame")
    console.get_by_label("Redirect").select_option("307")
    console.get_by_label("Tags").fill("autumn, newsletter")
    console.get_by_label("Note").fill("for the test")
    console.get_by_role("button", name="Add a rule").click()
    console.get_by_label("Countries").fill("de, at")
    console.get_by_label("mobile").check()
    console.get_by_role("button", name="Split between addresses").click()
    rule = console.locator(".rule")
    rule.get_by_role("textbox", name="Address 1").fill("https://example.com/a")
    rule.get_by_role("textbox", name="Address 2").fill("https://example.com/b")
    rule.get_by_label("Weight").first.fill("3")
    shorten(console, "https://example.com/options", "page-options")
    expect(row(console, "page-options")).to_be_visible()
    link = api("GET", "/v1/links/page-options")
    assert link["expires_at"] is not None
    assert (link["max_clicks"], link["redirect"], link["has_password"]) == (50, 307, True)
    assert (link["tags"], link["note"]) == (["autumn", "newsletter"], "for the test")
    (made,) = link["rules"]
    assert made["when"]["country"] == ["DE", "AT"]
    assert made["when"]["device"] == ["mobile"]
    assert [target["weight"] for target in made["targets"]] == [3, 1]


def test_an_empty_page_says_what_it_is_for_and_helps_to_begin(console: Page) -> None:
    console.goto(LINKS)
    expect(console.get_by_text("No links yet")).to_be_visible()
    console.get_by_role("button", name="Shorten the first one").click()
    expect(console.get_by_label("Address", exact=True)).to_be_focused()


def test_filters_find_by_words_tag_and_state_and_live_in_the_address(console: Page, api: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/apple", "alias": "page-f1", "tags": ["fruit"]})
    api("POST", "/v1/links", {"url": "https://example.com/pear", "alias": "page-f2", "tags": ["fruit"]})
    api("POST", "/v1/links", {"url": "https://example.com/stone", "alias": "page-f3"})
    api("PATCH", "/v1/links/page-f2", {"disabled": True})
    console.goto(LINKS)
    console.get_by_label("Words in the code").fill("apple")
    expect(row(console, "page-f2")).to_have_count(0)
    expect(row(console, "page-f1")).to_be_visible()
    console.get_by_label("Words in the code").fill("")
    console.get_by_label("Tag", exact=True).fill("fruit")
    expect(row(console, "page-f3")).to_have_count(0)
    expect(row(console, "page-f2")).to_be_visible()
    console.get_by_label("State").select_option("disabled")
    expect(row(console, "page-f1")).to_have_count(0)
    console.reload()
    expect(row(console, "page-f2")).to_be_visible()
    expect(row(console, "page-f1")).to_have_count(0)


def test_a_link_is_changed_and_its_history_tells(console: Page, api: Any, platform_server: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/before", "alias": "page-edit"})
    console.goto(LINKS)
    row(console, "page-edit").click()
    sheet = console.get_by_role("dialog", name="Link page-edit")
    sheet.get_by_role("tab", name="Edit").click()
    save = sheet.get_by_role("button", name="Save")
    expect(save).to_be_disabled()
    sheet.get_by_label("Leads to").fill("https://example.com/after")
    save.click()
    expect(save).to_be_disabled()
    sheet.get_by_role("tab", name="History").click()
    expect(sheet.get_by_text("example.com/before")).to_be_visible()
    sheet.get_by_role("button", name="Close").click()
    expect(row(console, "page-edit")).to_contain_text("example.com/after")
    assert visit(f"{platform_server.url}/page-edit") == (302, "https://example.com/after")


def test_a_change_in_between_is_not_overwritten(console: Page, api: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/mine", "alias": "page-race"})
    console.goto(f"{LINKS}?open=page-race")
    sheet = console.get_by_role("dialog")
    sheet.get_by_role("tab", name="Edit").click()
    sheet.get_by_label("Leads to").fill("https://example.com/yours")
    api("PATCH", "/v1/links/page-race", {"url": "https://example.com/theirs"})
    sheet.get_by_role("button", name="Save").click()
    expect(sheet.get_by_role("alert")).to_contain_text("changed")
    assert api("GET", "/v1/links/page-race")["url"] == "https://example.com/theirs"


def test_a_deleted_link_is_gone_and_undo_brings_it_back(
    console: Page, api: Any, platform_server: Any, poll: Callable[[Callable[[], bool]], None]
) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/", "alias": "page-undo"})
    address = f"{platform_server.url}/page-undo"
    console.goto(LINKS)
    row(console, "page-undo").focus()
    console.keyboard.press("Delete")
    expect(row(console, "page-undo")).to_have_count(0)
    poll(lambda: visit(address)[0] == 410)
    console.get_by_role("button", name="Undo").click()
    expect(row(console, "page-undo")).to_be_visible()
    poll(lambda: visit(address)[0] == 302)


def test_after_a_delete_by_keyboard_the_next_row_has_the_focus(console: Page, api: Any) -> None:
    for number in range(3):
        api("POST", "/v1/links", {"url": "https://example.com/", "alias": f"page-next-{number}"})
    console.goto(LINKS)
    row(console, "page-next-1").focus()
    console.keyboard.press("Delete")
    expect(row(console, "page-next-1")).to_have_count(0)
    expect(row(console, "page-next-0")).to_be_focused()


def test_rows_open_and_close_by_keyboard_with_the_focus_where_it_was(console: Page, api: Any) -> None:
    for number in range(3):
        api("POST", "/v1/links", {"url": "https://example.com/", "alias": f"page-keys-{number}"})
    console.goto(LINKS)
    row(console, "page-keys-2").focus()
    console.keyboard.press("ArrowDown")
    expect(row(console, "page-keys-1")).to_be_focused()
    console.keyboard.press("End")
    expect(row(console, "page-keys-0")).to_be_focused()
    console.keyboard.press("Enter")
    expect(console.get_by_role("dialog", name="Link page-keys-0")).to_be_visible()
    console.keyboard.press("Escape")
    expect(row(console, "page-keys-0")).to_be_focused()


def test_clicks_are_seen_as_they_happen(console: Page, api: Any, platform_server: Any) -> None:
    api("POST", "/v1/links", {"url": "https://example.com/", "alias": "page-live"})
    console.goto(f"{LINKS}?open=page-live")
    sheet = console.get_by_role("dialog", name="Link page-live")
    expect(sheet.get_by_text("Live", exact=True)).to_be_visible()
    assert visit(f"{platform_server.url}/page-live")[0] == 302
    expect(sheet.get_by_role("list", name="Latest clicks")).to_contain_text("Firefox")
    sheet.get_by_role("button", name="Browser").click()
    expect(sheet.get_by_role("list", name="Clicks by browser")).to_contain_text("Firefox")


def test_ten_thousand_rows_scroll_with_few_in_the_document(console: Page, api: Any) -> None:
    made = api("POST", "/v1/links/bulk", [{"url": f"https://example.com/{n}"} for n in range(10_000)])
    assert made["created"] == 10_000
    console.goto(LINKS)
    grid = console.get_by_role("grid", name="Links")
    expect(grid.get_by_role("gridcell").first).to_be_visible()
    grid.locator("[role=row][data-index='0']").focus()
    last = -1
    while (here := int(console.evaluate("document.activeElement.dataset.index"))) != last or here < 9_999:
        last = here
        console.keyboard.press("End")
        console.wait_for_function(
            """before => {
                const foot = document.querySelector(".table-foot").textContent;
                return Number(foot.replace(/[^0-9]/g, "")) > before || !foot.includes("so far");
            }""",
            arg=last + 1,
        )
        assert grid.locator("[role=row][data-index]").count() < 60
    expect(console.get_by_role("status").filter(has_text="10,000 links")).to_be_visible()


def test_a_paste_is_shared_and_read(console: Page) -> None:
    console.goto(LINKS)
    console.get_by_role("tab", name="Paste a text").click()
    console.get_by_label("Text", exact=True).fill("SELECT 'paste-needle';")
    console.get_by_role("button", name="Share").click()
    address = console.locator(".result-link").get_attribute("href")
    assert address is not None
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"paste-needle" in answer.read()


def test_ids_are_made_and_taken_apart(console: Page) -> None:
    console.goto(LINKS)
    console.get_by_role("tab", name="Make ids").click()
    console.get_by_label("How many").fill("3")
    console.get_by_role("button", name="Make ids").click()
    expect(console.locator(".id-list li")).to_have_count(3)
    console.get_by_role("button", name="Take apart").last.click()
    expect(console.get_by_text("worker id")).to_be_visible()


def test_the_card_shows_guarantees_trade_offs_and_how_to_connect(console: Page, api: Any) -> None:
    card = api("GET", "/v1/platform/systems/links")
    console.goto(LINKS)
    expect(console.get_by_text("At the cost of:")).to_have_count(len(card["trade_offs"]))
    expect(console.get_by_text("Our choice")).to_have_count(len(card["trade_offs"]))
    expect(console.locator(".guarantees > li")).to_have_count(len(card["guarantees"]))
    for recipe in card["connect"]:
        console.get_by_role("tab", name=recipe["client"], exact=True).last.click()
        expect(console.get_by_role("region", name="the example").last).to_be_visible()
