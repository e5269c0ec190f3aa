"""Whoever was away comes back with everything once and in order, and nothing written is lost."""

import json
import time
from typing import Any

from playwright.sync_api import Route, expect
from tests.browser.chat.page import (
    CHAT,
    EACH,
    LINES,
    Api,
    Window,
    acknowledged,
    begin,
    chatter,
    connected,
    history,
    message,
    say,
    stored,
    texts,
    whole,
)
from tests.browser.doorway import Doorway

SEQS = "log => [...log.querySelectorAll('.message')].map((one) => Number(one.dataset.seq))"


def test_whoever_was_cut_off_comes_back_with_everything_once_and_in_order(
    window: Window, chat: Api, doorway: Doorway
) -> None:
    room = begin(chat, "ann", "bob")
    ann = window("ann", room, height=1400)
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}", height=1400)
    connected(bob)
    say(bob, "before")
    expect(message(ann, "before")).to_be_visible()
    doorway.shut()
    expect(bob.get_by_role("status").filter(has_text="Reconnecting…")).to_be_visible()
    for number in range(8):
        say(ann, f"missed {number}")
    acknowledged(ann, "missed 7")
    for number in range(3):
        say(bob, f"written offline {number}")
    expect(message(bob, "written offline 0")).to_contain_text("Not sent yet")
    doorway.open()
    expect(message(bob, "written offline 2")).to_contain_text("Read", timeout=30_000)
    expect(message(ann, "written offline 2")).to_be_visible()
    expect(message(ann, "missed 7")).to_contain_text("Read")
    wanted = [
        "before",
        *(f"missed {number}" for number in range(8)),
        *(f"written offline {number}" for number in range(3)),
    ]
    assert stored(chat, room) == wanted
    assert texts(bob) == texts(ann) == wanted


def test_whoever_missed_thousands_sees_the_newest_and_can_read_back_without_a_gap(
    window: Window, chat: Api, tenant_key: str, platform_server: Any, doorway: Doorway
) -> None:
    talkers = [f"talker-{number}" for number in range(6)]
    room = begin(chat, "ann", "bob", *talkers)
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "the first of all"})
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}")
    whole(bob)
    doorway.shut()
    expect(bob.get_by_role("status").filter(has_text="Reconnecting…")).to_be_visible()
    chatter(platform_server.url, tenant_key, room, talkers)
    doorway.open()
    expect(message(bob, f"talker-5 says {EACH - 1} ")).to_be_in_viewport(timeout=30_000)
    log = bob.get_by_role("log", name="Messages with Lunch")
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while not {2, 6 * EACH + 2} <= seen:
        assert time.monotonic() < deadline, f"it stopped at {min(seen)}"
        shown = log.evaluate(SEQS)
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        seen.update(shown)
        # Less than what is drawn beyond the edges, so that no message is passed over.
        log.evaluate(
            """log => {
                log.scrollTop -= log.clientHeight + 500;
                return new Promise((drawn) => requestAnimationFrame(drawn));
            }"""
        )
    assert seen == set(range(2, 6 * EACH + 3))


def test_what_was_said_between_reading_the_history_and_the_first_connection_is_there(
    window: Window, chat: Api, doorway: Doorway
) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "ann", 3, "early")
    doorway.holds_sockets = True
    bob = window("bob", room, url=f"http://127.0.0.1:{doorway.port}", height=1400)
    expect(message(bob, "early2")).to_be_visible()
    history(chat, room, "ann", 25, "between")
    doorway.let_sockets_through()
    expect(message(bob, "between24")).to_be_visible(timeout=30_000)
    log = bob.get_by_role("log")
    log.evaluate("log => { log.scrollTop = 0; }")
    expect(message(bob, "early0")).to_be_in_viewport()
    shown = log.evaluate(SEQS)
    assert shown == list(range(shown[0], shown[0] + len(shown)))


def test_a_browser_that_goes_offline_says_so_and_catches_up(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann, bob = window("ann", room), window("bob", room)
    connected(bob)
    bob.context.set_offline(True)
    expect(bob.get_by_role("status").filter(has_text="Reconnecting…")).to_be_visible()
    for number in range(5):
        say(ann, f"m{number}")
    acknowledged(ann, "m4")
    bob.context.set_offline(False)
    expect(message(bob, "m4")).to_be_visible()
    assert texts(bob) == [f"m{number}" for number in range(5)]


def test_nothing_is_said_on_a_line_that_is_closing_and_all_of_it_on_the_next(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob")
    ann, bob = window("ann", room), window(height=1400)
    bob.add_init_script(LINES)
    bob.goto(f"{CHAT}?as=bob&chat={room}")
    connected(bob)
    bob.get_by_role("textbox", name="Message", exact=True).evaluate(
        """field => {
            window.lines.at(-1).close();
            field.value = "well";
            field.dispatchEvent(new InputEvent("input", { bubbles: true }));
        }"""
    )
    # Chromium would log it as an error, which the window's fixture reports.
    poll(lambda: bob.evaluate("window.lines.length") == 2)
    connected(bob)
    say(ann, "still there?")
    expect(message(ann, "still there?")).to_contain_text("Read")


def test_a_message_whose_answer_was_lost_is_sent_again_and_is_one(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann = window("ann", room)
    connected(ann)
    tries = []

    def lose_the_first_answer(route: Route) -> None:
        tries.append(json.loads(route.request.post_data or "null"))
        if len(tries) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    # Without the stream the page knows of its message by the answer alone.
    ann.route(
        "**/messages",
        lambda route: lose_the_first_answer(route) if route.request.method == "POST" else route.continue_(),
    )
    say(ann, "only once")
    acknowledged(ann, "only once")
    say(ann, "and after it")
    acknowledged(ann, "and after it")
    assert len({one["client_msg_id"] for one in tries if one["text"] == "only once"}) == 1
    assert stored(chat, room) == texts(ann) == ["only once", "and after it"]


def test_what_was_not_sent_yet_survives_a_reload(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann = window("ann", room)
    connected(ann)
    ann.route(
        "**/messages", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    say(ann, "wait for me")
    expect(message(ann, "wait for me")).to_contain_text("Not sent yet")
    ann.unroute_all()
    ann.reload()
    acknowledged(ann, "wait for me")
    assert stored(chat, room) == ["wait for me"]
