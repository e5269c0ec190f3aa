"""What people do on the chat page, and what is read off it."""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect
from websockets.sync.client import connect

CHAT = "/console/systems/chat"

LINES = """window.lines = []; window.pongs = 0;
    window.WebSocket = class extends WebSocket {
        constructor(address) {
            super(address);
            if (!`${address}`.includes("chat")) return;
            window.lines.push(this);
            this.addEventListener("message", ({ data }) => { if (data.includes('"pong"')) window.pongs += 1; });
        }
    };"""
"""For `add_init_script`: keeps the sockets that the page opens, and counts what the server answers to its pings."""

Api = Callable[..., Any]

Window = Callable[..., Page]

TALKERS, EACH, CROWD = 25, 400, 474


def begin(chat: Api, *members: str, **given: Any) -> str:
    kind = {"kind": "direct"} if len(members) == 2 and not given else {"kind": "group", "name": "Lunch"}
    made = chat(members[0], "POST", "/conversations", {**kind, "members": list(members[1:]), **given})
    return str(made["id"])


def history(chat: Api, room: str, author: str, count: int, word: str = "m") -> None:
    """`m0`, `m1` … said before anybody looks."""
    for number in range(count):
        chat(author, "POST", f"/conversations/{room}/messages", {"text": f"{word}{number}"})


def say(page: Page, text: str) -> None:
    field = page.get_by_role("textbox", name="Message", exact=True)
    field.fill(text)
    field.press("Enter")


def message(page: Page, text: str) -> Locator:
    return page.locator("article.message").filter(has_text=text)


def acknowledged(page: Page, text: str) -> None:
    """It is on disk; whether somebody else had it or read it since is their affair."""
    expect(message(page, text)).to_contain_text(re.compile("Sent|Delivered|Read"))


def texts(page: Page) -> list[str]:
    return page.locator(".room-talk .message-text").all_inner_texts()


def stored(chat: Api, room: str) -> list[str]:
    found = chat("ann", "GET", f"/conversations/{room}/messages?after=0&limit=1000")["items"]
    return [event["text"] for event in found if event["type"] == "message"]


def connected(page: Page) -> None:
    expect(page.get_by_role("status").filter(has_text="Connected")).to_be_visible()


def whole(page: Page) -> None:
    """Bring all of the chat into the window: a page that still loads below may leave its end outside."""
    expect(page.locator("article.message").first).to_be_attached()
    expect(page.get_by_role("heading", name="Connect")).to_be_attached()
    page.locator(".composer").scroll_into_view_if_needed()


def picture(width: int = 64, height: int = 40) -> bytes:
    """A PNG, red."""
    rows = b"".join(b"\x00" + b"\xd0\x20\x20" * width for _ in range(height))
    out = io.BytesIO(b"")
    out.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return out.getvalue()


def chatter(url: str, key: str, room: str, talkers: list[str]) -> None:
    """Each of them says so many things, one after the other."""
    for talker in talkers:
        address = url.replace("http", "ws") + f"/v1/chat/socket?user={talker}"
        with connect(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
            socket.send('{"op": "connect"}')
            for number in range(EACH):
                said = f"{talker} says {number} " + "and more of it " * (number % 7)
                socket.send(json.dumps({"op": "send", "conversation": room, "text": said}))
            for _ in range(EACH + 1):
                assert json.loads(socket.recv(timeout=30))["type"] in {"connected", "sent"}
