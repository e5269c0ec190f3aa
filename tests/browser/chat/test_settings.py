"""What a conversation is called, and how fast one may write in it, changed on the page by those who may."""

from playwright.sync_api import Locator, Page, expect
from tests.browser.chat.page import Api, Window, acknowledged, begin, connected, message, say, stored


def at_settings(window: Window, room: str) -> tuple[Page, Page, Locator]:
    """The owner's window and a member's, and the owner's form for name and slow mode."""
    ann, bob = window("ann", room), window("bob", room)
    connected(bob)
    ann.get_by_role("button", name="Members").click()
    return ann, bob, ann.get_by_role("form", name="This conversation")


def test_an_owner_renames_a_conversation_and_everybody_sees_it(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    ann, bob, form = at_settings(window, room)
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    form.get_by_label("Name").fill("Dinner")
    form.get_by_label("Name").press("Enter")
    for page in (ann, bob):
        expect(page.locator(".room-head").get_by_role("heading", name="Dinner")).to_be_attached()
    expect(bob.get_by_text("ann named this “Dinner”")).to_be_visible()
    expect(bob.get_by_label("Your conversations").get_by_role("link", name="Dinner")).to_be_visible()
    expect(form.get_by_role("button", name="Save")).to_be_disabled()


def test_slow_mode_is_set_on_the_page_told_to_members_and_holds_them_back(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    ann, bob, form = at_settings(window, room)
    form.get_by_label("Slow mode").select_option("One message every 5 min")
    form.get_by_role("button", name="Save").click()
    expect(bob.get_by_text("ann set slow mode to one message every 5 min")).to_be_visible()
    expect(bob.get_by_text("Slow mode: one message every 5 min.")).to_be_visible()
    say(bob, "first")
    acknowledged(bob, "first")
    say(bob, "too soon")
    expect(message(bob, "too soon")).to_contain_text("Not sent yet")
    expect(message(bob, "too soon")).to_contain_text("slow mode")
    message(bob, "too soon").get_by_role("button", name="Discard").click()
    expect(message(bob, "too soon")).to_have_count(0)
    assert stored(chat, room) == ["first"]
    ann.keyboard.press("Escape")
    expect(ann.get_by_text("Slow mode:")).to_have_count(0)
    for text in ("an owner", "writes as they like"):
        say(ann, text)
        acknowledged(ann, text)


def test_a_member_without_the_role_sees_no_settings_and_the_last_name_can_be_taken_away(
    window: Window, chat: Api
) -> None:
    room = begin(chat, "ann", "bob", "carol")
    bob = window("bob", room)
    bob.get_by_role("button", name="Members").click()
    expect(bob.get_by_role("dialog", name="Members").get_by_role("row", name="carol")).to_be_visible()
    expect(bob.get_by_role("form", name="This conversation")).to_have_count(0)
    bob.keyboard.press("Escape")
    ann = window("ann", room)
    ann.get_by_role("button", name="Members").click()
    ann.get_by_role("form", name="This conversation").get_by_label("Name").fill("")
    ann.get_by_role("form", name="This conversation").get_by_role("button", name="Save").click()
    expect(bob.get_by_text("ann took this conversation's name away")).to_be_visible()
    expect(bob.locator(".room-head").get_by_role("heading", name="Group of ann")).to_be_visible()


def test_at_360_px_how_far_each_member_is_can_be_read_to_its_end(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    chat("bob", "POST", f"/conversations/{room}/messages", {"text": "hello"})
    ann = window("ann", room)
    ann.set_viewport_size({"width": 360, "height": 740})
    ann.get_by_role("button", name="Members").click()
    for words in ("Owner. Has read all", "Has read nothing"):
        line = ann.locator(".member-name .small-text").filter(has_text=words).first
        expect(line).to_be_visible()
        assert line.evaluate("line => line.scrollWidth <= line.clientWidth")
