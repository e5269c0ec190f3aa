"""Bad days of delivery: the bus is away, a server dies after the commit, a reader does not read, a room grows."""

import asyncio
import json

from drills.chat.node import Node
from tests.systems.chat.test_sending import T, room_of

from twelvefold.systems.chat.contracts import NewMessage
from twelvefold.systems.chat.settings import ChatSettings


async def test_what_a_server_stored_and_could_not_publish_arrives_all_the_same(node, other, connect):
    """As after a kill between commit and publish, or with the bus away."""
    room = await room_of(node, "ann", "bob")
    bob = await connect("bob", other)
    await bob.ask("follow", conversation=str(room))
    publish = node.chat.delivery._bus.publish
    node.chat.delivery._bus.publish = lambda *_: None
    for number in range(5):
        await node.chat.send(T, room, "ann", NewMessage(text=f"lost {number}"))
    await bob.until_seq(6)
    node.chat.delivery._bus.publish = publish
    await node.chat.send(T, room, "ann", NewMessage(text="published"))
    await bob.until_seq(7)
    assert [event["seq"] for event in bob.events] == [*range(2, 8)]


async def test_parcels_that_come_twice_and_out_of_order_are_delivered_once_in_order(node, other, connect):
    room = await room_of(node, "ann", "bob")
    bob = await connect("bob", other)
    await bob.ask("follow", conversation=str(room))
    held: list = []
    bus = node.chat.delivery._bus
    publish = bus.publish
    bus.publish = lambda *args: held.append(args)
    for number in range(6):
        await node.chat.send(T, room, "ann", NewMessage(text=str(number)))
    for place in (5, 3, 3, 1, 0, 2, 4, 0):
        publish(*held[place])
    await bob.until_seq(7)
    bus.publish = publish
    assert [event["seq"] for event in bob.events] == [*range(2, 8)]


async def test_a_listener_in_this_server_that_fails_costs_neither_the_sender_nor_other_servers(
    node, other, connect
):
    room = await room_of(node, "ann", "bob")
    here, there = await connect("bob", node), await connect("bob", other)
    for one in (here, there):
        await one.ask("follow", conversation=str(room))

    class Broken:
        def deliver(self, *_):
            raise RuntimeError("a fault of ours")

    node.chat.delivery.watchers.insert(0, Broken())
    async with asyncio.timeout(10):
        sent = [await node.chat.send(T, room, "ann", NewMessage(text="in spite of it")) for _ in range(3)]
    node.chat.delivery.watchers.pop(0)
    await there.until_seq(sent[-1].seq)
    assert [event["seq"] for event in there.events] == [one.seq for one in sent]


async def test_order_and_once_hold_while_a_group_crosses_the_limits(
    database_url, valkey_url, tmp_path, node, connect
):
    """Below `large_from` the bus carries messages, above it the news that there are some."""
    small = ChatSettings(large_from=4, user_messages_per_second=0)
    other = await Node.open(database_url, valkey_url, tmp_path, name="web-9", settings=small)
    room = await room_of(other, "ann", "bob")
    bob = await connect("bob")
    await bob.ask("follow", conversation=str(room))
    stop = asyncio.Event()

    async def talk() -> None:
        while not stop.is_set():
            await other.chat.send(T, room, "ann", NewMessage(text="x"))

    talking = asyncio.create_task(talk())
    for number in range(4):
        await other.chat.add(T, "ann", room, f"u{number}")
    for number in range(4):
        await other.chat.remove(T, "ann", room, f"u{number}")
    stop.set()
    await talking
    last = (await other.chat.head(T, room)).last_seq
    await bob.until_seq(last)
    await other.close()
    assert [event["seq"] for event in bob.events] == [*range(2, last + 1)]


async def test_a_client_that_stops_reading_is_cut_and_recovers_all_and_nobody_else_notices(node, connect):
    room = await room_of(node, "ann", "bob")
    ann = await connect("ann")
    await ann.ask("follow", conversation=str(room))
    reader, writer = await _raw(node, node.token("bob"), str(room))
    text = "x" * 20_000
    sent = [await node.chat.send(T, room, "ann", NewMessage(text=text)) for _ in range(400)]
    await ann.until_seq(sent[-1].seq)
    assert node.hub.listeners(f"1:chat:{room}:json:{room}") == 1, "the one who does not read was cut"
    writer.close()
    bob = await connect("bob")
    await bob.ask("follow", conversation=str(room), after=1)
    await bob.until_seq(sent[-1].seq)
    assert [event["seq"] for event in bob.events] == [*range(2, sent[-1].seq + 1)]
    del reader


async def _raw(node: Node, token: str, room: str):
    """A socket that follows a room and then reads nothing: frames by hand, a tiny receive buffer."""
    import socket as sockets

    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", node.server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
    writer.write(
        b"GET /v1/chat/socket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    for request in ({"op": "connect", "token": token}, {"op": "follow", "conversation": room}):
        payload = json.dumps(request).encode()
        size = (
            bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2)
        )
        writer.write(bytes([0x81]) + size + b"\0\0\0\0" + payload)
    seen = b""
    while b"following" not in seen:
        seen += await reader.read(1000)
    writer.transport.pause_reading()
    return reader, writer


async def test_a_clean_end_of_a_server_stores_what_it_took(node, database_url, valkey_url, tmp_path):
    second = await Node.open(database_url, valkey_url, tmp_path, name="web-7")
    room = await room_of(second, "ann", "bob")
    await second.chat.send(T, room, "ann", NewMessage(text="known here now"))
    waiting = [
        asyncio.create_task(second.chat.send(T, room, "ann", NewMessage(text=str(n)))) for n in range(50)
    ]
    await asyncio.sleep(0)
    await second.close()
    sent = await asyncio.gather(*waiting)
    assert [one.seq for one in sent] == [*range(3, 53)]
    assert (await node.chat.head(T, room)).last_seq == 52
