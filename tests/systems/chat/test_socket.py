"""Our socket: live, in order, without a gap or a double; errors on the same socket, which stays open."""

import asyncio
import json

import httpx2
import pytest
import structlog
import websockets
from tests.systems.chat.test_sending import T, room_of

from twelvefold.systems.chat.contracts import NewMessage
from twelvefold.systems.chat.routes.socket import MAX_MESSAGE_BYTES


async def test_two_users_on_two_servers_see_each_other_live_and_in_order(node, other, connect):
    room = str(await room_of(node, "ann", "bob"))
    ann, bob = await connect("ann"), await connect("bob", other)
    assert (await ann.ask("follow", conversation=room))["position"] == 1
    await bob.ask("follow", conversation=room)
    for number in range(20):
        speaker = (ann, bob)[number % 2]
        answer = await speaker.send(room, f"m{number}")
        assert (answer["type"], answer["status"], answer["seq"]) == ("sent", "sent", number + 2)
    for client in (ann, bob):
        await client.until_seq(21)
        assert [event["seq"] for event in client.events] == [*range(2, 22)]
        assert [event["text"] for event in client.events] == [f"m{n}" for n in range(20)]


async def test_pipelined_sends_are_stored_in_the_order_they_were_said(node, connect):
    room = str(await room_of(node, "ann", "bob"))
    ann = await connect("ann")
    waiting = []
    for number in range(200):
        await ann.socket.send(
            json.dumps({"op": "send", "ref": f"r{number}", "conversation": room, "text": f"m{number}"})
        )
        waiting.append(number)
    await ann.until(lambda: len([said for said in ann.told if said["type"] == "sent"]) == 200)
    found = await node.chat.history(T, "ann", int(room), after=1, limit=1000)
    assert [event.text for event in found] == [f"m{n}" for n in waiting]


async def test_a_client_that_was_away_gets_what_it_missed_then_live_without_gap_or_double(
    node, other, connect
):
    room = await room_of(node, "ann", "bob")
    for number in range(20):
        await node.chat.send(T, room, "ann", NewMessage(text=f"m{number}"))
    await asyncio.gather(*(node.chat.send(T, room, "ann", NewMessage(text=f"x{n}")) for n in range(1500)))
    stop = asyncio.Event()

    async def keep_talking() -> None:
        number = 0
        while not stop.is_set():
            await other.chat.send(T, room, "ann", NewMessage(text=f"live{number}"))
            number += 1

    talking = asyncio.create_task(keep_talking())
    bob = await connect("bob")
    answer = await bob.ask("follow", conversation=str(room), after=5)
    assert answer["position"] >= 1521
    stop.set()
    await talking
    last = (await node.chat.head(T, room)).last_seq
    await bob.until_seq(last)
    assert [event["seq"] for event in bob.events] == [*range(6, last + 1)]


async def test_a_device_that_syncs_gets_every_conversation_from_its_own_cursor(node, connect):
    rooms = [await room_of(node, "ann", "bob", name=f"r{n}") for n in range(3)]
    for room in rooms:
        for number in range(4):
            await node.chat.send(T, room, "ann", NewMessage(text=f"{number}"))
    phone = await connect("bob", device="phone", sync=True)
    await phone.until(lambda: any(said["type"] == "synced" for said in phone.told))
    assert sorted((e["conversation"], e["seq"]) for e in phone.events) == sorted(
        (str(room), seq) for room in rooms for seq in range(1, 6)
    )
    await phone.ask("received", conversation=str(rooms[0]), seq=5)
    await phone.ask("received", conversation=str(rooms[1]), seq=3)
    await phone.close()
    await node.chat.send(T, rooms[0], "ann", NewMessage(text="while away"))
    again = await connect("bob", device="phone", sync=True)
    await again.until(lambda: any(said["type"] == "synced" for said in again.told))
    assert [e["seq"] for e in again.events if e["conversation"] == str(rooms[0])] == [6]
    assert [e["seq"] for e in again.events if e["conversation"] == str(rooms[1])] == [4, 5]
    tablet = await connect("bob", device="tablet", sync=True)
    await tablet.until(lambda: any(said["type"] == "synced" for said in tablet.told))
    assert [e["seq"] for e in tablet.events if e["conversation"] == str(rooms[2])] == [1, 2, 3, 4, 5]


async def test_a_crowd_that_comes_back_at_once_is_let_in_and_finds_its_cursors(node):
    """More at once than may wait for the database: all of them share a handful of queries."""
    crowd = [f"u{number}" for number in range(1_500)]
    room = await room_of(node, "ann", *crowd[:10])
    await node.chat.progress.delivered(T, "u3", room, 1, device="phone")
    found = await asyncio.gather(*(node.chat.tokens.verify(node.token(user)) for user in crowd))
    assert [one.user for one in found] == crowd
    cursors = await asyncio.gather(*(node.chat.progress.cursors(T, user, "phone") for user in crowd))
    assert cursors[:10] == [{room: int(user == "u3")} for user in crowd[:10]]
    assert not any(cursors[10:])


async def test_dying_before_the_clients_word_means_getting_it_again_not_losing_it(node, connect):
    room = await room_of(node, "ann", "bob")
    first = await connect("bob", device="phone", sync=True)
    sent = await node.chat.send(T, room, "ann", NewMessage(text="did you get this?"))
    await first.until_seq(sent.seq)
    await first.close()  # before it said `received`
    second = await connect("bob", device="phone", sync=True)
    await second.until_seq(sent.seq)
    assert second.events[-1]["text"] == "did you get this?"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"op": "send", "conversation": "12345", "text": "x"}, "chat.conversation_not_found"),
        ({"op": "send", "conversation": "abc", "text": "x"}, "invalid_input"),
        ({"op": "send", "conversation": "9" * 30, "text": "x"}, "invalid_input"),
        ({"op": "send", "text": "x"}, "invalid_input"),
        ({"op": "fly"}, "invalid_input"),
        ({"op": "send", "conversation": 5}, "invalid_input"),
        ({"op": "received", "conversation": "12345", "seq": 1}, "chat.conversation_not_found"),
        ({"op": "read", "conversation": "1", "seq": -1}, "invalid_input"),
        ({"op": "follow", "conversation": "12345"}, "chat.conversation_not_found"),
        ({"op": "look", "users": [""]}, "invalid_input"),
        ({"op": "refresh", "token": "x.y.z"}, "chat.token_refused"),
        ({"op": "connect", "token": "x"}, "invalid_input"),
    ],
)
async def test_what_cannot_be_done_is_answered_on_the_same_socket(node, connect, request_, code):
    ann = await connect("ann")
    await ann.socket.send(json.dumps(request_))
    await ann.until(lambda: any(said["type"] == "error" for said in ann.told))
    assert ann.told[-1]["error"]["code"] == code, ann.told
    assert (await ann.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01".decode("latin-1"),
        "{",
        "[]",
        '"x"',
        "[" * 100_000,
        '{"op": "ping", "data": ' + "[" * 50_000 + "]" * 50_000 + "}",
        '{"op": "send", "text": "a\\u0000b", "conversation": "1"}',
    ],
)
async def test_what_cannot_be_read_is_answered_on_the_same_socket(node, connect, raw):
    ann = await connect("ann")
    await ann.socket.send(raw)
    await ann.until(lambda: any(said["type"] == "error" for said in ann.told))
    assert ann.told[-1]["error"]["status"] in (400, 422)
    assert (await ann.ask("ping"))["type"] == "pong"


async def test_a_message_of_a_megabyte_and_one_byte_is_refused_and_one_of_a_megabyte_is_not(node, connect):
    room = str(await room_of(node, "ann", "bob"))
    ann, bob = await connect("ann"), await connect("bob")
    await bob.ask("follow", conversation=room)
    answer = await ann.send(room, "x" * ((1 << 20) + 1))
    assert answer["error"]["code"] == "chat.message_too_large"
    assert (await ann.send(room, "x" * (1 << 20)))["type"] == "sent"
    await bob.until_seq(2)
    assert len(bob.events[0]["text"]) == 1 << 20


async def test_broken_utf8_closes_with_1007_and_an_unmasked_giant_with_1009(node, connect):
    ann = await connect("ann")
    await ann.socket.send(b"\xff\xfe", text=True)
    assert await ann.until_closed() == 1007
    bob = await connect("bob")
    await bob.socket.send("x" * (MAX_MESSAGE_BYTES + 1))
    assert await bob.until_closed() == 1009


async def test_nothing_is_done_before_connecting_and_a_bad_token_is_told(node):
    async with websockets.connect(f"{node.ws_url}/v1/chat/socket") as socket:
        await socket.send('{"op":"send","conversation":"1","text":"x"}')
        assert json.loads(await socket.recv())["error"]["code"] == "unauthenticated"
        await socket.send('{"op":"connect","token":"a.b.c"}')
        assert json.loads(await socket.recv())["error"]["code"] == "chat.token_refused"
        unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."
        await socket.send(json.dumps({"op": "connect", "token": unsigned}))
        assert json.loads(await socket.recv())["error"]["code"] == "chat.token_refused"


async def test_a_token_that_expires_in_mid_connection_ends_it_and_a_refresh_keeps_it(node, connect):
    async with (
        websockets.connect(f"{node.ws_url}/v1/chat/socket") as short,
        websockets.connect(f"{node.ws_url}/v1/chat/socket") as kept,
    ):
        for socket in (short, kept):
            await socket.send(json.dumps({"op": "connect", "token": node.token("bob", seconds=3)}))
            assert json.loads(await socket.recv())["type"] == "connected"
        await kept.send(json.dumps({"op": "refresh", "token": node.token("bob", seconds=600)}))
        assert json.loads(await kept.recv())["type"] == "refreshed"
        async with asyncio.timeout(15):
            await short.wait_closed()
        assert short.close_code == 4401
        await kept.send('{"op":"ping"}')
        assert json.loads(await kept.recv())["type"] == "pong"


async def test_a_revoked_user_is_cut_on_every_server_at_once(node, other, connect, api: httpx2.AsyncClient):
    here, there = await connect("eve"), await connect("eve", other)
    token = node.token("eve")
    assert (await api.post("/v1/chat/users/eve/revoke")).status_code == 204
    assert await here.until_closed() == 4403
    assert await there.until_closed() == 4403
    async with httpx2.AsyncClient(base_url=node.url) as stranger:
        answer = await stranger.get("/v1/chat/conversations", headers={"Chat-Token": token})
    assert answer.status_code == 401


async def test_another_pages_socket_with_our_cookie_is_refused(node, owner_key):
    async with httpx2.AsyncClient(base_url=node.url) as browser:
        assert (await browser.post("/v1/session", json={"api_key": owner_key})).status_code in (200, 201)
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
    address = f"{node.ws_url}/v1/chat/socket?user=ann"
    for path in (address, f"{node.ws_url}/connection/websocket"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(path, origin="https://evil.example", additional_headers=cookie)
        assert refused.value.response.status_code == 403
    async with websockets.connect(address, origin=node.url, additional_headers=cookie) as socket:
        await socket.send('{"op":"connect"}')
        assert json.loads(await socket.recv())["user"] == "ann"


async def test_a_token_in_the_address_opens_nothing_and_is_never_logged(node):
    token = node.token("ann")
    with structlog.testing.capture_logs() as logged:
        async with websockets.connect(f"{node.ws_url}/v1/chat/socket?token={token}") as socket:
            await socket.send('{"op": "follow", "conversation": "1"}')
            assert json.loads(await socket.recv())["error"]["code"] == "unauthenticated"
        async with httpx2.AsyncClient(base_url=node.url) as stranger:
            place = "/v1/chat/conversations"
            assert (await stranger.get(place, params={"token": token})).status_code == 401
            assert (await stranger.get(place, headers={"Chat-Token": token})).status_code == 200
    assert token not in str(logged)


async def test_a_name_that_stands_twice_in_an_object_has_one_meaning_for_everybody(node, connect):
    room = str(await room_of(node, "ann", "bob"))
    ann, bob = await connect("ann"), await connect("bob")
    await bob.ask("follow", conversation=room)
    await ann.socket.send(
        f'{{"op": "send", "conversation": "{room}", "data": {{"a": 1, "a": 2}}, "text": "x", "text": "y"}}'
    )
    await bob.until_seq(2)
    (stored,) = await node.chat.history(T, "bob", int(room), after=1)
    assert (bob.events[0]["text"], bob.events[0]["data"]) == ("y", {"a": 2})
    assert (stored.text, bytes(stored.data)) == ("y", b'{"a":2}')


async def test_messagepack_on_request_carries_the_same_objects(node):
    import msgspec

    room = str(await room_of(node, "ann", "bob"))
    async with websockets.connect(f"{node.ws_url}/v1/chat/socket", subprotocols=["chat.msgpack"]) as socket:
        assert socket.subprotocol == "chat.msgpack"

        async def ask(**request):
            await socket.send(msgspec.msgpack.encode(request))
            return msgspec.msgpack.decode(await socket.recv())

        assert (await ask(op="connect", token=node.token("ann")))["type"] == "connected"
        assert (await ask(op="follow", conversation=room))["type"] == "following"
        await socket.send(
            msgspec.msgpack.encode({"op": "send", "conversation": room, "text": "hi", "data": {"n": [1, 2]}})
        )
        said = [msgspec.msgpack.decode(await socket.recv()) for _ in range(2)]
        event = next(one for one in said if one["type"] == "message")
        assert (event["text"], event["data"], event["seq"]) == ("hi", {"n": [1, 2]}, 2)
