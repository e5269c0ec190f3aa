"""Sending: on disk before it is acknowledged, once, in one order for everybody."""

import asyncio

import pytest
from drills.chat.node import Node

from twelvefold.kernel.clock import SystemClock
from twelvefold.kernel.errors import InvalidInputError
from twelvefold.systems.chat.contracts import (
    BannedError,
    ClientMessageIdReusedError,
    ConversationNotFoundError,
    MessageTooLargeError,
    NewConversation,
    NewMessage,
    NotAMemberError,
)

T = 1


async def room_of(node, *members: str, **given) -> int:
    return (await node.chat.create(T, members[0], NewConversation(members=members[1:], **given))).id


async def texts(node, room: int, user: str = "ann") -> list[str]:
    found = await node.chat.history(T, user, room, after=0, limit=1000)
    return [event.text for event in found if event.type == "message"]


async def test_a_message_is_acknowledged_with_its_place_and_read_from_the_other_server(node, other):
    room = await room_of(node, "ann", "bob")
    sent = await node.chat.send(T, room, "ann", NewMessage(text="hello"))
    assert sent.seq == 2  # the first entry is who is in
    (found,) = await other.chat.history(T, "bob", room, after=1)
    assert (found.id, found.text, found.author) == (sent.id, "hello", "ann")


async def test_the_same_client_msg_id_on_the_other_server_gives_the_same_message(node, other):
    room = await room_of(node, "ann", "bob")
    message = NewMessage(text="hello", client_msg_id="one")
    first, *again = await asyncio.gather(
        *(n.chat.send(T, room, "ann", message) for n in (node, other, other, node))
    )
    assert {(one.id, one.seq) for one in again} == {(first.id, first.seq)}
    assert await texts(node, room) == ["hello"]


async def test_the_same_client_msg_id_with_another_body_is_refused(node, other):
    room = await room_of(node, "ann", "bob")
    await node.chat.send(T, room, "ann", NewMessage(text="hello", client_msg_id="one"))
    with pytest.raises(ClientMessageIdReusedError):
        await other.chat.send(T, room, "ann", NewMessage(text="bye", client_msg_id="one"))
    bobs = await other.chat.send(T, room, "bob", NewMessage(text="bye", client_msg_id="one"))
    assert not bobs.existed, "another sender's ids are their own"


async def test_pipelined_messages_keep_their_order_when_they_are_sent_again_in_another(node, other):
    room = await room_of(node, "ann", "bob")
    said = [NewMessage(text=name, client_msg_id=name) for name in ("A", "B", "C")]
    await asyncio.gather(*(node.chat.send(T, room, "ann", message) for message in said))
    await asyncio.gather(*(other.chat.send(T, room, "ann", said[place]) for place in (1, 0, 2)))
    assert await texts(node, room) == ["A", "B", "C"]


class SkewedClock(SystemClock):
    """The machine's wall clock, off by some milliseconds."""

    def __init__(self, off_ms: int) -> None:
        self._off_ms = off_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._off_ms


async def test_eight_senders_on_servers_five_seconds_ahead_and_behind_make_one_dense_order(
    node, database_url, valkey_url, tmp_path, settings
):
    room = await room_of(node, "ann", "bob")
    servers = [
        await Node.open(
            database_url,
            valkey_url,
            tmp_path,
            name=f"off-{off_ms}",
            settings=settings,
            clock=SkewedClock(off_ms),
        )
        for off_ms in (5_000, -5_000)
    ]

    async def speak(server, name: str) -> None:
        for number in range(25):
            await server.chat.send(T, room, "ann", NewMessage(text=f"{name}{number}"))

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(speak(servers[number % 2], f"s{number}-"))
        seen = [
            await n.chat.history(T, u, room, after=0, limit=1000) for n in servers for u in ("ann", "bob")
        ]
    finally:
        for server in servers:
            await server.close()
    orders = {tuple((event.seq, event.id) for event in events) for events in seen}
    assert len(orders) == 1
    order = orders.pop()
    assert [seq for seq, _ in order] == [*range(1, 202)]
    ids = [event_id for _, event_id in order]
    assert ids != sorted(ids), (
        "the clocks were not skewed: ids by time are no order, and must not be needed as one"
    )
    for number in range(8):  # what one said one after the other stands in that order
        said = [event.text for event in seen[0] if event.text.startswith(f"s{number}-")]
        assert said == [f"s{number}-{n}" for n in range(25)]
    assert (await node.chat.audit(T, room)).faults == ()


async def test_what_cannot_be_sent_says_why(node):
    room = await room_of(node, "ann", "bob")
    with pytest.raises(NotAMemberError):
        await node.chat.send(T, room, "eve", NewMessage(text="hi"))
    with pytest.raises(ConversationNotFoundError):
        await node.chat.send(T, 12345, "ann", NewMessage(text="hi"))
    with pytest.raises(ConversationNotFoundError):
        await node.chat.send(2, room, "ann", NewMessage(text="hi"))  # another tenant
    with pytest.raises(MessageTooLargeError):
        await node.chat.send(T, room, "ann", NewMessage(text="x" * ((1 << 20) + 1)))
    with pytest.raises(InvalidInputError):
        await node.chat.send(T, room, "ann", NewMessage())
    exact = await node.chat.send(T, room, "ann", NewMessage(text="x" * (1 << 20)))
    assert exact.seq == 2


async def test_a_removed_sender_is_refused_by_a_server_that_has_not_heard_of_it(node, other):
    room = await room_of(node, "ann", "bob")
    await other.chat.send(T, room, "bob", NewMessage(text="still in"))
    await node.chat.ban(T, "ann", room, "bob")
    with pytest.raises(BannedError):
        await other.chat.send(T, room, "bob", NewMessage(text="too late"))
    assert await texts(node, room) == ["still in"]
    after = await other.chat.send(T, room, "ann", NewMessage(text="works"))
    assert after.seq == 4


async def test_a_direct_conversation_exists_once_for_a_pair(node, other):
    made = await asyncio.gather(
        node.chat.create(T, "ann", NewConversation(kind="direct", members=("bob",))),
        other.chat.create(T, "bob", NewConversation(kind="direct", members=("ann",))),
    )
    assert made[0].id == made[1].id
    members = await node.chat.members(T, "ann", made[0].id)
    assert [one.user for one in members] == ["ann", "bob"]
