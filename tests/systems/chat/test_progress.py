"""Receipts, presence, typing, unread: watermarks that only rise, and nothing stored that should not be."""

import asyncio

import pytest
from drills.chat.node import Node
from tests.systems.chat.test_sending import T, room_of

from twelvefold.kernel.errors import InvalidInputError
from twelvefold.systems.chat.contracts import NewMessage, NotAMemberError
from twelvefold.systems.chat.store.presence import PresenceStore


async def test_a_receipt_never_goes_back_and_read_implies_delivered(node, other):
    room = await room_of(node, "ann", "bob")
    for number in range(5):
        await node.chat.send(T, room, "ann", NewMessage(text=str(number)))
    await node.chat.progress.read(T, "bob", room, 4)
    await other.chat.progress.delivered(T, "bob", room, 2)
    await other.chat.progress.read(T, "bob", room, 3)
    found = {one.user: one for one in await other.chat.progress.receipts(T, "ann", room)}
    assert (found["bob"].delivered_seq, found["bob"].read_seq) == (4, 4)
    assert await node.chat.progress.of_message(T, "ann", room, 4) == (1, 1)
    assert await node.chat.progress.of_message(T, "ann", room, 5) == (0, 0)


async def test_receipts_for_foreign_conversations_or_the_future_are_refused(node):
    room = await room_of(node, "ann", "bob")
    with pytest.raises(NotAMemberError):
        await node.chat.progress.read(T, "eve", room, 1)
    with pytest.raises(InvalidInputError):
        await node.chat.progress.read(T, "bob", room, 99)


async def test_reading_on_one_device_clears_the_other_and_is_told_live(node, other, connect):
    room = await room_of(node, "ann", "bob")
    phone, laptop = await connect("bob", device="phone"), await connect("bob", other, device="laptop")
    for client in (phone, laptop):
        await client.ask("follow", conversation=str(room))
    for number in range(3):
        await node.chat.send(T, room, "ann", NewMessage(text=str(number)))
    for client in (phone, laptop):
        await client.until_seq(4)
    unread = [one.unread for one in await node.chat.of_user(T, "bob", cursor=None, limit=9)]
    assert unread == [3]
    await phone.ask("read", conversation=str(room), seq=4)
    await laptop.until(lambda: any(said["type"] == "receipts" for said in laptop.told))
    assert laptop.told[-1]["items"] == [{"user": "bob", "delivered_seq": 4, "read_seq": 4}]
    assert [one.unread for one in await other.chat.of_user(T, "bob", cursor=None, limit=9)] == [0]


async def test_a_thousand_readers_cost_a_thousand_rows_and_a_bounded_stream_of_news(node, connect):
    readers = [f"u{number}" for number in range(1000)]
    room = await room_of(node, "ann", *readers)
    await node.chat.send(T, room, "ann", NewMessage(text="all"))
    ann = await connect("ann")
    await ann.ask("follow", conversation=str(room))
    for start in range(0, 1000, 100):  # each has looked at it before
        await asyncio.gather(*(node.chat.get(T, reader, room) for reader in readers[start : start + 100]))
    await asyncio.gather(*(node.chat.progress.read(T, reader, room, 2) for reader in readers))
    told = lambda: [said for said in ann.told if said["type"] == "receipts"]  # noqa: E731
    await ann.until(lambda: sum(len(said["items"]) + said.get("more", 0) for said in told()) == 1000)
    assert len(told()) < 100
    assert max(len(said["items"]) for said in told()) <= 50
    rows = await node.database.fetch_value(
        "SELECT count(*) FROM chat.receipt WHERE conversation_id = $1", room
    )
    assert rows == 1001
    assert (await node.chat.progress.of_message(T, "ann", room, 2))[1] == 1000


async def test_closing_one_of_two_devices_keeps_the_user_online_and_the_last_one_takes_them_off(
    node, other, connect, eventually
):
    ann = await connect("ann")
    await ann.ask("look", users=["bob"])
    phone, laptop = await connect("bob", device="phone"), await connect("bob", other, device="laptop")
    await ann.until(
        lambda: any(said["type"] == "presence" and said["items"][0]["online"] for said in ann.told)
    )
    assert sorted(await node.chat.presence.servers(T, "bob")) == ["web-0", "web-1"]
    await phone.close()
    await eventually(lambda: _devices(other, 1))
    assert not any(said["type"] == "presence" and not said["items"][0]["online"] for said in ann.told)
    await laptop.close()
    await ann.until(lambda: not ann.told[-1]["items"][0]["online"])
    assert [said["items"][0]["online"] for said in ann.told if said["type"] == "presence"] == [True, False]


async def test_a_client_whose_process_is_killed_is_offline_without_a_word(node, connect):
    ann, bob = await connect("ann"), await connect("bob")
    await ann.ask("look", users=["bob"])
    bob.socket.transport.abort()  # as the kernel does for a process that is gone: no close frame, a reset
    await ann.until(lambda: bool(ann.told) and not ann.told[-1]["items"][0]["online"])


async def _devices(node: Node, count: int) -> bool:
    (found,) = await node.chat.presence.of(T, ["bob"])
    return found.devices == count


async def test_a_flap_of_a_connection_is_no_news(node, connect, eventually):
    bob = await connect("bob")
    ann = await connect("ann")
    await eventually(lambda: _devices(node, 1))
    answer = await ann.ask("look", users=["bob"])
    assert answer["items"][0]["online"]
    for _ in range(3):
        await bob.close()
        bob = await connect("bob")
    marker = await connect("carl")
    await ann.ask("look", users=["bob", "carl"])
    await marker.close()
    await ann.until(
        lambda: any(
            i["user"] == "carl" and not i["online"] for said in ann.told for i in said.get("items", ())
        )
    )
    assert not any(i["user"] == "bob" for said in ann.told for i in said.get("items", ()))


async def test_a_dead_servers_users_expire(node, valkey_url):
    now = [1_000_000]
    store = PresenceStore(node.valkey, lambda: now[0])
    await store.renew([("1:bob", "dead-server/c1/phone")])
    assert await store.online(["1:bob"]) == [1]
    now[0] += 29_999
    assert await store.online(["1:bob"]) == [1]
    now[0] += 1
    assert await store.online(["1:bob"]) == [0]
    assert await store.servers("1:bob") == []


async def test_typing_reaches_the_other_server_and_is_never_stored(node, other, connect):
    room = await room_of(node, "ann", "bob")
    ann, bob = await connect("ann"), await connect("bob", other)
    for client in (ann, bob):
        await client.ask("follow", conversation=str(room))
    for _ in range(5):
        await ann.ask("ping")
        await ann.socket.send(f'{{"op":"typing","conversation":"{room}"}}')
    await bob.until(lambda: any(said["type"] == "typing" for said in bob.told))
    assert (await ann.ask("ping"))["type"] == "pong"
    assert len([said for said in bob.told if said["type"] == "typing"]) == 1
    assert (await node.chat.head(T, room)).last_seq == 1
