"""Files, search, threads, retention: what is gone is gone everywhere, and nobody sees what they may not."""

import io
import os

import pytest
from drills.chat.node import SECRET, Node
from PIL import Image
from tests.systems.chat.test_sending import T, room_of

from twelvefold.engines.blobs import open_blobs
from twelvefold.kernel.clock import ManualClock, SystemClock
from twelvefold.platform.chat import make_workers, push_services
from twelvefold.systems.chat.contracts import MediaRefusedError, NewMessage
from twelvefold.systems.chat.settings import ChatSettings


def workers_of(node: Node, tmp_path, settings=None, clock=None, services=None) -> dict:
    settings, clock = settings or ChatSettings(), clock or SystemClock()
    return make_workers(
        node.database,
        node.valkey,
        open_blobs(tmp_path.as_uri()),
        node.chat._messages,
        services if services is not None else push_services(settings, clock, SECRET),
        settings=settings,
        clock=clock,
    )


def picture(size=(40, 30), kind="JPEG", **given) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind, **given)
    return out.getvalue()


async def upload(api, room, data: bytes, name="a.jpg", kind="image/jpeg", **headers):
    return await api.post(
        f"/v1/chat/conversations/{room}/media",
        params={"name": name},
        content=data,
        headers={"Content-Type": kind, **headers},
    )


async def test_an_image_is_written_anew_without_its_metadata_and_shown_by_a_link(node, api):
    room = await room_of(node, "ann", "bob")
    exif = Image.Exif()
    exif[0x010E] = "at home, 52.1 N 13.2 E"
    data = picture(exif=exif) + b"<script>alert(1)</script>"
    medium = (await upload(api, room, data)).json()
    assert (medium["content_type"], medium["width"], medium["height"]) == ("image/jpeg", 40, 30)
    sent = await api.post(f"/v1/chat/conversations/{room}/messages", json={"attachments": [medium["id"]]})
    assert sent.status_code == 201, sent.text
    link = (
        await api.get(f"/v1/chat/conversations/{room}/media/{medium['id']}", headers={"Chat-User": "bob"})
    ).json()
    got = await api.get(link["url"], headers={"Authorization": ""})
    assert got.status_code == 200, got.text
    assert b"52.1 N" not in got.content
    assert b"script" not in got.content
    assert got.headers["content-disposition"].startswith("inline")
    assert got.headers["x-content-type-options"] == "nosniff"
    part = await api.get(link["url"], headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, got.content[2:6])
    assert (await api.get(link["url"], headers={"Range": "bytes=-3"})).content == got.content[-3:]
    assert (await api.get(link["url"], headers={"Range": "bytes=999999-"})).status_code == 416


async def test_a_link_is_for_one_file_of_one_conversation_and_expires(node, api):
    room, elsewhere = await room_of(node, "ann", "bob"), await room_of(node, "ann", "eve")
    medium = (await upload(api, room, picture())).json()
    address = f"/v1/chat/conversations/{room}/media/{medium['id']}"
    url = (await api.get(address)).json()["url"]
    assert (await api.get(address, headers={"Chat-User": "eve"})).status_code == 403
    assert (await api.get(f"/v1/chat/conversations/{elsewhere}/media/{medium['id']}")).status_code == 404
    assert (
        await api.get(url.replace(f"conversation={room}", f"conversation={elsewhere}"))
    ).status_code == 403
    assert (await api.get(url.replace("size=full", "size=thumbnail"))).status_code == 403
    assert (await api.get(url.replace("tenant=1", "tenant=2"))).status_code == 403
    stolen = await api.post(
        f"/v1/chat/conversations/{elsewhere}/messages", json={"attachments": [medium["id"]]}
    )
    assert stolen.status_code == 422
    clock = ManualClock(SystemClock().now_ms())
    clock.advance(ms=3_700_000)
    node.chat.media._clock = clock
    assert (await api.get(url)).status_code == 410


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("evil.html", "text/html", b"<script>alert(1)</script>"),
        ("evil.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("evil.xml", "application/xhtml+xml", b"<html/>"),
        ("../../etc/passwd", "text/plain", b"root"),
    ],
)
async def test_what_a_browser_could_run_is_only_ever_downloaded(node, api, name, kind, data):
    room = await room_of(node, "ann", "bob")
    medium = (await upload(api, room, data, name, kind)).json()
    assert "/" not in medium["name"]
    assert not medium["content_type"].startswith(("image/", "text/html"))
    url = (await api.get(f"/v1/chat/conversations/{room}/media/{medium['id']}")).json()["url"]
    got = await api.get(url)
    assert got.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.content == data


async def test_bombs_and_broken_images_are_refused(node, api):
    room = await room_of(node, "ann", "bob")
    header = picture((8, 8), "PNG")
    bomb = header[:16] + (50_000).to_bytes(4) * 2 + header[24:]
    for data in (bomb, picture()[:200], b"\x89PNG\r\n\x1a\n" + os.urandom(100)):
        answer = await upload(api, room, data)
        assert (answer.status_code, answer.json()["code"]) == (422, "chat.media_refused")
    assert (await upload(api, room, b"")).status_code == 422
    assert (await upload(api, room, picture(), **{"Chat-User": "eve"})).status_code == 403
    with pytest.raises(MediaRefusedError):
        await node.chat.send(T, room, "ann", NewMessage(attachments=("1",)))


async def test_a_deleted_messages_file_is_gone_with_its_thumbnail(node, api, tmp_path):
    room = await room_of(node, "ann", "bob")
    medium = (await upload(api, room, picture((800, 600)))).json()
    sent = (
        await api.post(f"/v1/chat/conversations/{room}/messages", json={"attachments": [medium["id"]]})
    ).json()
    urls = [
        (await api.get(f"/v1/chat/conversations/{room}/media/{medium['id']}", params=p)).json()["url"]
        for p in ({}, {"thumbnail": "true"})
    ]
    assert [(await api.get(url)).status_code for url in urls] == [200, 200]
    await api.delete(f"/v1/chat/conversations/{room}/messages/{sent['seq']}")
    assert [(await api.get(url)).status_code for url in urls] == [404, 404]
    assert await workers_of(node, tmp_path)["retention"].turn() == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and medium["id"] in path.name]


async def test_search_obeys_membership_at_the_time_and_forgets_what_was_changed(node, tmp_path):
    news = workers_of(node, tmp_path)["news"]
    room = await room_of(node, "ann", "bob")
    say = lambda text: node.chat.send(T, room, "ann", NewMessage(text=text))  # noqa: E731
    await say("early apple")
    await node.chat.add(T, "ann", room, "carl")
    later = await say("late apple pie")
    doomed = await say("rotten apple")
    await node.chat.remove(T, "ann", room, "bob")
    await say("secret apple")

    async def found(user: str, text: str) -> list[str]:
        while await news.turn():
            pass
        return sorted(event.text for event in (await node.chat.search(T, user, text)).items)

    assert await found("ann", "apple") == ["early apple", "late apple pie", "rotten apple", "secret apple"]
    assert await found("bob", "apple") == ["early apple", "late apple pie", "rotten apple"]
    assert await found("carl", "apple") == ["late apple pie", "rotten apple", "secret apple"]
    assert await found("eve", "apple") == []
    await node.chat.delete(T, "ann", room, doomed.seq)
    assert "rotten apple" not in [event.text for event in (await node.chat.search(T, "ann", "apple")).items]
    await node.chat.edit(T, "ann", room, later.seq, "late cherry pie")
    assert await found("ann", "cherry") == ["late cherry pie"]
    assert await found("ann", '"apple pie"') == []
    assert await found("ann", "rotten") == []
    stored = await node.database.fetch("SELECT words::text FROM chat.search_entry")
    assert "rotten" not in str(stored)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rhub*", ["rhubarb crumble", "rhubarb pie"]),
        ("pie RHU*", ["rhubarb pie"]),
        ("-rhub*", ["apple pie"]),
        ("crumble or app* ", ["apple pie", "rhubarb crumble"]),
        ("rhub", []),
        ("p*", []),
        ('"rhubarb p"*', []),
        ("-well-known*", ["apple pie", "rhubarb crumble", "rhubarb pie"]),
        ("'':* & !!", []),
        ("!!*", []),
        ("*", []),
    ],
)
async def test_a_star_at_the_end_finds_beginnings_of_words(node, tmp_path, query, found):
    room = await room_of(node, "ann", "bob")
    for text in ("rhubarb pie", "rhubarb crumble", "apple pie"):
        await node.chat.send(T, room, "ann", NewMessage(text=text))
    while await workers_of(node, tmp_path)["news"].turn():
        pass
    assert sorted(event.text for event in (await node.chat.search(T, "bob", query)).items) == found


async def test_threads_are_counted_and_read(node, tmp_path):
    room = await room_of(node, "ann", "bob")
    root = await node.chat.send(T, room, "ann", NewMessage(text="root"))
    for number in range(3):
        await node.chat.send(T, room, "bob", NewMessage(text=f"r{number}", thread=root.seq))
    while await workers_of(node, tmp_path)["news"].turn():
        pass
    assert (await node.chat.message(T, "ann", room, root.seq)).replies == 3
    answers = await node.chat.thread(T, "ann", room, root.seq)
    assert [event.text for event in answers] == ["r0", "r1", "r2"]


async def test_retention_drops_old_buckets_and_recovery_says_that_it_could_not(node, tmp_path):
    room = await room_of(node, "ann", "bob")
    await node.chat.send(T, room, "ann", NewMessage(text="old news"))
    clock = ManualClock(SystemClock().now_ms())
    clock.advance(ms=70 * 86_400_000)
    retention = workers_of(node, tmp_path, ChatSettings(retention_days=1), clock)["retention"]
    assert await retention.retain() == 1
    assert list(await node.chat.history(T, "ann", room, after=0)) == []
    head = await node.chat.head(T, room)
    assert (head.first_seq, head.last_seq) == (3, 2)
    sent = await node.chat.send(T, room, "ann", NewMessage(text="new"))
    assert sent.seq == 3
    assert (await node.chat.audit(T, room)).faults == ()
