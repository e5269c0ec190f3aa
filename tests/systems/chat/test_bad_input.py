"""What a hostile or an unlucky client says: each mistake is told by its field, on a socket that stays open."""

import asyncio
import json

import httpx2
import msgspec
import pytest
import websockets
from tests.systems.chat.test_media_and_search import workers_of
from tests.systems.chat.test_sending import T, room_of, texts

from twelvefold.systems.chat.contracts import MAX_TEXT_BYTES, ConversationNotFoundError, NewMessage
from twelvefold.systems.chat.routes import doorstep
from twelvefold.systems.chat.routes.live import LiveSockets
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.words import WordStore

CONVERSATIONS = "/v1/chat/conversations"


async def problem(request, code: str, field: str | None, status: int) -> None:
    answer = await request
    found = answer.json()
    assert (answer.status_code, found["code"], found.get("field")) == (status, code, field), found


# -- our socket -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "field", "ref"),
    [
        ('{"op": "nope", "ref": 3}', "op", 3),
        ('{"ref": "a"}', "op", "a"),
        ('{"op": "history", "limit": 0, "ref": 4}', "limit", 4),
        ('{"op": "history", "conversation": 7, "ref": 5}', "conversation", 5),
        ('{"op": "follow", "after": 99999999999999999999999, "ref": 6}', "after", 6),
        ('{"op": "send", "mentions": ["ann", 7], "ref": 7}', "mentions[1]", 7),
        ('{"op": "send", "text": "a\\u0000b", "ref": 8}', "text", 8),
        ('{"op": "ping", "ref": [1]}', "ref", None),
    ],
)
async def test_what_cannot_be_read_is_told_by_its_field_and_its_ref(node, connect, raw, field, ref):
    ann = await connect("ann")
    await ann.socket.send(raw)
    await ann.until(lambda: bool(ann.told))
    (said,) = ann.told
    assert (said["type"], said["error"]["field"], said.get("ref")) == ("error", field, ref)
    assert (await ann.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(("door", "code"), [("/v1/chat/socket", 4401), ("/connection/websocket", 3502)])
async def test_a_socket_that_nobody_connects_is_closed(node, monkeypatch, door, code):
    token = node.token("ann")
    monkeypatch.setattr(doorstep, "CONNECT_SECONDS", 0.2)
    async with (
        websockets.connect(node.ws_url + door) as silent,
        websockets.connect(node.ws_url + door) as ann,
    ):
        await ann.send(json.dumps({"op": "connect", "token": token, "id": 1, "connect": {"token": token}}))
        await ann.recv()
        async with asyncio.timeout(15):
            await silent.wait_closed()
        assert silent.close_code == code
        await ann.send(json.dumps({"op": "ping", "id": 2, "ping": {}}))
        assert await ann.recv()


@pytest.fixture
async def packed(node):
    """`ask(request)` over MessagePack, as bob of the conversation `room`."""
    room = str(await room_of(node, "ann", "bob"))
    url = f"{node.ws_url}/v1/chat/socket"
    async with websockets.connect(url, subprotocols=["chat.msgpack"], max_size=None) as socket:

        async def ask(request) -> dict:
            data = request if isinstance(request, bytes) else msgspec.msgpack.encode(request)
            await socket.send(data)
            async with asyncio.timeout(15):
                return msgspec.msgpack.decode(await socket.recv())

        assert (await ask({"op": "connect", "token": node.token("bob")}))["type"] == "connected"
        yield ask, room


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"text": "a\0b"}, "text"),
        ({"text": "x", "client_msg_id": "a\0"}, "client_msg_id"),
        ({"data": {"a\0": 1}}, "data"),
        ({"data": msgspec.msgpack.Ext(5, b"x")}, "data"),
    ],
)
async def test_what_messagepack_has_and_json_has_not_is_refused(node, packed, given, field):
    ask, room = packed
    answer = await ask({"op": "send", "ref": 1, "conversation": room, **given})
    assert (answer["type"], answer["error"]["field"], answer["ref"]) == ("error", field, 1)
    assert (await ask({"op": "ping"}))["type"] == "pong"


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\xff" * 50, b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff"])
async def test_messagepack_that_is_none_is_answered_on_the_same_socket(packed, raw):
    ask, _ = packed
    assert (await ask(raw))["type"] == "error"
    assert (await ask({"op": "ping"}))["type"] == "pong"


async def test_a_text_at_the_limit_is_taken_also_when_its_encoder_escapes_all_of_it(node, connect):
    room = str(await room_of(node, "ann", "bob"))
    ann = await connect("ann")
    text = "é" * (MAX_TEXT_BYTES // 2)
    assert json.dumps(text).isascii()
    assert (await ann.send(room, text))["type"] == "sent"
    assert await texts(node, int(room)) == [text]


async def test_data_is_kept_up_to_64_levels_on_every_door(node, connect, api):
    room = str(await room_of(node, "ann", "bob"))
    ann = await connect("ann")

    def nested(levels: int) -> list:
        value: list = []
        for _ in range(levels - 1):
            value = [value]
        return value

    for levels, taken in ((64, True), (65, False)):
        by_socket = await ann.ask("send", conversation=room, data=nested(levels))
        by_rest = await api.post(f"{CONVERSATIONS}/{room}/messages", json={"data": nested(levels)})
        assert (by_socket["type"], by_rest.status_code) == (("sent", 201) if taken else ("error", 422))
        if not taken:
            assert by_socket["error"]["field"] == by_rest.json()["field"] == "data"


async def test_following_from_beyond_the_end_is_refused_and_what_is_under_way_is_waited_for(
    node, other, connect
):
    room = await room_of(node, "ann", "bob")
    ann, bob = await connect("ann"), await connect("bob", other)
    await ann.ask("follow", conversation=str(room))
    answer = await bob.ask("follow", conversation=str(room), after=1_000)
    assert (answer["error"]["field"], answer["error"]["hint"]) == ("after", "its last sequence is 1")
    # bob was told of 2 by the server he has just left; this one follows, and has not heard of it yet.
    carried = await connect("bob", other)
    await carried.ask("follow", conversation=str(room))
    publish = node.chat.delivery._bus.publish
    node.chat.delivery._bus.publish = lambda *_: None
    sent = await node.chat.send(T, room, "ann", NewMessage(text="under way"))
    answer = await bob.ask("follow", conversation=str(room), after=sent.seq)
    node.chat.delivery._bus.publish = publish
    assert (answer["type"], answer["position"]) == ("following", sent.seq)
    await carried.until_seq(sent.seq)
    last = await node.chat.send(T, room, "ann", NewMessage(text="next"))
    await bob.until_seq(last.seq)
    assert [event["seq"] for event in bob.events] == [last.seq]


async def test_a_sync_goes_on_behind_a_conversation_that_cannot_be_followed(node, connect, monkeypatch):
    rooms = [await room_of(node, "ann", "bob", name=f"n{n}") for n in range(3)]
    first = await connect("bob", device="phone")
    for room in rooms:
        await first.ask("received", conversation=str(room), seq=1)
    follow = LiveSockets.follow

    async def put_out_between_list_and_look(self, follower, conversation_id, *given, **named):
        if conversation_id == rooms[1]:
            await node.chat.remove(T, "ann", rooms[1], "bob")
        return await follow(self, follower, conversation_id, *given, **named)

    monkeypatch.setattr(LiveSockets, "follow", put_out_between_list_and_look)
    bob = await connect("bob", device="phone", sync=True)
    await bob.until(lambda: any(said["type"] == "synced" for said in bob.told))
    (failed,) = [said for said in bob.told if said["type"] == "error"]
    assert (failed["conversation"], failed["error"]["code"]) == (str(rooms[1]), "chat.not_a_member")
    followed = {said["conversation"] for said in bob.told if said["type"] == "following"}
    assert followed == {str(rooms[0]), str(rooms[2])}


# -- REST -------------------------------------------------------------------------------------------


async def test_an_answer_needs_a_message_that_its_author_can_see(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob")
    place = f"{CONVERSATIONS}/{room}/messages"
    first = (await api.post(place, json={"text": "first"})).json()["seq"]
    for field in ("reply_to", "thread"):
        assert (await api.post(place, json={"text": "yes", field: first})).status_code == 201
        for seq in (1, 1_000_000):  # who is in is no message
            await problem(
                api.post(place, json={"text": "no", field: seq}), "chat.message_not_found", field, 404
            )
    within = (await api.post(place, json={"text": "in it", "thread": first})).json()["seq"]
    await problem(api.post(place, json={"text": "no", "thread": within}), "invalid_input", "thread", 422)
    await node.chat.add(T, "ann", room, "carl")
    by_carl = {"Chat-User": "carl"}
    early = api.post(place, json={"text": "no", "reply_to": first}, headers=by_carl)
    await problem(early, "chat.message_not_found", "reply_to", 404)


async def test_a_body_means_what_its_json_says(node, api: httpx2.AsyncClient):
    room = f"{CONVERSATIONS}/{await room_of(node, 'ann', 'bob')}"
    said = (await api.post(f"{room}/messages", json={"text": "hi"})).json()["seq"]
    for method, path, body, field in (
        ("POST", f"{room}/messages", {"text": "no", "reply_to": str(said)}, "reply_to"),
        ("POST", f"{room}/messages", {"text": 7}, "text"),
        ("PATCH", room, {"slow_mode_seconds": "5"}, "slow_mode_seconds"),
        ("POST", "/v1/chat/tokens", {"user": "ann", "seconds": "60"}, "seconds"),
    ):
        await problem(api.request(method, path, json=body), "invalid_input", field, 422)
    # Addresses have no types of their own.
    assert (await api.get(f"{room}/messages?limit=1")).status_code == 200


async def test_news_that_change_nothing_are_refused_and_no_entry_is_made(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob", name="Lunch")
    place = f"{CONVERSATIONS}/{room}"
    await api.post(f"{place}/bans", json={"user": "eve"})
    before = (await node.chat.head(T, room)).last_seq
    await problem(api.post(f"{place}/members", json={"user": "bob"}), "chat.already_a_member", None, 409)
    await problem(api.post(f"{place}/bans", json={"user": "eve"}), "chat.already_banned", None, 409)
    await problem(api.delete(f"{place}/bans/nobody"), "chat.not_banned", None, 404)
    await problem(api.patch(place, json={}), "invalid_input", "name", 422)
    await problem(api.patch(f"{place}/members/bob", json={}), "invalid_input", "role", 422)
    assert (await node.chat.head(T, room)).last_seq == before
    assert (await api.patch(f"{place}/members/bob", json={"role": "moderator"})).status_code == 200


async def test_a_direct_conversation_keeps_its_two(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob", kind="direct")
    for act in (api.post(f"{CONVERSATIONS}/{room}/leave"), api.delete(f"{CONVERSATIONS}/{room}/members/bob")):
        await problem(act, "chat.not_allowed", None, 403)
    assert await room_of(node, "bob", "ann", kind="direct") == room


async def test_the_only_owner_leaves_nobody_without_one(node, api: httpx2.AsyncClient):
    place = f"{CONVERSATIONS}/{await room_of(node, 'ann', 'bob')}"
    await problem(api.post(f"{place}/leave"), "chat.not_allowed", None, 403)
    await api.patch(f"{place}/members/bob", json={"role": "owner"})
    assert (await api.post(f"{place}/leave")).status_code == 200
    assert (await api.post(f"{CONVERSATIONS}/{await room_of(node, 'ann')}/leave")).status_code == 200


async def test_who_was_put_out_is_not_seen_writing(node, connect, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob", "eve")
    eve = await connect("eve")
    await node.chat.remove(T, "ann", room, "eve")
    answer = await eve.ask("typing", conversation=str(room))
    assert answer["error"]["code"] == "chat.not_a_member"
    by_eve = api.post(f"{CONVERSATIONS}/{room}/typing", headers={"Chat-User": "eve"})
    await problem(by_eve, "chat.not_a_member", None, 403)


async def test_no_channel_can_be_named_like_another_conversation(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob")
    await problem(api.post(CONVERSATIONS, json={"channel": str(room)}), "invalid_input", "channel", 422)
    assert await node.chat.by_channel(T, str(room)) == room
    with pytest.raises(ConversationNotFoundError):
        await node.chat.by_channel(T, str(room + 1), make_for="server")
    short = await node.chat.by_channel(T, "42", make_for="server")  # as Centrifugo's users name theirs
    assert await node.chat.by_channel(T, "42") == short


@pytest.mark.parametrize("settings", [ChatSettings(user_messages_per_second=1)])
async def test_reactions_and_edits_count_as_speaking(node, api: httpx2.AsyncClient):
    place = f"{CONVERSATIONS}/{await room_of(node, 'ann', 'bob')}/messages"
    assert (await api.post(place, json={"text": "one"})).status_code == 201
    codes = []
    for number in range(20):
        answer = await api.put(f"{place}/2/reactions", json={"emoji": "x", "added": number % 2 == 0})
        codes.append(answer.status_code)
        answer = await api.patch(f"{place}/2", json={"text": f"{number}"})
        codes.append(answer.status_code)
    assert set(codes[:4]) == {200}
    assert codes[-1] == 429


async def test_an_open_conversation_is_joined_once(node, api: httpx2.AsyncClient):
    room = await room_of(node, "carl", access="open", channel="plaza")
    assert (await api.post(f"{CONVERSATIONS}/{room}/join")).status_code == 200
    await problem(api.post(f"{CONVERSATIONS}/{room}/join"), "chat.already_a_member", None, 409)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/chat/search", "q"),
        ("{room}/poll", "after"),
        ("{room}/messages/2/thread?after=99999999999999999999999", "after"),
        ("{room}/messages?after=-1", "after"),
        ("{room}/messages?limit=1001", "limit"),
        ("{room}/media/x", "medium"),
        ("/v1/chat/conversations?cursor=x", "cursor"),
    ],
)
async def test_an_address_that_cannot_be_is_told_by_its_parameter(node, api, path, field):
    room = f"{CONVERSATIONS}/{await room_of(node, 'ann', 'bob')}"
    await problem(api.get(path.format(room=room)), "invalid_input", field, 422)


async def test_a_media_link_with_a_signature_of_any_characters_is_refused(api: httpx2.AsyncClient):
    query = "conversation=1&tenant=1&expires=9999999999&signature=%C3%A9%F0%9F%99%82&size=%C3%A9"
    await problem(api.get(f"/v1/chat/media/1?{query}"), "chat.media_link", None, 403)


async def test_an_attachment_that_is_no_id_is_refused(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob")
    for given in ("²", "x", "", "1", "9" * 40):
        sent = api.post(f"{CONVERSATIONS}/{room}/messages", json={"attachments": [given]})
        await problem(sent, "chat.media_refused", "attachments", 422)


async def test_two_users_whose_names_cannot_be_read_do_not_become_one(api: httpx2.AsyncClient):
    for name in (b"%ff", b"%fe", "é".encode(), "é".encode("latin-1")):
        await problem(api.get(CONVERSATIONS, headers={b"chat-user": name}), "invalid_input", "Chat-User", 422)
    made = await api.post(CONVERSATIONS, json={}, headers={"chat-user": "J%C3%B6rg"})
    assert made.json()["created_by"] == "Jörg"


async def test_what_there_is_of_a_message_that_is_not_there_is_a_404(node, api: httpx2.AsyncClient):
    room = await room_of(node, "ann", "bob")
    for what in ("receipts", "thread"):
        found = api.get(f"{CONVERSATIONS}/{room}/messages/999/{what}")
        await problem(found, "chat.message_not_found", None, 404)
    foreign = await room_of(node, "carl", "eve")
    await problem(
        api.patch(f"{CONVERSATIONS}/{foreign}/messages/2", json={"text": "x"}), "chat.not_a_member", None, 403
    )


# -- the worker -------------------------------------------------------------------------------------


async def test_no_text_that_is_stored_stops_the_worker(node, tmp_path):
    """A tsvector ends at a megabyte, and PostgreSQL's text has no NUL: what comes after is found all the same."""
    room = await room_of(node, "ann", "bob")
    many = " ".join(chr(0x20000 + n % 40_000) + chr(0x20000 + n // 40_000 + 1) for n in range(80_000))
    for text in (many, "x" * MAX_TEXT_BYTES, "'\\ & | ! <-> :* " * 10_000, "after all that: rhubarb"):
        await node.chat.send(T, room, "ann", NewMessage(text=text))
    async with node.database.transaction() as transaction:
        (last,) = await node.chat.history(T, "ann", room, limit=1)
        stored = (await node.chat._messages.body(room, last.seq))[0]
        await WordStore(node.database).put(transaction, stored, "a\0b")
    workers = workers_of(node, tmp_path)
    while await workers["news"].turn():
        pass
    found = await node.chat.search(T, "bob", "rhubarb")
    assert [event.text for event in found.items] == ["after all that: rhubarb"]
