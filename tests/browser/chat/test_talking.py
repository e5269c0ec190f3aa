"""Two windows talk."""

from playwright.sync_api import expect
from tests.browser.chat.page import (
    Api,
    Window,
    acknowledged,
    begin,
    connected,
    history,
    message,
    say,
    texts,
    whole,
)


def test_from_an_empty_page_two_buttons_make_ann_and_bob_talk(window: Window) -> None:
    ann = window()
    ann.get_by_role("button", name="Be ann here").click()
    bob = window("bob")
    expect(bob.get_by_text("No conversations yet")).to_be_visible()
    connected(bob)
    ann.get_by_role("button", name="Say hello to bob").click()
    expect(message(ann, "Hello bob!")).to_be_visible()
    row = bob.get_by_label("Your conversations").get_by_role("link", name="ann")
    expect(row).to_contain_text("1 unread")
    row.click()
    expect(message(bob, "Hello bob!")).to_be_visible()
    say(bob, "Hello yourself")
    expect(message(ann, "Hello yourself")).to_be_visible()
    ann.reload()
    expect(message(ann, "Hello yourself")).to_be_visible()


def test_a_message_is_delivered_then_read_and_typing_is_seen(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann, bob = window("ann", room), window("bob")
    connected(bob)
    say(ann, "are you there?")
    expect(message(ann, "are you there?")).to_contain_text("Delivered")
    bob.get_by_label("Your conversations").get_by_role("link", name="ann").click()
    expect(message(ann, "are you there?")).to_contain_text("Read")
    expect(ann.locator(".room-head")).to_contain_text("Online")
    bob.get_by_role("textbox", name="Message", exact=True).press_sequentially("well")
    expect(ann.locator(".room-talk").get_by_role("status").filter(has_text="bob is writing")).to_be_visible()


def test_what_was_unread_is_read_once_its_conversation_is_opened_by_its_address(
    window: Window, chat: Api
) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "ann", 15)
    bob = window("bob", room)
    whole(bob)
    expect(bob.get_by_label("Your conversations").get_by_role("link", name="ann")).to_be_visible()
    expect(bob.get_by_label("Your conversations").get_by_text("unread")).to_have_count(0)
    expect(message(window("ann", room), "m14")).to_contain_text("Read")


def test_an_answer_in_a_thread_is_counted_and_read_beside_it(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann, bob = window("ann", room), window("bob", room)
    say(ann, "where to?")
    message(bob, "where to?").hover()
    message(bob, "where to?").get_by_role("button", name="Answer").click()
    answer = bob.get_by_role("textbox", name="Answer in this thread")
    answer.fill("to the lake")
    answer.press("Enter")
    ann.get_by_role("button", name="1 answer").click()
    thread = ann.get_by_role("complementary", name="Thread")
    expect(thread.get_by_text("to the lake")).to_be_visible()
    ann.get_by_role("textbox", name="Answer in this thread").fill("yes")
    ann.keyboard.press("Enter")
    expect(bob.get_by_role("complementary", name="Thread").get_by_text("yes", exact=True)).to_be_visible()
    expect(bob.get_by_role("button", name="2 answers")).to_be_visible()
    assert texts(ann) == texts(bob) == ["where to?"]


def test_edits_deletions_and_reactions_reach_the_other(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann, bob = window("ann", room), window("bob", room)
    say(ann, "at noon")
    say(ann, "forget this")
    message(bob, "at noon").hover()
    message(bob, "at noon").get_by_role("button", name="React with heart").click()
    expect(message(ann, "at noon").locator(".reaction")).to_contain_text("1")
    message(ann, "at noon").hover()
    message(ann, "at noon").get_by_role("button", name="Edit").click()
    ann.get_by_label("The new text").fill("at one")
    ann.get_by_role("button", name="Save").click()
    expect(message(bob, "at one")).to_contain_text("(edited)")
    message(ann, "forget this").hover()
    message(ann, "forget this").get_by_role("button", name="Delete").click()
    ann.get_by_role("dialog").get_by_role("button", name="Take back").click()
    expect(bob.get_by_text("This message was taken back.")).to_be_visible()
    expect(message(bob, "forget this")).to_have_count(0)
    message(bob, "at one").locator(".reaction").click()
    expect(message(ann, "at one").locator(".reaction")).to_have_count(0)


def test_what_can_be_done_with_a_message_can_be_done_by_keyboard(window: Window, chat: Api) -> None:
    ann = window("ann", begin(chat, "ann", "bob"))
    say(ann, "typo")
    acknowledged(ann, "typo")
    message(ann, "typo").get_by_role("button", name="React with thumbs up").focus()
    for _ in range(4):
        ann.keyboard.press("ArrowRight")
    expect(message(ann, "typo").get_by_role("button", name="Edit")).to_be_focused()
    ann.keyboard.press("Enter")
    ann.keyboard.press("Control+a")
    ann.keyboard.type("no typo")
    ann.keyboard.press("Enter")
    expect(message(ann, "no typo")).to_contain_text("(edited)")


def test_the_end_stays_in_view_while_the_line_to_write_on_grows_and_shrinks(
    window: Window, chat: Api
) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "ann", 40)
    ann = window("ann", room)
    whole(ann)
    say(ann, "\n".join(f"line {number}" for number in range(12)))
    acknowledged(ann, "line 11")
    say(ann, "short")
    expect(message(ann, "short")).to_be_in_viewport()
    expect(ann.get_by_role("button", name="Newest")).to_have_count(0)


def test_a_message_that_is_refused_says_why_and_can_be_discarded(window: Window, chat: Api) -> None:
    ann = window("ann", begin(chat, "ann", "bob"))
    connected(ann)
    say(ann, "long " * 230_000)
    failed = ann.locator("article.message").get_by_role("alert")
    expect(failed).to_contain_text("1,048,576 bytes")
    say(ann, "short")
    acknowledged(ann, "short")
    ann.get_by_role("button", name="Discard").click()
    expect(failed).to_have_count(0)


def test_a_user_whose_sessions_are_ended_is_told_and_nothing_more_arrives(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    bob = window("bob", room)
    connected(bob)
    chat("ann", "POST", "/users/bob/revoke")
    expect(bob.get_by_role("status").filter(has_text="Ended")).to_be_visible()
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "not for him now"})
    bob.get_by_role("button", name="Try now").click()
    expect(message(bob, "not for him now")).to_be_visible()
