"""What a client needs to show somebody's conversations: with whom, and that there is a new one."""

from tests.systems.chat.test_sending import room_of


async def test_who_is_taken_into_a_conversation_hears_of_it_on_any_server(node, other, connect, api):
    bob, eve = await connect("bob", other), await connect("eve", other)
    made = (await api.post("/v1/chat/conversations", json={"name": "Lunch", "members": ["bob"]})).json()
    await bob.until(lambda: {"type": "joined", "conversation": made["id"]} in bob.told)
    added = await api.post(f"/v1/chat/conversations/{made['id']}/members", json={"user": "eve"})
    assert added.status_code == 201
    await eve.until(lambda: {"type": "joined", "conversation": made["id"]} in eve.told)


async def test_the_list_says_with_whom_a_direct_conversation_is(node, api):
    room = await room_of(node, "ann", "carol")
    asked = {"kind": "direct", "members": ["bob"]}
    direct = (await api.post("/v1/chat/conversations", json=asked)).json()
    items = (await api.get("/v1/chat/conversations")).json()["items"]
    peers = {one["conversation"]["id"]: one["peer"] for one in items}
    assert peers == {direct["id"]: "bob", str(room): None}
    theirs = (await api.get("/v1/chat/conversations", headers={"Chat-User": "bob"})).json()["items"]
    assert [one["peer"] for one in theirs] == ["ann"]
