"""Ten thousand messages and five hundred members."""

import time
from collections.abc import Callable

from playwright.sync_api import Route, expect
from tests.browser.chat.page import (
    EACH,
    Api,
    Window,
    message,
    say,
    whole,
)


def test_ten_thousand_messages_scroll_with_few_in_the_document(
    window: Window, chat: Api, crowded: str
) -> None:
    ann = window("ann", crowded)
    log = ann.get_by_role("log", name="Messages with Everybody")
    whole(ann)
    expect(message(ann, f"says {EACH - 1} ").last).to_be_in_viewport()
    first_seq = "() => Number(document.querySelector('[role=log] .message').dataset.seq)"
    most, reached = 0, 10_001
    deadline = time.monotonic() + 90
    while reached > 2:
        assert time.monotonic() < deadline, f"it stopped at {reached}"
        log.evaluate("log => { log.scrollTop = 0; }")
        ann.wait_for_function(f"before => ({first_seq})() < before || before <= 2", arg=reached)
        reached = ann.evaluate(first_seq)
        most = max(most, log.locator("*").count())
    assert most < 1_500
    ann.get_by_role("button", name="Newest").click()
    expect(message(ann, f"says {EACH - 1} ").last).to_be_in_viewport()
    say(ann, "and I was here")
    expect(message(ann, "and I was here")).to_be_in_viewport()
    ann.get_by_role("button", name="Members").click()
    sheet = ann.get_by_role("dialog", name="Members (500)")
    expect(sheet.get_by_role("row", name="ann, Owner")).to_be_visible()
    sheet.locator("[role=row][data-index='0']").focus()
    foot = sheet.locator(".table-foot")
    for shown in ("100", "200", "300", "400", "500"):
        expect(foot).to_contain_text(f"{shown} members")
        ann.keyboard.press("End")
    expect(foot).not_to_contain_text("so far")
    assert sheet.locator("[role=row][data-index]").count() < 60


def test_the_place_is_kept_when_history_arrives_above_and_news_below(
    window: Window, chat: Api, crowded: str, poll: Callable[[Callable[[], bool]], None]
) -> None:
    ann = window("ann", crowded)
    log = ann.get_by_role("log", name="Messages with Everybody")
    whole(ann)
    expect(message(ann, f"says {EACH - 1} ").last).to_be_in_viewport()
    asked: list[Route] = []
    ann.route("**/messages?before=*", lambda route: asked.append(route))  # noqa: PLW0108 - the driver cannot mark a builtin
    log.evaluate("log => { log.scrollTop = 700; }")
    poll(lambda: ann.evaluate("() => true") and bool(asked))
    # The first message in view, and where it is; then history comes above it, and a message below.
    seq, before = log.evaluate(
        """log => {
            const top = log.getBoundingClientRect().top;
            const rows = [...log.querySelectorAll(".message")];
            const first = rows.find((one) => one.getBoundingClientRect().top >= top);
            return [first.dataset.seq, first.getBoundingClientRect().top - top];
        }"""
    )
    row = log.locator(f"[data-seq='{seq}']")

    def where() -> float:
        return float(
            row.evaluate(
                """row => row.getBoundingClientRect().top
                    - row.closest("[role=log]").getBoundingClientRect().top"""
            )
        )

    height = log.evaluate("log => log.scrollHeight")
    asked[0].continue_()
    poll(lambda: log.evaluate("log => log.scrollHeight") > height)
    assert abs(where() - before) < 2
    chat("talker-00", "POST", f"/conversations/{crowded}/messages", {"text": "news"})
    expect(ann.get_by_role("button", name="1 new")).to_be_visible()
    assert abs(where() - before) < 2
    ann.get_by_role("button", name="1 new").click()
    expect(message(ann, "news")).to_be_in_viewport()
