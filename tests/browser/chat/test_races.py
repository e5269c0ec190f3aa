"""What is asked for and what is told overtake each other: the page ends with what is true."""

from typing import Any

from playwright.sync_api import APIResponse, Page, Route, WebSocketRoute, expect
from tests.browser.chat.page import (
    CHAT,
    LINES,
    Api,
    Window,
    acknowledged,
    begin,
    connected,
    history,
    message,
    say,
)


class Held:
    """Answers that were given and have not arrived yet. `held` fills while the driver is asked something, even `1`."""

    def __init__(self, page: Page, path: str, *, at_most: int = 1) -> None:
        self._at_most = at_most
        self.held: list[tuple[Route, APIResponse]] = []
        page.route(path, self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method != "GET" or len(self.held) == self._at_most:
            route.continue_()
        else:
            self.held.append((route, route.fetch()))

    def arrive(self) -> None:
        for route, response in self.held:
            route.fulfill(response=response)


def test_a_change_that_overtakes_the_history_is_in_it(window: Window, chat: Api, poll: Any) -> None:
    room = begin(chat, "ann", "bob", "carol")
    history(chat, room, "ann", 3)
    bob = window()
    held = Held(bob, f"**/{room}/messages?*")
    bob.goto(f"{CHAT}?as=bob&chat={room}")
    connected(bob)
    poll(lambda: bob.evaluate("1") and held.held)
    chat("ann", "PATCH", f"/conversations/{room}/messages/2", {"text": "put right"})
    chat("ann", "DELETE", f"/conversations/{room}/messages/3")
    chat("carol", "PUT", f"/conversations/{room}/messages/4/reactions", {"emoji": "👍"})
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "after it"})
    expect(message(bob, "after it")).to_be_visible()
    held.arrive()
    expect(message(bob, "put right")).to_contain_text("(edited)")
    expect(bob.get_by_text("This message was taken back.")).to_be_visible()
    expect(message(bob, "m2").locator(".reaction")).to_contain_text("1")
    expect(message(bob, "m1")).to_have_count(0)


def test_a_list_that_is_late_does_not_take_back_what_was_counted(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob", "carol")
    bob = window("bob")
    connected(bob)
    held = Held(bob, "**/v1/chat/conversations?*")
    chat("carol", "POST", "/conversations", {"name": "Dinner", "members": ["bob"]})
    poll(lambda: bob.evaluate("1") and held.held)
    for text in ("one", "two"):
        chat("ann", "POST", f"/conversations/{room}/messages", {"text": text})
    row = bob.get_by_label("Your conversations").get_by_role("link", name="Lunch")
    expect(row.locator(".chat-unread")).to_contain_text("2")
    held.arrive()
    expect(bob.get_by_label("Your conversations").get_by_role("link", name="Dinner")).to_be_visible()
    expect(row.locator(".chat-unread")).to_contain_text("2")


def enter_from_the_list(window: Window, chat: Api, room: str) -> Page:
    """Open it after its newest entries came for the list's preview."""
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "newest"})
    bob = window("bob")
    row = bob.get_by_label("Your conversations").get_by_role("link", name="Lunch")
    expect(row).to_contain_text("ann: newest")
    row.click()
    expect(message(bob, "newest")).to_be_visible()
    return bob


def test_who_came_and_went_before_one_looks_is_not_counted_again(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    for name in ("dora", "emil"):
        chat("ann", "POST", f"/conversations/{room}/members", {"user": name})
    chat("ann", "DELETE", f"/conversations/{room}/members/emil")
    bob = enter_from_the_list(window, chat, room)
    expect(bob.locator(".room-head")).to_contain_text("4 members")
    chat("ann", "POST", f"/conversations/{room}/members", {"user": "emil"})
    expect(bob.locator(".room-head")).to_contain_text("5 members")
    chat("emil", "POST", f"/conversations/{room}/leave")
    expect(bob.locator(".room-head")).to_contain_text("4 members")


def test_who_was_put_out_and_taken_in_again_can_speak(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob", "carol")
    chat("ann", "DELETE", f"/conversations/{room}/members/bob")
    chat("ann", "POST", f"/conversations/{room}/members", {"user": "bob"})
    bob = enter_from_the_list(window, chat, room)
    say(bob, "back again")
    acknowledged(bob, "back again")


def test_the_beginning_of_a_thread_that_was_opened_by_its_address_is_in_the_history_too(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "ann", 130)
    bob = window()
    bob.goto(f"{CHAT}?as=bob&chat={room}&thread=2")
    expect(bob.get_by_role("complementary", name="Thread").locator("article.message")).to_contain_text("m0")
    talk = bob.locator(".room-talk")
    expect(talk.locator("article.message").first).to_be_visible()
    # What comes in above does not move what is read: up again until there is nothing more.
    up = "log => { log.scrollTop = 0; return log.querySelector('[data-seq=\"3\"]') !== null; }"
    poll(lambda: talk.get_by_role("log").evaluate(up))
    expect(talk.locator('article[data-seq="2"]')).to_be_visible()


def test_what_a_search_found_is_shown_also_while_the_first_page_is_on_its_way(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob")
    chat("ann", "POST", f"/conversations/{room}/messages", {"text": "needle"})
    history(chat, room, "ann", 120)
    bob = window("bob")
    connected(bob)
    bob.get_by_label("Search messages").fill("needle")
    held = Held(bob, f"**/{room}/messages?*")
    found = bob.get_by_label("Messages found").get_by_role("button")
    poll(lambda: bob.evaluate("1") and found.count())
    found.click()
    poll(lambda: bob.evaluate("1") and held.held)
    held.arrive()
    expect(message(bob, "needle")).to_be_in_viewport()


def test_a_tab_in_the_background_that_looks_once_a_minute_keeps_its_line(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob")
    bob = window()
    bob.add_init_script(LINES)
    bob.clock.install()
    bob.goto(f"{CHAT}?as=bob&chat={room}")
    connected(bob)
    for minute in range(1, 4):
        bob.clock.fast_forward(60_000)
        poll(lambda minute=minute: bob.evaluate("window.pongs") >= minute)
        connected(bob)
    assert bob.evaluate("window.lines.length") == 1


def test_a_line_that_was_found_while_the_detour_began_is_kept(window: Window, chat: Api, poll: Any) -> None:
    room = begin(chat, "ann", "bob")
    bob = window()
    came: list[WebSocketRoute] = []

    def refuse_two(socket: WebSocketRoute) -> None:
        came.append(socket)
        if len(came) < 3:
            socket.close()

    bob.route_web_socket("**/v1/chat/socket*", refuse_two)
    bob.clock.install()
    held = Held(bob, "**/v1/chat/conversations?limit=1")
    bob.goto(f"{CHAT}?as=bob&chat={room}")
    poll(lambda: bob.evaluate("1") and held.held)
    bob.evaluate("dispatchEvent(new Event('online'))")
    poll(lambda: bob.evaluate("1") and len(came) == 3)
    held.arrive()
    expect(bob.get_by_role("status").filter(has_text="Connected by long poll")).to_be_visible()
    came[2].send('{"type":"connected"}')
    line = bob.get_by_role("status").filter(has_text="Connected")
    expect(line).not_to_contain_text("poll")
    bob.clock.fast_forward(5000)
    connected(bob)
    assert len(came) == 3


def test_what_is_read_while_a_conversation_is_not_followed_yet_is_known_once_it_is(
    window: Window, chat: Api, poll: Any
) -> None:
    room = begin(chat, "ann", "bob")
    chat("bob", "POST", f"/conversations/{room}/messages", {"text": "are you there?"})
    bob = window()
    held: list[str | bytes] = []
    lines: list[WebSocketRoute] = []
    asked: list[str] = []

    def hold_follow(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        lines.append(server)
        socket.on_message(lambda said: held.append(said) if '"follow"' in str(said) else server.send(said))

    bob.route_web_socket("**/v1/chat/socket*", hold_follow)
    bob.on("requestfinished", lambda request: asked.append(request.url))
    bob.goto(f"{CHAT}?as=bob&chat={room}")
    connected(bob)
    poll(lambda: bob.evaluate("1") and held and any("/receipts" in url for url in asked))
    chat("ann", "PUT", f"/conversations/{room}/receipts", {"read_seq": 2})
    for said in held:
        lines[-1].send(said)
    expect(message(bob, "are you there?")).to_contain_text("Read")
