"""Chat as its users run it: `twelvefold up`, its doors, its workers, the console's cookie, a restart."""

import asyncio
import json
import re
from pathlib import Path

import httpx2
import pytest
import websockets
from centrifuge import Client as Centrifuge
from centrifuge import SubscriptionEventHandler
from tests.conftest import start_server, stop_server

from twelvefold import DEFAULT_TENANT, Platform
from twelvefold.systems.chat import NewConversation, NewMessage

DEADLINE_SECONDS = 30
DOORS = ("/v1/chat/socket", "/connection/websocket")


def ws_url_of(server) -> str:
    return server.url.replace("http://", "ws://")


def as_user(server, user: str) -> httpx2.AsyncClient:
    headers = {**server.headers, "Chat-User": user}
    return httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20)


async def token_of(api: httpx2.AsyncClient, user: str) -> str:
    return (await api.post("/v1/chat/tokens", json={"user": user})).json()["token"]


async def made_room(api: httpx2.AsyncClient, *members: str, **given) -> str:
    answer = await api.post("/v1/chat/conversations", json={"members": members, **given})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def cookie_of(server) -> dict[str, str]:
    async with httpx2.AsyncClient(base_url=server.url) as browser:
        assert (await browser.post("/v1/session", json={"api_key": server.api_key})).is_success
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:1", "http://localhost", "null", None]
)
async def test_another_pages_socket_with_the_consoles_cookie_is_refused(server, door, origin):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            f"{ws_url_of(server)}{door}?user=ann", origin=origin, additional_headers=await cookie_of(server)
        )
    assert refused.value.response.status_code == 403


async def test_the_consoles_own_page_opens_both_sockets_with_its_cookie(server):
    cookie = await cookie_of(server)
    ours, theirs = (f"{ws_url_of(server)}{door}?user=ann" for door in DOORS)
    async with websockets.connect(ours, origin=server.url, additional_headers=cookie) as socket:
        await socket.send('{"op": "connect"}')
        assert json.loads(await socket.recv())["user"] == "ann"
    async with websockets.connect(theirs, origin=server.url, additional_headers=cookie) as socket:
        await socket.send('{"id": 1, "connect": {}}')
        assert json.loads(await socket.recv())["connect"]["client"]


async def test_another_page_can_change_and_read_nothing_with_the_consoles_cookie(server):
    cookie = await cookie_of(server)
    async with httpx2.AsyncClient(base_url=server.url, headers={**cookie, "Chat-User": "mallory"}) as browser:
        before = (await browser.get("/v1/chat/conversations")).json()["items"]
        for origin in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
            answer = await browser.post("/v1/chat/conversations", json={"members": ["bob"]}, headers=origin)
            assert answer.status_code == 403
        secret = await browser.get("/v1/chat/token-secret", headers={"Origin": "https://evil.example"})
        assert not any(name.startswith("access-control-") for name in secret.headers)
        assert (await browser.get("/v1/chat/conversations")).json()["items"] == before
        own = await browser.post("/v1/chat/conversations", json={}, headers={"Origin": server.url})
        assert own.status_code == 201


class Heard(SubscriptionEventHandler):
    def __init__(self) -> None:
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.subscribed = asyncio.Event()

    async def on_subscribed(self, context) -> None:
        self.subscribed.set()

    async def on_publication(self, context) -> None:
        self.texts.put_nowait(context.pub.data["text"])


async def test_rest_our_socket_and_centrifugos_clients_meet_in_one_conversation(server):
    async with as_user(server, "ann") as ann, asyncio.timeout(DEADLINE_SECONDS):
        room = await made_room(ann, "bob", "carl", channel="one-room")
        bob = Centrifuge(f"{ws_url_of(server)}/connection/websocket", token=await token_of(ann, "bob"))
        heard = Heard()
        await bob.connect()
        subscription = bob.new_subscription("one-room", events=heard)
        await subscription.subscribe()
        await heard.subscribed.wait()
        async with websockets.connect(f"{ws_url_of(server)}/v1/chat/socket") as carl:

            async def told(kind: str) -> dict:
                while (said := json.loads(await carl.recv()))["type"] != kind:
                    pass
                return said

            await carl.send(json.dumps({"op": "connect", "token": await token_of(ann, "carl")}))
            await carl.send(json.dumps({"op": "follow", "conversation": room}))
            await told("following")
            sent = await ann.post(f"/v1/chat/conversations/{room}/messages", json={"text": "by REST"})
            assert sent.status_code == 201
            assert await heard.texts.get() == "by REST"
            assert (await told("message"))["text"] == "by REST"
            await carl.send(json.dumps({"op": "send", "conversation": room, "text": "by socket"}))
            assert await heard.texts.get() == "by socket"
            await subscription.publish(data={"text": "by Centrifugo"})
            while (said := await told("message")).get("data") is None:
                pass
            assert said["data"] == {"text": "by Centrifugo"}
        await bob.disconnect()


def test_the_page_names_every_request_of_the_api_and_no_other(server):
    page = Path("docs/chat.md").read_text(encoding="utf-8")
    table = page.partition("| request | does |")[2].partition("\n## ")[0]
    named, methods = set(), []
    for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE)(?: (/[^`]*))?`", table):
        methods.append(method)
        if path:
            named |= {(one, path) for one in methods}
            methods = []
    paths = httpx2.get(f"{server.url}/openapi.json").json()["paths"]
    prefix = "/v1/chat"
    there = {
        (method.upper(), path.removeprefix(prefix))
        for path, methods in paths.items()
        if path.startswith(prefix + "/")
        for method in methods
    }
    assert named == there


async def test_the_worker_makes_messages_searchable(server, eventually):
    async with as_user(server, "ann") as ann:
        room = await made_room(ann, "bob")
        await ann.post(f"/v1/chat/conversations/{room}/messages", json={"text": "rhubarb crumble"})

        async def found() -> bool:
            answer = await ann.get("/v1/chat/search", params={"q": "rhubarb"})
            return [item["text"] for item in answer.json()["items"]] == ["rhubarb crumble"]

        await eventually(found)


async def test_a_restart_of_all_processes_keeps_messages_and_their_client_ids(tmp_path: Path):
    process, server = await asyncio.to_thread(start_server, tmp_path / "data", "chat")
    try:
        async with as_user(server, "ann") as ann:
            room = await made_room(ann, "bob")
            place = f"/v1/chat/conversations/{room}/messages"
            said = [{"text": f"number {n}", "client_msg_id": str(n)} for n in range(20)]
            before = [(await ann.post(place, json=one)).json() for one in said]
            token = await token_of(ann, "bob")
    finally:
        assert await asyncio.to_thread(stop_server, process) == 0
    process, server = await asyncio.to_thread(start_server, tmp_path / "data", "chat")
    try:
        async with as_user(server, "ann") as ann:
            again = [(await ann.post(place, json=one)).json() for one in said]
            assert again == [{**one, "existed": True} for one in before]
            audit = (await ann.get(f"/v1/chat/conversations/{room}/audit")).json()
            assert (audit["entries"], audit["faults"]) == (before[-1]["seq"], [])
        async with httpx2.AsyncClient(base_url=server.url, headers={"Chat-Token": token}) as bob:
            items = (await bob.get(place, params={"after": 1})).json()["items"]
            assert [item["text"] for item in items] == [one["text"] for one in said]
    finally:
        assert await asyncio.to_thread(stop_server, process) == 0


async def test_the_blueprints_library_recipe_sends_and_its_worker_searches(tmp_path: Path, eventually):
    async with Platform.open(tmp_path / "data") as p:
        room = await p.chat.create(DEFAULT_TENANT, "ann", NewConversation(members=("bob",)))
        sent = await p.chat.send(DEFAULT_TENANT, room.id, "ann", NewMessage(text="hello"))
        events = await p.chat.history(DEFAULT_TENANT, "bob", room.id, after=sent.seq - 1)
        assert [(event.author, event.text) for event in events] == [("ann", "hello")]

        async def found() -> bool:
            return bool((await p.chat.search(DEFAULT_TENANT, "bob", "hello")).items)

        await eventually(found)
