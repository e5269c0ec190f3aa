"""The door: a one-time link, an API key, and the way out."""

from typing import Any

from playwright.sync_api import Page, expect


def one_time_path(api: Any) -> str:
    return str(api("POST", "/v1/session/links")["path"])


def test_a_one_time_link_signs_in_and_leaves_no_trace_in_the_address(visitor: Page, api: Any) -> None:
    visitor.goto(one_time_path(api))
    expect(visitor.get_by_role("heading", name="Overview")).to_be_visible()
    assert "login" not in visitor.url
    visitor.goto("/console/keys")
    visitor.go_back()
    expect(visitor.get_by_role("heading", name="Overview")).to_be_visible()
    assert "login" not in visitor.url


def test_a_one_time_link_works_once_and_says_so_the_second_time(visitor: Page, api: Any) -> None:
    path = one_time_path(api)
    visitor.goto(path)
    expect(visitor.get_by_role("heading", name="Overview")).to_be_visible()
    visitor.context.clear_cookies()
    visitor.goto("about:blank")
    visitor.goto(path)
    expect(visitor.get_by_role("alert")).to_contain_text("A one-time link works once")
    assert "login" not in visitor.url


def test_a_used_link_does_not_throw_out_who_is_signed_in(visitor: Page, api: Any) -> None:
    path = one_time_path(api)
    visitor.goto(path)
    expect(visitor.get_by_role("heading", name="Overview")).to_be_visible()
    visitor.goto("about:blank")
    visitor.goto(path)
    expect(visitor.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_key_signs_in_and_signing_out_closes_the_door(visitor: Page, tenant_key: str) -> None:
    visitor.goto("/console/keys")
    visitor.get_by_label("API key", exact=True).fill(tenant_key)
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("heading", name="Keys", exact=True)).to_be_visible()
    visitor.get_by_role("button", name="Sign out").click()
    expect(visitor.get_by_label("API key", exact=True)).to_be_visible()
    assert visitor.request.get("/v1/session").status == 401


def test_a_wrong_key_is_refused_in_words(visitor: Page) -> None:
    visitor.goto("/console/")
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("alert")).to_contain_text("Paste an API key first")
    visitor.get_by_label("API key", exact=True).fill("tf_nobody")
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("alert")).not_to_contain_text("Paste")
    expect(visitor.get_by_label("API key", exact=True)).to_be_visible()


def test_a_session_that_ended_elsewhere_leads_back_to_the_door(console: Page) -> None:
    console.goto("/console/keys")
    expect(console.get_by_role("grid", name="API keys")).to_be_visible()
    console.context.clear_cookies()
    console.get_by_role("link", name="Drills").click()
    expect(console.get_by_role("alert")).to_contain_text("Your session has ended")
