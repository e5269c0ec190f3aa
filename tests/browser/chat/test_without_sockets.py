"""Where a proxy refuses WebSockets the page talks by plain requests, says so, and goes back when it can."""

from typing import Any

from playwright.sync_api import Page, expect
from tests.browser.chat.page import Api, Window, begin, connected, message, say, stored, texts
from tests.browser.doorway import Doorway

DETOUR = "Connected by long poll"


def on_the_detour(page: Page) -> None:
    expect(page.get_by_role("status").filter(has_text=DETOUR)).to_be_visible(timeout=20_000)


def on_the_line(page: Page) -> None:
    expect(page.get_by_role("status").get_by_text("Connected", exact=True)).to_be_visible(timeout=20_000)


def test_a_window_without_a_websocket_talks_reads_and_is_there(
    window: Window, chat: Api, doorway: Doorway
) -> None:
    room = begin(chat, "ann", "bob")
    doorway.refuse_sockets()
    ann = window("ann", room)
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}")
    on_the_detour(bob)
    say(ann, "are you there?")
    expect(message(bob, "are you there?")).to_be_visible()
    expect(message(ann, "are you there?")).to_contain_text("Read")
    expect(ann.locator(".room-head")).to_contain_text("Online")
    expect(bob.locator(".room-head")).to_contain_text("Online")
    say(bob, "by plain requests")
    expect(message(bob, "by plain requests")).to_contain_text("Read", timeout=20_000)
    bob.get_by_role("textbox", name="Message", exact=True).press_sequentially("well")
    expect(ann.locator(".room-talk").get_by_role("status").filter(has_text="bob is writing")).to_be_visible()
    other = begin(chat, "carol", "bob")
    chat("carol", "POST", f"/conversations/{other}/messages", {"text": "and me"})
    row = bob.get_by_label("Your conversations").get_by_role("link", name="carol")
    expect(row).to_contain_text("1 unread")
    row.click()
    expect(message(bob, "and me")).to_be_visible()


def test_who_is_banned_without_a_websocket_is_told(window: Window, chat: Api, doorway: Doorway) -> None:
    room = begin(chat, "ann", "bob", "carol")
    doorway.refuse_sockets()
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}")
    on_the_detour(bob)
    chat("ann", "POST", f"/conversations/{room}/bans", {"user": "bob"})
    expect(bob.get_by_text("You are not in this conversation any more.")).to_be_visible(timeout=30_000)


def test_the_line_is_lost_to_a_proxy_and_found_again_without_a_gap_or_a_double(
    window: Window, chat: Api, doorway: Doorway
) -> None:
    room = begin(chat, "ann", "bob")
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}")
    connected(bob)

    def say_some(*given: Any) -> None:
        for text in given:
            chat("ann", "POST", f"/conversations/{room}/messages", {"text": text})

    say_some("by the line")
    expect(message(bob, "by the line")).to_be_visible()
    doorway.refuse_sockets()
    say_some("in between")
    on_the_detour(bob)
    expect(message(bob, "in between")).to_be_visible()
    say_some("by the detour")
    expect(message(bob, "by the detour")).to_be_visible()
    doorway.refuses_sockets = False
    say_some("on the way back")
    on_the_line(bob)
    say_some("by the line again")
    expect(message(bob, "by the line again")).to_be_visible()
    assert texts(bob) == stored(chat, room)


def test_a_server_that_is_away_is_no_blocked_websocket(window: Window, chat: Api, doorway: Doorway) -> None:
    room = begin(chat, "ann", "bob")
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}")
    connected(bob)
    doorway.refuse_sockets()
    on_the_detour(bob)
    doorway.shut()
    expect(bob.get_by_role("status").filter(has_text="Reconnecting…")).to_be_visible(timeout=20_000)
    doorway.open()
    on_the_detour(bob)
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "back"})
    expect(message(bob, "back")).to_be_visible()
