"""Who is in, who is out, and from which sequence to which they see."""

import asyncio

import pytest
from tests.systems.chat.test_sending import T, room_of, texts

from twelvefold.systems.chat.contracts import (
    BannedError,
    MessageNotFoundError,
    NewMessage,
    NotAllowedError,
    NotAMemberError,
    SlowModeError,
)


async def say(node, room: int, user: str, text: str) -> int:
    return (await node.chat.send(T, room, user, NewMessage(text=text))).seq


async def test_a_removed_member_gets_nothing_after_the_removal_even_in_flight(node, other, connect):
    room = await room_of(node, "ann", "bob", "eve")
    eve = await connect("eve", other)
    await eve.ask("follow", conversation=str(room))
    stop = asyncio.Event()

    async def talk(server) -> None:
        while not stop.is_set():
            await say(server, room, "ann", "secret")

    talking = [asyncio.create_task(talk(node)), asyncio.create_task(talk(other))]
    await eve.until(lambda: len(eve.events) > 5)
    removal = await node.chat.remove(T, "ann", room, "eve")
    end = await say(node, room, "ann", "long after")
    stop.set()
    await asyncio.gather(*talking)
    await eve.until_seq(removal.seq)
    assert (await eve.ask("ping"))["type"] == "pong"
    bob = await connect("bob", other)
    await bob.ask("follow", conversation=str(room), after=0)
    await bob.until_seq(end)
    assert eve.events[-1]["seq"] == removal.seq
    assert (eve.events[-1]["change"], eve.events[-1]["user"]) == ("removed", "eve")
    assert [event["seq"] for event in eve.events] == [*range(2, removal.seq + 1)]
    seen = await other.chat.history(T, "eve", room, after=0, limit=1000)
    assert max(event.seq for event in seen) == removal.seq
    answer = await eve.ask("follow", conversation=str(room), after=0)
    assert answer["error"]["code"] == "chat.not_a_member"


async def test_a_joiner_sees_what_the_conversations_history_rule_allows(node):
    for history, expected in (("joined", ["after"]), ("all", ["before", "after"])):
        room = await room_of(node, "ann", "bob", history=history)
        await say(node, room, "ann", "before")
        await node.chat.add(T, "ann", room, "carl")
        await say(node, room, "ann", "after")
        assert await texts(node, room, "carl") == expected


async def test_who_comes_back_sees_both_times_and_not_what_was_between(node):
    room = await room_of(node, "ann", "bob")
    await say(node, room, "ann", "one")
    await node.chat.leave(T, "bob", room)
    between = await say(node, room, "ann", "between")
    await node.chat.add(T, "ann", room, "bob")
    await say(node, room, "ann", "two")
    assert await texts(node, room, "bob") == ["one", "two"]
    with pytest.raises(MessageNotFoundError):
        await node.chat.message(T, "bob", room, between)


async def test_a_banned_member_cannot_come_back_until_the_ban_is_lifted(node):
    room = await room_of(node, "ann", "bob", kind="channel", access="open", history="all")
    await node.chat.ban(T, "ann", room, "bob", "spam")
    for attempt in (
        node.chat.join(T, "bob", room),
        node.chat.send(T, room, "bob", NewMessage(text="x")),
        node.chat.history(T, "bob", room),
        node.chat.add(T, "ann", room, "bob"),
    ):
        with pytest.raises(BannedError):
            await attempt
    assert (await node.chat.bans(T, "ann", room))[0]["reason"] == "spam"
    await node.chat.unban(T, "ann", room, "bob")
    await node.chat.join(T, "bob", room)
    await say(node, room, "bob", "back")


async def test_roles_decide_who_may_do_what(node):
    room = await room_of(node, "ann", "bob", "carl", "dora")
    await node.chat.give_role(T, "ann", room, "bob", "moderator")
    with pytest.raises(NotAllowedError):
        await node.chat.remove(T, "carl", room, "dora")
    with pytest.raises(NotAllowedError):
        await node.chat.remove(T, "bob", room, "ann")
    with pytest.raises(NotAllowedError):
        await node.chat.give_role(T, "bob", room, "carl", "moderator")
    await node.chat.remove(T, "bob", room, "carl")
    with pytest.raises(NotAMemberError):
        await node.chat.remove(T, "bob", room, "carl")
    seq = await say(node, room, "dora", "mine")
    with pytest.raises(NotAllowedError):
        await node.chat.edit(T, "ann", room, seq, "yours")
    await node.chat.delete(T, "bob", room, seq)
    with pytest.raises(MessageNotFoundError):
        await node.chat.edit(T, "dora", room, seq, "again")


async def test_slow_mode_holds_across_servers_and_not_for_moderators_or_repeats(node, other):
    room = await room_of(node, "ann", "bob", slow_mode_seconds=600)
    message = NewMessage(text="one", client_msg_id="1")
    first = await node.chat.send(T, room, "bob", message)
    too_soon = NewMessage(text="two", client_msg_id="2")
    for server in (other, other, node):  # what was refused is not let through for being said again
        with pytest.raises(SlowModeError) as refused:
            await server.chat.send(T, room, "bob", too_soon)
        assert 0 < refused.value.retry_after_seconds <= 600
    with pytest.raises(SlowModeError):
        await other.chat.send(T, room, "bob", NewMessage(text="three"))
    assert (await other.chat.send(T, room, "bob", message)).id == first.id
    await other.chat.send(T, room, "ann", NewMessage(text="owner"))
    await other.chat.send(T, room, "ann", NewMessage(text="owner again"))


async def test_edited_and_deleted_text_is_gone_from_history_and_from_what_is_still_to_be_delivered(
    node, connect
):
    room = await room_of(node, "ann", "bob")
    edited, deleted = await say(node, room, "ann", "sceret"), await say(node, room, "ann", "regretted")
    await node.chat.react(T, "bob", room, deleted, "👍")
    await node.chat.edit(T, "ann", room, edited, "secret")
    await node.chat.delete(T, "ann", room, deleted)
    bob = await connect("bob")
    await bob.ask("follow", conversation=str(room), after=0)
    await bob.until_seq(6)
    shown = str(bob.events)
    assert "sceret" not in shown
    assert "regretted" not in shown
    by_seq = {event["seq"]: event for event in bob.events}
    assert (by_seq[edited]["text"], by_seq[edited]["edited"]) == ("secret", True)
    assert by_seq[deleted]["deleted"]
    assert "reactions" not in by_seq[deleted]
    stored = await node.database.fetch("SELECT t::text FROM timeline_chat.entry t")
    assert b"regretted".hex() not in str(stored)
    audit = await node.chat.audit(T, room)
    assert (audit.amended, audit.faults) == (2, ())


async def test_a_live_edit_brings_the_new_text_and_reactions_are_counted(node, connect):
    room = await room_of(node, "ann", "bob", "carl")
    bob = await connect("bob")
    await bob.ask("follow", conversation=str(room))
    seq = await say(node, room, "ann", "first")
    await node.chat.edit(T, "ann", room, seq, "second")
    await bob.until(lambda: len(bob.events) == 2)
    assert (bob.events[1]["type"], bob.events[1]["target"], bob.events[1]["message"]["text"]) == (
        "edited",
        seq,
        "second",
    )
    for user in ("bob", "carl", "bob"):
        await node.chat.react(T, user, room, seq, "👍")
    await node.chat.react(T, "carl", room, seq, "👍", added=False)
    found = await node.chat.message(T, "ann", room, seq)
    assert [(r.emoji, r.count, r.users) for r in found.reactions] == [("👍", 1, ("bob",))]


async def test_tenants_with_the_same_names_never_meet(node):
    room = await room_of(node, "ann", "bob")
    other = (await node.chat.create(2, "ann", _new(members=("bob",)))).id
    for attempt in (
        node.chat.history(2, "ann", room),
        node.chat.send(2, room, "ann", NewMessage(text="x")),
        node.chat.add(2, "ann", room, "eve"),
        node.chat.head(2, room),
        node.progress.read(2, "ann", room, 1)
        if hasattr(node, "progress")
        else node.chat.progress.read(2, "ann", room, 1),
    ):
        with pytest.raises(Exception, match="conversation"):
            await attempt
    assert [one.conversation.id for one in await node.chat.of_user(2, "ann", cursor=None, limit=9)] == [other]


def _new(**given):
    from twelvefold.systems.chat.contracts import NewConversation

    return NewConversation(**given)
