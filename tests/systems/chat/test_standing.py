"""How things stand now is for those who are in now, and what they may read is found whatever lies between."""

import asyncio

import httpx2
import pytest
from tests.systems.chat.test_bad_input import CONVERSATIONS, problem
from tests.systems.chat.test_media_and_search import workers_of
from tests.systems.chat.test_sending import T, room_of, texts

from twelvefold.systems.chat.contracts import NewMessage
from twelvefold.systems.chat.routes.live import LiveSockets


async def say(node, room: int, user: str, text: str, **given) -> int:
    return (await node.chat.send(T, room, user, NewMessage(text=text, **given))).seq


async def test_who_was_put_out_reads_what_was_and_not_how_things_stand(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob", "carl", name="Lunch")
    said = await say(node, room, "ann", "seen")
    await node.chat.remove(T, "ann", room, "carl")
    await node.chat.settle(T, "ann", room, name="Without carl")
    await node.chat.add(T, "ann", room, "dora")
    place, carl = f"{CONVERSATIONS}/{room}", {"Chat-User": "carl"}
    for path in ("", "/members", "/receipts", f"/messages/{said}/receipts"):
        await problem(api.get(f"{place}{path}", headers=carl), "chat.not_a_member", None, 403)
    assert await texts(node, room, "carl") == ["seen"]
    polled = (await api.get(f"{place}/poll?after=0&wait=0", headers=carl)).json()["items"]
    assert polled[-1]["change"] == "removed"


async def test_who_comes_back_pages_over_what_was_between_in_either_direction(
    node, api: httpx2.AsyncClient, tmp_path
):
    room = await room_of(node, "ann", "bob")
    root = await say(node, room, "ann", "one")
    await say(node, room, "ann", "answer one", thread=root)
    await node.chat.leave(T, "bob", room)
    for number in range(7):
        await say(node, room, "ann", f"between {number}", thread=root)
    await node.chat.add(T, "ann", room, "bob")
    await say(node, room, "ann", "two", thread=root)
    place, bob = f"{CONVERSATIONS}/{room}/messages", {"Chat-User": "bob"}

    async def pages(path: str, name: str, begin: str) -> list[str]:
        found, cursor = [], begin
        while cursor is not None:
            asked = {"limit": "2", **({name: cursor} if cursor else {})}
            page = (await api.get(path, params=asked, headers=bob)).json()
            found += [item["text"] for item in page["items"] if item["type"] == "message"]
            cursor = page["next_cursor"]
        return found

    assert await pages(place, "before", "") == ["two", "answer one", "one"]
    assert await pages(place, "after", "0") == ["one", "answer one", "two"]
    assert await texts(node, room, "bob") == ["one", "answer one", "two"]
    workers = workers_of(node, tmp_path)
    while await workers["news"].turn():
        pass
    assert await pages(f"{place}/{root}/thread", "after", "0") == ["answer one", "two"]


async def test_before_and_after_at_once_are_refused(node, connect, api: httpx2.AsyncClient):
    room = str(await room_of(node, "ann", "bob"))
    await problem(
        api.get(f"{CONVERSATIONS}/{room}/messages?after=0&before=5"), "invalid_input", "before", 422
    )
    ann = await connect("ann")
    answer = await ann.ask("history", conversation=room, after=0, before=5)
    assert (answer["type"], answer["error"]["field"]) == ("error", "before")


async def test_a_moderator_takes_nobody_in_as_what_they_could_not_give(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "mo")
    await node.chat.give_role(T, "ann", room, "mo", "moderator")
    place, by_mo = f"{CONVERSATIONS}/{room}/members", {"Chat-User": "mo"}
    for role in ("moderator", "owner"):
        added = api.post(place, json={"user": "bob", "role": role}, headers=by_mo)
        await problem(added, "chat.not_allowed", None, 403)
    assert (await api.post(place, json={"user": "bob"}, headers=by_mo)).status_code == 201
    assert (await api.post(place, json={"user": "cleo", "role": "owner"})).status_code == 201


async def test_in_an_open_conversation_only_members_leave_are_put_out_and_get_roles(
    node, api: httpx2.AsyncClient
):
    room = await room_of(node, "ann", kind="channel", access="open")
    place = f"{CONVERSATIONS}/{room}"
    visitor = {"Chat-User": "vi"}
    assert (await api.post(f"{place}/messages", json={"text": "hi"}, headers=visitor)).status_code == 201
    for refused in (
        api.post(f"{place}/leave", headers=visitor),
        api.delete(f"{place}/members/vi"),
        api.patch(f"{place}/members/vi", json={"role": "moderator"}),
    ):
        await problem(refused, "chat.not_a_member", None, 403)
    assert (await node.chat.head(T, room)).last_seq == 2, "what was refused is no entry"
    assert (await api.post(f"{place}/bans", json={"user": "vi"})).status_code == 200
    await problem(
        api.post(f"{place}/messages", json={"text": "hi"}, headers=visitor), "chat.banned", None, 403
    )


async def test_two_who_talk_cannot_be_slowed_down_for_ever(api: httpx2.AsyncClient):
    body = {"kind": "direct", "members": ["bob"], "slow_mode_seconds": 60}
    await problem(api.post(CONVERSATIONS, json=body), "invalid_input", "slow_mode_seconds", 422)


@pytest.mark.parametrize("name", ["two\nlines", "a\u0085b", "a\u2028b", "bell\x07"])
async def test_a_name_is_one_line_of_what_can_be_shown(node, api: httpx2.AsyncClient, name):
    await problem(api.post(CONVERSATIONS, json={"name": name}), "invalid_input", "name", 422)
    room = await room_of(node, "ann", "bob", name="Früh ☕ مرحبا")
    await problem(api.patch(f"{CONVERSATIONS}/{room}", json={"name": name}), "invalid_input", "name", 422)


async def test_half_an_emoji_is_refused_with_what_is_wrong(node, connect, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob")
    answer = await api.post(
        f"{CONVERSATIONS}/{room}/messages",
        content=b'{"text": "hello \\ud83d"}',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert "other half" in answer.json()["hint"]
    ann = await connect("ann")
    await ann.socket.send('{"op": "send", "text": "hello \\ud83d"}')
    await ann.until(lambda: bool(ann.told))
    assert "other half" in ann.told[0]["error"]["hint"]
    assert (await ann.ask("ping"))["type"] == "pong"


async def test_who_is_put_out_while_catching_up_is_told_so(node, connect, monkeypatch):
    room = await room_of(node, "ann", "bob")
    await say(node, room, "ann", "missed")
    read = LiveSockets._read

    async def put_out_meanwhile(self, conversation_id, position):
        await node.chat.remove(T, "ann", room, "bob")
        return await read(self, conversation_id, position)

    monkeypatch.setattr(LiveSockets, "_read", put_out_meanwhile)
    bob = await connect("bob")
    answer = await bob.ask("follow", conversation=str(room), after=0)
    assert (answer["type"], answer["error"]["code"]) == ("error", "chat.not_a_member")


async def test_a_poll_whose_token_was_revoked_meanwhile_tells_nothing_more(node, api, eventually):
    room = await room_of(node, "ann", "bob")
    polling = asyncio.create_task(
        api.get(
            f"{CONVERSATIONS}/{room}/poll",
            params={"after": 1},
            headers={"Authorization": "", "Chat-Token": node.token("bob")},
        )
    )

    async def waits() -> bool:
        return (await node.chat.presence.of(T, ["bob"]))[0].online

    await eventually(waits)
    await node.chat.tokens.revoke(T, "bob")
    await say(node, room, "ann", "not for bob")
    await problem(polling, "chat.token_refused", "token", 401)


async def test_our_socket_hears_nothing_that_is_meant_for_centrifugos_clients(node, connect):
    bob = await connect("bob")
    for notice in (b'{"type":"unsubscribe","channel":"x"}', b'{"type":"disconnect"}'):
        node.chat.delivery.tell_user("1:bob", notice)
    await room_of(node, "ann", "bob")
    await bob.until(lambda: any(said["type"] == "joined" for said in bob.told))
    assert [said["type"] for said in bob.told] == ["joined"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("👍", ["👍🏽", "well done 👍"]),
        ("👍🏿 done", ["well done 👍"]),
        ("🎉", ["🎉🎉"]),
        ("done -👍", []),
        ('"done 👍"', ["well done 👍"]),
        ("👨‍👩‍👧", ["family 👨‍👩‍👧"]),
        ("❤", ["with ❤️"]),
        ("café", ["cafe\u0301 at nine"]),
        ("cafe\u0301", ["cafe\u0301 at nine"]),
        ("مرحبا", ["مرحبا يا"]),
        ("\uff57ell", ["well done 👍"]),
    ],
)
async def test_search_finds_emoji_and_letters_however_they_were_typed(node, tmp_path, query, found):
    room = await room_of(node, "ann", "bob")
    for text in ("well done 👍", "👍🏽", "🎉🎉", "family 👨‍👩‍👧", "with ❤️", "cafe\u0301 at nine", "مرحبا يا"):
        await say(node, room, "ann", text)
    while await workers_of(node, tmp_path)["news"].turn():
        pass
    assert sorted(event.text for event in (await node.chat.search(T, "bob", query)).items) == sorted(found)
