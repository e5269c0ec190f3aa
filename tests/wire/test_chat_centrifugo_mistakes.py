"""Centrifugo's protocol and server API with what a client gets wrong: an error of the protocol, and the socket stays."""

import json

import httpx2
import pytest
import websockets
from tests.wire.test_chat_centrifugo import node, owner_key

from twelvefold.systems.chat.compat.centrifugo.protobuf_codec import COMMAND, _sized, write

__all__ = ["node", "owner_key"]
pytestmark = pytest.mark.wire


async def test_what_cannot_be_kept_is_an_error_on_the_same_socket(node):
    room = await node.chat.by_channel(1, "news", make_for="server")
    async with websockets.connect(f"{node.ws_url}/connection/websocket") as socket:

        async def ask(**command):
            await socket.send(json.dumps({"id": 2, **command}))
            return json.loads(await socket.recv())

        subs = {"nowhere": {}, "news": {}}
        connected = (await ask(connect={"token": node.token("ann"), "subs": subs}))["connect"]
        assert list(connected["subs"]) == ["news"]
        for data in ({"text": "a\0b"}, "\0", {"a\0": 1}):
            assert (await ask(publish={"channel": "news", "data": data}))["error"]["code"] == 107
        for channel in ("²", "a b", "a\0", "", "x" * 256):
            for command in ("subscribe", "history", "presence"):
                assert (await ask(**{command: {"channel": channel}}))["error"]["code"] == 107, channel
        huge = {"offset": 1 << 70, "epoch": ""}
        assert (await ask(history={"channel": "news", "limit": 5, "since": huge}))["history"]["offset"] == 1
        assert (await ask(ping={})) == {"id": 2, "ping": {}}
    assert (await node.chat.head(1, room)).last_seq == 1


async def test_protobuf_that_carries_no_json_is_an_error_on_the_same_socket(node):
    await node.chat.by_channel(1, "news", make_for="server")
    address = f"{node.ws_url}/connection/websocket"
    async with websockets.connect(address, subprotocols=["centrifuge-protobuf"]) as socket:

        async def ask(**command) -> bytes:
            await socket.send(_sized(write(COMMAND, {"id": 2, **command})))
            return await socket.recv()

        await ask(connect={"token": node.token("ann")})
        for data in (
            b"\xff\x00",
            b'{"text":"\xff"}',
            b'"\xff"',
            b'{"text":"a\\u0000"}',
            b"[" * 5000 + b"]" * 5000,
        ):
            answer = await ask(publish={"channel": "news", "data": data})
            assert b"\x08k" in answer  # code 107
            assert b"internal" not in answer
        assert (await ask(ping={})).endswith(b"b\x00")


async def test_the_server_api_refuses_what_it_would_have_to_guess(node, owner_key):
    async with httpx2.AsyncClient(base_url=node.url, headers={"X-API-Key": owner_key}) as api:

        async def code(method: str, **params) -> int | None:
            answer = await api.post(f"/api/{method}", json=params)
            assert answer.status_code == 200
            return answer.json().get("error", {}).get("code")

        assert await code("publish", channel="news", data=1) is None
        assert await code("broadcast", channels=["news"] * 1001, data=1) == 106
        for user in ("", "\x01", "x" * 129):
            assert await code("subscribe", channel="news", user=user) == 107
            assert await code("unsubscribe", channel="news", user=user) == 107
            assert await code("disconnect", user=user) == 107
        for channel in ("a b", "é", "x" * 256):
            assert await code("publish", channel=channel, data=1) == 107
        for offset in (1 << 70, -(1 << 70)):
            assert await code("history", channel="news", limit=2, since={"offset": offset}) is None
        nested = await api.post("/api/batch", json={"commands": [{"batch": {"commands": []}}]})
        assert nested.json()["replies"][0]["error"]["code"] == 104
        # A second time is no second entry.
        for _ in range(2):
            assert await code("subscribe", channel="news", user="bob") is None
        assert (await node.chat.head(1, await node.chat.by_channel(1, "news"))).last_seq == 3
