"""Members, search, data and the storm."""

from collections.abc import Callable

from playwright.sync_api import expect
from tests.browser.chat.page import Api, Window, begin, connected, history, message, whole


def test_members_are_taken_in_given_a_role_put_out_and_banned(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    ann, bob = window("ann", room), window("bob", room)
    ann.get_by_role("button", name="Members").click()
    sheet = ann.get_by_role("dialog", name="Members")
    sheet.get_by_label("Take somebody in").fill("dave")
    sheet.get_by_role("button", name="Take in").click()
    expect(sheet.get_by_role("row", name="dave, Member")).to_be_visible()
    sheet.get_by_role("button", name="Manage carol").click()
    ann.get_by_label("Role").select_option("moderator")
    ann.get_by_role("button", name="Give this role").click()
    expect(sheet.get_by_role("row", name="carol, Moderator")).to_be_visible()
    sheet.get_by_role("button", name="Manage bob").click()
    ann.get_by_role("button", name="Ban bob").click()
    expect(bob.get_by_text("ann banned you from this conversation.")).to_be_visible()
    expect(sheet.get_by_role("button", name="Lift the ban")).to_be_visible()
    sheet.get_by_role("button", name="Lift the ban").click()
    expect(sheet.get_by_role("button", name="Lift the ban")).to_have_count(0)
    sheet.get_by_label("Take somebody in").fill("bob")
    sheet.get_by_role("button", name="Take in").click()
    expect(bob.get_by_role("textbox", name="Message", exact=True)).to_be_visible()


def test_search_finds_a_message_and_shows_it_where_it_was_said(
    window: Window, chat: Api, poll: Callable[[Callable[[], bool]], None]
) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "bob", 150, "word")
    poll(lambda: bool(chat("ann", "GET", "/search?q=word149")["items"]))
    ann = window("ann", room)
    whole(ann)
    expect(message(ann, "word149")).to_be_in_viewport()
    ann.get_by_label("Search messages").fill("word3")
    ann.get_by_role("list", name="Messages found").get_by_role("button", name="word3").click()
    expect(message(ann, "word3").first).to_be_in_viewport()
    ann.get_by_role("button", name="Newest").click()
    expect(message(ann, "word149")).to_be_in_viewport()


def test_the_palette_finds_a_conversation(window: Window, chat: Api) -> None:
    begin(chat, "ann", "bob", name="Harvest")
    ann = window("ann")
    connected(ann)
    ann.keyboard.press("/")
    ann.keyboard.type("harv")
    ann.get_by_role("option", name="Harvest").click()
    expect(ann.locator(".room-head").get_by_role("heading", name="Harvest")).to_be_visible()


def test_the_data_lists_conversations_and_checks_the_chain(window: Window, chat: Api) -> None:
    begin(chat, "ann", "bob")
    ann = window("ann")
    row = ann.get_by_role("grid", name="Conversations").get_by_role("row", name="bob")
    row.get_by_role("button", name="Check the chain of bob").click()
    expect(ann.get_by_text("“bob”: 1 entry, none missing, in order")).to_be_visible()
    row.click()
    expect(ann.locator(".room-head").get_by_role("heading", name="bob")).to_be_visible()


def test_a_storm_reaches_every_client(window: Window) -> None:
    page = window()
    page.get_by_role("tab", name="Storm").click()
    page.get_by_role("textbox", name="Clients").fill("3")
    page.get_by_role("button", name="Start the storm").click()
    expect(page.get_by_role("status").filter(has_text="300 of 300 deliveries")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("img", name="Delivery to 3 clients")).to_be_visible()


def test_a_conversation_whose_newest_entries_are_no_messages_does_not_say_that_there_are_none(
    window: Window, chat: Api
) -> None:
    room = begin(chat, "ann", "bob", "carol")
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "said long ago"})
    for emoji in "abcdefghijkl":
        chat("carol", "PUT", f"/conversations/{room}/messages/2/reactions", {"emoji": emoji})
    bob = window("bob")
    connected(bob)
    row = bob.get_by_label("Your conversations").get_by_role("link", name="Lunch")
    expect(row).to_contain_text("No message among the newest entries")
    row.click()
    expect(row).to_contain_text("ann: said long ago")
