"""Where WebSockets are blocked: server-sent events and the long poll bring the same events, once and in order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import msgspec
from tests.systems.chat.test_sending import T, room_of

from twelvefold.systems.chat.contracts import NewMessage

DEADLINE_SECONDS = 15


class Events:
    """What a stream said, block by block."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, dict]:
        """The next event's id and its JSON; comments and the like are passed over."""
        name = ""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for line in self._lines:
                if line.startswith("id: "):
                    name = line[4:]
                elif line.startswith("data: "):
                    return name, json.loads(line[6:])
        raise AssertionError("the stream has ended")

    async def seqs(self, count: int) -> list[int]:
        return [(await self.next())[1]["seq"] for _ in range(count)]


@asynccontextmanager
async def listening(api: httpx2.AsyncClient, room: int, **headers: str) -> AsyncIterator[Events]:
    place = f"/v1/chat/conversations/{room}/events"
    async with api.stream(
        "GET", place, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


async def test_a_stream_brings_what_was_missed_then_live_and_goes_on_from_the_last_id(node, other, api):
    room = await room_of(node, "ann", "bob")
    for number in range(450):  # more than two pages
        node.chat.submit_known(T, room, "ann", NewMessage(text=str(number)), lambda _: None)
    last = (await node.chat.send(T, room, "ann", NewMessage(text="the last one"))).seq
    async with listening(api, room) as events:
        assert await events.seqs(last) == [*range(1, last + 1)]
        live = await other.chat.send(T, room, "bob", NewMessage(text="live, from the other server"))
        name, event = await events.next()
        assert (name, event["text"]) == (str(live.seq), "live, from the other server")
    missed = await node.chat.send(T, room, "ann", NewMessage(text="missed"))
    async with listening(api, room, Last_Event_ID=name) as events:
        assert (await events.next())[1]["text"] == "missed"
        assert missed.seq == live.seq + 1


async def test_a_removed_member_streams_nothing_after_the_removal(node, api):
    room = await room_of(node, "ann", "bob")
    async with listening(api, room, Chat_User="bob") as events:
        await events.seqs(1)
        await node.chat.remove(T, "ann", room, "bob")
        assert (await events.next())[1]["change"] == "removed"
        await node.chat.send(T, room, "ann", NewMessage(text="among ourselves"))
        await node.chat.add(T, "ann", room, "bob")
        assert (await events.next())[1]["change"] == "joined"


async def test_what_one_may_not_see_is_passed_over_by_both_without_losing_what_follows(node, api):
    room = await room_of(node, "ann")
    for number in range(5):
        await node.chat.send(T, room, "ann", NewMessage(text=f"before bob {number}"))
    await node.chat.add(T, "ann", room, "bob")
    bob = {"Chat-User": "bob"}
    polled = (await api.get(f"/v1/chat/conversations/{room}/poll", params={"after": 0}, headers=bob)).json()
    assert [item["type"] for item in polled["items"]] == ["member"]
    async with listening(api, room, Chat_User="bob") as events:
        assert (await events.next())[0] == polled["next_cursor"]
        await node.chat.send(T, room, "ann", NewMessage(text="hello bob"))
        assert (await events.next())[1]["text"] == "hello bob"


async def test_a_long_poll_waits_for_the_next_event_or_says_that_there_is_none(node, api):
    room = await room_of(node, "ann", "bob")
    polling = asyncio.create_task(api.get(f"/v1/chat/conversations/{room}/poll", params={"after": 1}))
    await asyncio.sleep(0)
    await api.post(f"/v1/chat/conversations/{room}/messages", json={"text": "polled"})
    answer = (await polling).json()
    assert [item["text"] for item in answer["items"]] == ["polled"]
    assert answer["next_cursor"] == "2"
    nothing = await api.get(f"/v1/chat/conversations/{room}/poll", params={"after": 2, "wait": 0})
    assert nothing.json() == {"items": [], "next_cursor": "2"}


async def test_who_streams_or_polls_is_there_and_gone_when_it_ends(node, api, other, eventually):
    room = await room_of(node, "ann", "bob")

    async def there() -> list[str]:
        found = await api.get("/v1/chat/presence", params={"user": ["ann", "bob", "carl"]})
        return [one["user"] for one in found.json()["items"] if one["online"]]

    async def of(*wanted: str) -> None:
        async def seen() -> bool:
            return await there() == [*wanted]

        await eventually(seen)

    await of()
    by_bob = {"Chat-User": "bob"}
    place = f"/v1/chat/conversations/{room}/poll"
    polling = asyncio.create_task(api.get(place, params={"after": 1}, headers=by_bob))
    async with listening(api, room) as events:
        await events.seqs(1)
        await of("ann", "bob")
        await node.chat.send(T, room, "ann", NewMessage(text="polled"))
        await polling
    await of()  # after the grace of a flap


async def test_a_server_that_drains_waits_for_no_stream_and_no_poll(other, node, api, owner_key, eventually):
    room = await room_of(node, "ann", "bob")
    headers = {"Authorization": f"Bearer {owner_key}", "Chat-User": "ann"}
    async with httpx2.AsyncClient(base_url=other.url, headers=headers, timeout=60) as there:
        async with listening(there, room) as events:
            await events.seqs(1)
            polling = asyncio.create_task(
                there.get(f"/v1/chat/conversations/{room}/poll", params={"after": 1})
            )
            await eventually(lambda: other.chat.delivery._rooms[room].followers == 2)
            other.server._limits = msgspec.structs.replace(other.server._limits, drain_seconds=3600)
            async with asyncio.timeout(DEADLINE_SECONDS):
                await other.server.stop()
        assert (await polling).json()["items"] == []
