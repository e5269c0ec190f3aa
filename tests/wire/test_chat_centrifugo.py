"""Centrifugo's clients, unchanged: centrifuge-python, cent, and npm centrifuge as JSON and as Protobuf."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cent import (
    AsyncClient,
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    DisconnectRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)
from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler
from drills.chat.node import Node, new_owner_key

pytestmark = pytest.mark.wire
DEADLINE_SECONDS = 20
DRIVER = Path(__file__).with_name("chat_centrifuge.mjs")


@pytest.fixture
def owner_key() -> str:
    return new_owner_key()


@pytest.fixture
async def node(database_url, valkey_url, tmp_path, owner_key) -> AsyncIterator[Node]:
    made = await Node.open(database_url, valkey_url, tmp_path, owner_key=owner_key)
    yield made
    await made.close()


@pytest.fixture
async def cent(node, owner_key) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(f"{node.url}/api", api_key=owner_key)
    yield client
    await client.close()


class Heard(SubscriptionEventHandler):
    """What a subscription was told."""

    def __init__(self) -> None:
        self.data: list = []
        self.offsets: list[int] = []
        self.subscribed: list = []
        self.unsubscribed: list = []
        self.joined: list[str] = []
        self.left: list[str] = []
        self.news = asyncio.Event()

    async def on_publication(self, context):
        self.data.append(context.pub.data)
        self.offsets.append(context.pub.offset)
        self.news.set()

    async def on_subscribed(self, context):
        self.subscribed.append(context)
        self.news.set()

    async def on_unsubscribed(self, context):
        self.unsubscribed.append(context)
        self.news.set()

    async def on_join(self, context):
        self.joined.append(context.info.user)
        self.news.set()

    async def on_leave(self, context):
        self.left.append(context.info.user)
        self.news.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Connection(ClientEventHandler):
    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.code = 0

    async def on_connected(self, context):
        self.connected.set()

    async def on_disconnected(self, context):
        self.code = context.code
        self.disconnected.set()


def client_of(node: Node, user: str, **given) -> tuple[Client, Connection]:
    events = Connection()
    token = node.token(user)

    async def get_token(_=None):
        return token

    client = Client(
        f"{node.ws_url}/connection/websocket", events=events, token=token, get_token=get_token, **given
    )
    return client, events


@pytest.mark.parametrize("use_protobuf", [False, True])
async def test_python_clients_talk_see_presence_and_read_history(node, cent, use_protobuf):
    await cent.publish(PublishRequest(channel="lunch", data={"text": "who is hungry?"}))
    ann, ann_events = client_of(node, "ann", use_protobuf=use_protobuf)
    bob, _ = client_of(node, "bob", use_protobuf=use_protobuf)
    heard = {"ann": Heard(), "bob": Heard()}
    subscriptions = {}
    for name, client in (("ann", ann), ("bob", bob)):
        await client.connect()
        subscriptions[name] = client.new_subscription("lunch", events=heard[name])
        await subscriptions[name].subscribe()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await ann_events.connected.wait()
    for one in heard.values():
        await one.until(lambda one=one: one.subscribed)
    for number in range(10):
        data = {"number": number}
        await subscriptions["ann" if number % 2 else "bob"].publish(
            data=json.dumps(data).encode() if use_protobuf else data
        )
    for one in heard.values():
        await one.until(lambda one=one: len(one.data) == 10)
        read = [json.loads(data) if use_protobuf else data for data in one.data]
        assert [data["number"] for data in read] == [*range(10)]
        assert one.offsets == [*range(3, 13)]  # the first two are who is in, and the server's question
    presence = await subscriptions["ann"].presence()
    assert sorted(info.user for info in presence.clients.values()) == ["ann", "bob"]
    stats = await subscriptions["ann"].presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)
    history = await subscriptions["bob"].history(limit=100)
    assert [pub.offset for pub in history.publications] == [*range(1, 13)]
    assert history.publications[-1].info.user == "ann"
    back = await subscriptions["bob"].history(limit=2, reverse=True)
    assert [pub.offset for pub in back.publications] == [12, 11]
    await ann.disconnect()
    await bob.disconnect()


async def test_a_python_client_recovers_across_a_restart_of_the_server(
    database_url, valkey_url, tmp_path, owner_key
):
    node = await Node.open(database_url, valkey_url, tmp_path, owner_key=owner_key)
    port = node.server.port
    room = await node.chat.by_channel(1, "news", make_for="server")
    bob, events = client_of(node, "bob", min_reconnect_delay=0.1, max_reconnect_delay=0.3)
    heard = Heard()
    await bob.connect()
    subscription = bob.new_subscription("news", events=heard)
    await subscription.subscribe()
    await heard.until(lambda: heard.subscribed)
    from twelvefold.systems.chat.contracts import NewMessage

    await node.chat.send(1, room, "ann", NewMessage(text="before"))
    await heard.until(lambda: len(heard.data) == 1)
    await node.close()
    second = await Node.open(database_url, valkey_url, tmp_path, port=port, name="web-1")
    for number in range(1500):  # more than one page
        if number < 20:
            await second.chat.send(1, room, "ann", NewMessage(text=f"while away {number}"))
    await asyncio.gather(*(second.chat.send(1, room, "ann", NewMessage(text=f"x{n}")) for n in range(1200)))
    await heard.until(lambda: len(heard.data) >= 1221)
    assert heard.offsets == [*range(2, 1223)]
    assert heard.subscribed[-1].recovered
    assert heard.subscribed[-1].was_recovering
    assert not events.disconnected.is_set() or events.code
    await bob.disconnect()
    await second.close()


async def test_a_subscription_with_another_epoch_is_told_that_it_did_not_recover(node):
    import websockets

    room = await node.chat.by_channel(1, "news", make_for="server")
    head = await node.chat.head(1, room)
    async with websockets.connect(f"{node.ws_url}/connection/websocket") as socket:

        async def ask(**command):
            await socket.send(json.dumps(command))
            return json.loads(await socket.recv())

        await ask(id=1, connect={"token": node.token("ann")})
        answer = await ask(
            id=2, subscribe={"channel": "news", "recover": True, "epoch": "other", "offset": 0}
        )
        assert answer["subscribe"]["recovered"] is False
        assert answer["subscribe"]["was_recovering"] is True
        assert (answer["subscribe"]["epoch"], answer["subscribe"]["offset"]) == (head.epoch, head.last_seq)
        await ask(id=3, unsubscribe={"channel": "news"})
        good = await ask(
            id=4, subscribe={"channel": "news", "recover": True, "epoch": head.epoch, "offset": 0}
        )
        assert good["subscribe"]["recovered"] is True
        assert [pub["offset"] for pub in good["subscribe"]["publications"]] == [1]
        future = await ask(id=5, subscribe={"channel": "news"})
        assert future["error"]["code"] == 105
        assert (await ask(id=6, subscribe={"channel": "nowhere"}))["error"]["code"] == 102
        assert (await ask(id=7, rpc={"method": "x"}))["error"]["code"] == 104
        assert (await ask(id=8, publish={"channel": "news"}))["error"]["code"] == 107
        await socket.send("{not json")
        await socket.wait_closed()
        assert socket.close_code == 3501


async def test_a_python_client_with_a_bad_token_is_told_not_to_come_back(node):
    events = Connection()
    client = Client(f"{node.ws_url}/connection/websocket", events=events, token="a.b.c")
    await client.connect()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await events.disconnected.wait()
    assert events.code == 3500


async def test_cent_does_all_that_its_server_api_has(node, cent, owner_key):
    published = await cent.publish(PublishRequest(channel="a", data={"text": "x"}, idempotency_key="k1"))
    again = await cent.publish(PublishRequest(channel="a", data={"text": "x"}, idempotency_key="k1"))
    assert (published.offset, published.epoch) == (again.offset, again.epoch)
    broadcast = await cent.broadcast(BroadcastRequest(channels=["a", "b"], data={"text": "y"}))
    assert [one.result.offset for one in broadcast.responses] == [3, 2]
    ann, _ = client_of(node, "ann")
    heard = Heard()
    await ann.connect()
    subscription = ann.new_subscription("a", events=heard)
    await subscription.subscribe()
    await heard.until(lambda: heard.subscribed)
    presence = await cent.presence(PresenceRequest(channel="a"))
    assert [info.user for info in presence.presence.values()] == ["ann"]
    stats = await cent.presence_stats(PresenceStatsRequest(channel="a"))
    assert (stats.num_clients, stats.num_users) == (1, 1)
    history = await cent.history(HistoryRequest(channel="a", limit=10))
    assert [(pub.offset, pub.data.get("text")) for pub in history.publications[1:]] == [(2, "x"), (3, "y")]
    since = StreamPosition(offset=2, epoch=published.epoch)
    later = await cent.history(HistoryRequest(channel="a", limit=10, since=since))
    assert [pub.offset for pub in later.publications] == [3]
    channels = await cent.channels(ChannelsRequest(pattern="*"))
    assert {name: found.num_clients for name, found in channels.channels.items()} == {"a": 1}
    info = await cent.info(InfoRequest())
    assert info.nodes[0].num_clients == 1
    batch = await cent.batch(
        BatchRequest(
            requests=[PublishRequest(channel="a", data=1), PresenceStatsRequest(channel="a")], parallel=False
        )
    )
    assert batch.replies[0].offset == 4
    await heard.until(lambda: heard.data == [1])
    await cent.unsubscribe(UnsubscribeRequest(user="ann", channel="a"))
    await heard.until(lambda: heard.unsubscribed)
    await cent.subscribe(SubscribeRequest(user="bob", channel="a"))
    assert "bob" in [
        one.user for one in await node.chat.members(1, "server", await node.chat.by_channel(1, "a"))
    ]
    await cent.disconnect(DisconnectRequest(user="ann"))
    with pytest.raises(CentApiResponseError) as unknown:
        await cent.history(HistoryRequest(channel="nowhere"))
    assert unknown.value.code == 102
    stranger = AsyncClient(f"{node.url}/api", api_key="wrong")
    with pytest.raises(CentUnauthorizedError):
        await stranger.publish(PublishRequest(channel="a", data=1))
    await stranger.close()
    await ann.disconnect()


async def test_a_removed_member_is_unsubscribed_and_hears_no_more(node):
    from twelvefold.systems.chat.contracts import NewConversation, NewMessage

    room = (await node.chat.create(1, "ann", NewConversation(members=("bob",), channel="team"))).id
    bob, _ = client_of(node, "bob")
    heard = Heard()
    await bob.connect()
    subscription = bob.new_subscription("team", events=heard)
    await subscription.subscribe()
    await heard.until(lambda: heard.subscribed)
    await node.chat.remove(1, "ann", room, "bob")
    await heard.until(lambda: heard.unsubscribed)
    await node.chat.send(1, room, "ann", NewMessage(text="alone at last"))
    assert [data["type"] for data in heard.data] == ["member"]
    await bob.disconnect()


@pytest.mark.parametrize("form", ["json", "protobuf"])
async def test_the_npm_client_talks_recovers_and_reads(node, cent, tmp_path, form):
    modules = _npm_modules()
    await cent.publish(PublishRequest(channel="lunch", data={"text": "hello"}))
    environment = {
        "NODE_PATH": str(modules),
        "MODULES": str(modules),
        "URL": f"{node.ws_url}/connection/websocket",
        "TOKEN": node.token("ann"),
        "OTHER": node.token("bob"),
        "FORM": form,
        "PATH": "/usr/bin:/bin",
    }
    program = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        str(DRIVER),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["received"] == [*range(5)]
    assert told["users"] == ["ann", "bob"]
    assert told["stats"] == {"numClients": 2, "numUsers": 2}
    assert told["history"] == [*range(1, 8)]
    assert told["recovered"] is True
    assert told["after"] == [*range(8, 11)]
    assert told["unknown"] == 102


def _npm_modules() -> Path:
    """Where `npm install centrifuge ws` was done; `make setup-wire` does it in web-console's cache otherwise."""
    import os

    if shutil.which("node") is None:
        pytest.skip("no Node here; apt-get install nodejs npm")
    place = Path(
        os.environ.get("NODE_MODULES_FOLDER", Path(__file__).parents[2] / ".cache/node/node_modules")
    )
    if not (place / "centrifuge").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "centrifuge@5",
                "ws@8",
                "protobufjs@7",
            ],
            cwd=place.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            pytest.skip(f"npm install centrifuge ws: {done.stderr[-200:]}")
    return place
