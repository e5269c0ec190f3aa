"""The keys page: a key is shown once, works, is revoked by name, and can be taken back."""

import urllib.error
import urllib.request
from typing import Any

from playwright.sync_api import Page, expect


def status_with(url: str, key: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def make(console: Page, name: str) -> str:
    console.get_by_role("button", name="New key").click()
    console.get_by_label("Name").fill(name)
    console.get_by_role("button", name="Make the key").click()
    key = console.locator(".secret code").inner_text()
    console.get_by_role("button", name="Done").click()
    return key


def test_a_key_is_shown_once_and_works(console: Page, platform_server: Any) -> None:
    console.goto("/console/keys")
    key = make(console, "newsletter")
    assert key.startswith("tf_")
    assert status_with(f"{platform_server.url}/v1/links", key) == 200
    expect(console.get_by_role("row", name="newsletter")).to_be_visible()
    console.reload()
    expect(console.get_by_role("row", name="newsletter")).to_be_visible()
    expect(console.get_by_text(key)).to_have_count(0)


def test_a_key_may_do_only_what_was_ticked(console: Page, platform_server: Any) -> None:
    console.goto("/console/keys")
    console.get_by_role("button", name="New key").click()
    console.get_by_label("Name").fill("reader")
    console.get_by_label("Everything").uncheck()
    console.get_by_label("Links: read").check()
    console.get_by_role("button", name="Make the key").click()
    key = console.locator(".secret code").inner_text()
    assert status_with(f"{platform_server.url}/v1/links", key) == 200
    assert status_with(f"{platform_server.url}/v1/keys", key) == 403


def test_a_revoked_key_is_refused_and_undo_brings_it_back(
    console: Page, platform_server: Any, poll: Any
) -> None:
    address = f"{platform_server.url}/v1/links"
    console.goto("/console/keys")
    key = make(console, "ci")
    console.get_by_role("button", name="Revoke ci").click()
    expect(console.get_by_role("dialog")).to_contain_text("Revoke the key “ci”?")
    console.get_by_role("button", name="Revoke “ci”").click()
    expect(console.get_by_role("row", name="ci")).to_contain_text("Revoked")
    poll(lambda: status_with(address, key) == 401)
    console.get_by_role("button", name="Undo").click()
    expect(console.get_by_role("row", name="ci")).to_contain_text("Active")
    poll(lambda: status_with(address, key) == 200)


def test_a_key_without_a_name_is_not_made(console: Page) -> None:
    console.goto("/console/keys?new=1")
    console.get_by_role("button", name="Make the key").click()
    expect(console.get_by_role("alert")).to_contain_text("Give the key a name")


def test_the_dialog_returns_the_focus_to_where_it_was(console: Page) -> None:
    console.goto("/console/keys")
    button = console.get_by_role("button", name="New key")
    button.click()
    expect(console.get_by_label("Name")).to_be_focused()
    console.keyboard.press("Escape")
    expect(button).to_be_focused()
