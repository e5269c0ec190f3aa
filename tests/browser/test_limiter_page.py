"""The limiter's page: algorithms beside each other, one check, and the rules with their fields."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

PAGE = "/console/systems/limiter"


@pytest.fixture
def page(console: Page) -> Page:
    console.goto(PAGE)
    expect(console.get_by_role("heading", name="Limiter", exact=True)).to_be_visible()
    return console


def make_rule(page: Page, name: str, limit: str) -> None:
    page.get_by_role("button", name="New rule").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Limit", exact=True).fill(limit)
    dialog.get_by_role("button", name="Save").click()


def take_one(page: Page, rule: str) -> None:
    page.get_by_role("tab", name="Ask a rule").click()
    page.get_by_label("Rule", exact=True).fill(rule)
    page.get_by_role("button", name="Take one").click()


def test_the_playground_draws_the_four_algorithms_on_the_same_traffic(page: Page) -> None:
    lanes = page.locator(".lanes .lane")
    expect(lanes).to_have_count(4)
    drawn = lanes.first.locator("svg").get_attribute("aria-label")
    page.get_by_label("Limit a minute").fill("7")
    expect(lanes.first.locator("svg")).not_to_have_attribute("aria-label", str(drawn))
    expect(lanes).to_have_count(4)


def test_a_rule_is_made_asked_used_up_and_shown_among_the_refused(page: Page, api: Any) -> None:
    make_rule(page, "newsletter", "2")
    expect(page.get_by_role("grid", name="Rules")).to_contain_text("2 a minute")
    for words in ("1 of 2 left", "0 of 2 left"):
        take_one(page, "newsletter")
        expect(page.get_by_role("status").filter(has_text="Allowed")).to_contain_text(words)
    take_one(page, "newsletter")
    expect(page.get_by_role("status").filter(has_text="Refused")).to_contain_text("again in")
    expect(page.get_by_label("Most refused keys")).to_contain_text("ann", timeout=15_000)
    assert api("GET", "/v1/limiter/rules/newsletter")["rule"]["limit"] == 2


def test_a_rule_is_changed_and_a_fault_stands_beside_its_field(page: Page, api: Any) -> None:
    make_rule(page, "api", "100")
    page.get_by_role("grid", name="Rules").get_by_text("api", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Limit", exact=True).fill("-5")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_label("Limit", exact=True)).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Limit", exact=True).fill("30")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("grid", name="Rules")).to_contain_text("30 a minute")
    assert api("GET", "/v1/limiter/rules/api")["rule"]["limit"] == 30


def test_an_unknown_rule_is_said_beside_the_field(page: Page) -> None:
    take_one(page, "nothing-of-this-name")
    expect(page.get_by_label("Rule", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("there is no rule")).to_be_visible()


def test_a_long_key_among_the_refused_leaves_the_page_as_wide_as_the_window(page: Page, api: Any) -> None:
    key = ["checkout", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"]
    rule = {"name": "a-rule-with-a-rather-long-name-for-a-list", "limit": 0}
    api("POST", "/v1/limiter/check", {"rule": rule, "key": key})
    expect(page.get_by_label("Most refused keys")).to_contain_text(" · ".join(key), timeout=15_000)
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("width => innerWidth === width", arg=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_limit_that_is_no_number_is_refused_and_not_taken_for_no_limit(page: Page, api: Any) -> None:
    make_rule(page, "typo", "1oo")
    expect(page.get_by_role("dialog").get_by_label("Limit", exact=True)).to_have_attribute(
        "aria-invalid", "true"
    )
    assert api("GET", "/v1/limiter/rules")["items"] == []


def test_another_algorithm_leaves_behind_what_only_the_first_one_knew(page: Page, api: Any) -> None:
    api("PUT", "/v1/limiter/rules/bursty", {"rule": {"limit": 10, "burst": 50}})
    page.reload()
    page.get_by_role("grid", name="Rules").get_by_text("bursty", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Algorithm").select_option(label="Fixed window")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    assert api("GET", "/v1/limiter/rules/bursty")["rule"]["burst"] is None


def test_an_answer_goes_when_the_next_question_has_a_fault_and_a_ban_says_that_no_wait_helps(
    page: Page, api: Any
) -> None:
    api("PUT", "/v1/limiter/rules/ban", {"rule": {"limit": 0}})
    take_one(page, "ban")
    answer = page.get_by_role("status").filter(has_text="Refused")
    expect(answer).to_contain_text("no wait helps")
    take_one(page, "nowhere")
    expect(page.get_by_text("There is no rule 'nowhere'")).to_be_visible()
    expect(answer).to_have_count(0)


def test_what_a_rule_says_beyond_the_fields_is_shown_and_kept(page: Page, api: Any) -> None:
    rule = {
        "limit": 9,
        "algorithm": "fixed_window",
        "calendar": "day",
        "zone": "Europe/Berlin",
        "action": "flag",
    }
    api("PUT", "/v1/limiter/rules/daily", {"rule": rule})
    page.reload()
    page.get_by_role("grid", name="Rules").get_by_text("daily", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Every so many seconds")).to_be_disabled()
    expect(dialog).to_contain_text("Begins anew each day, Europe/Berlin.")
    expect(dialog).to_contain_text("flags instead of refusing")
    dialog.get_by_label("Limit", exact=True).fill("10")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    assert api("GET", "/v1/limiter/rules/daily")["rule"].items() >= (rule | {"limit": 10}).items()
