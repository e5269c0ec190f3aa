"""Pictures and files."""

import re

import pytest
from playwright.sync_api import FilePayload, expect
from tests.browser.chat.page import Api, Window, begin, connected, history, message, picture, say, whole


def test_a_picture_is_uploaded_with_a_preview_and_seen_by_the_other(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    history(chat, room, "ann", 40)
    ann, bob = window("ann", room), window("bob", room)
    whole(bob)
    expect(message(bob, "m39")).to_be_in_viewport()
    file: FilePayload = {"name": "red.png", "mimeType": "image/png", "buffer": picture()}
    ann.get_by_label("Files to attach").set_input_files(file)
    expect(ann.get_by_role("list", name="Files to send")).to_contain_text("uploaded")
    say(ann, "look")
    for page in (ann, bob):
        shown = message(page, "look").get_by_role("img", name="red.png")
        expect(shown).to_have_js_property("naturalWidth", 64)
    # It came at the end, where bob was, and did not move him.
    expect(message(bob, "look").get_by_role("img")).to_be_in_viewport()
    expect(bob.get_by_role("button", name="Newest")).to_have_count(0)
    message(bob, "look").get_by_role("button", name="Open the picture red.png").click()
    expect(bob.get_by_role("dialog", name="red.png").get_by_role("img")).to_have_js_property(
        "naturalWidth", 64
    )


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_picture_can_be_pasted_and_dropped(window: Window, chat: Api, how: str) -> None:
    ann = window("ann", begin(chat, "ann", "bob"))
    connected(ann)
    ann.get_by_role("textbox", name="Message", exact=True).evaluate(
        """(field, { how, bytes }) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "red.png", { type: "image/png" }));
            const options = { bubbles: true, cancelable: true };
            field.dispatchEvent(how === "paste" ? new ClipboardEvent("paste", { ...options, clipboardData: data })
                : new DragEvent("drop", { ...options, dataTransfer: data }));
        }""",
        {"how": how, "bytes": list(picture())},
    )
    expect(ann.get_by_role("list", name="Files to send")).to_contain_text("uploaded")
    ann.get_by_role("button", name="Send").click()
    expect(ann.locator("article.message img")).to_have_js_property("naturalWidth", 64)


def test_a_file_that_is_refused_says_why_at_its_place(window: Window, chat: Api) -> None:
    ann = window("ann", begin(chat, "ann", "bob"))
    broken: FilePayload = {"name": "torn.png", "mimeType": "image/png", "buffer": picture()[:60]}
    ann.get_by_label("Files to attach").set_input_files(broken)
    expect(ann.get_by_role("list", name="Files to send").get_by_role("alert")).to_contain_text("image")
    expect(ann.get_by_role("button", name="Send")).to_be_disabled()
    ann.get_by_role("button", name="Remove torn.png").click()
    say(ann, "without it")
    expect(message(ann, "without it")).to_be_visible()


def test_a_file_can_be_had_from_a_page_that_was_open_for_longer_than_its_link(
    window: Window, chat: Api
) -> None:
    room = begin(chat, "ann", "bob")
    ann = window("ann", room)
    ann.clock.install()
    ann.reload()
    plain: FilePayload = {"name": "plan.txt", "mimeType": "text/plain", "buffer": b"as planned"}
    ann.get_by_label("Files to attach").set_input_files(plain)
    expect(ann.get_by_role("list", name="Files to send")).to_contain_text("uploaded")
    say(ann, "the plan")
    file = message(ann, "the plan").get_by_role("link", name="plan.txt")
    expect(file).to_have_attribute("href", re.compile("signature="))
    asked: list[str] = []
    ann.on("request", lambda request: asked.append(request.url))
    ann.clock.fast_forward("02:00:00")
    with ann.expect_download() as download:
        file.click()
    assert download.value.path().read_bytes() == b"as planned"
    assert any(f"/conversations/{room}/media/" in url for url in asked), "a new link was asked for"


def test_at_360_px_nothing_of_a_refused_file_is_cut_off(window: Window, chat: Api) -> None:
    room = begin(chat, "ann", "bob")
    ann = window("ann", room)
    ann.set_viewport_size({"width": 360, "height": 740})
    broken: FilePayload = {"name": "torn.png", "mimeType": "image/png", "buffer": picture()[:60]}
    ann.get_by_label("Files to attach").set_input_files(broken)
    expect(ann.get_by_role("list", name="Files to send").get_by_role("alert")).to_be_visible()
    for name in ("Try again", "Remove torn.png"):
        expect(ann.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
