"""Push as its users run it: subscribed over HTTP, sent by the worker process of `twelvefold up`."""

import asyncio
import json
from collections.abc import Iterator

import httpx2
import pytest
from tests.conftest import start_server, stop_server
from tests.systems.chat.test_push import Browser, PushEndpoint, endpoint
from tests.systems.chat.test_running_platform import as_user, made_room

__all__ = ["endpoint"]
DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def closed_network(tmp_path_factory) -> Iterator:
    data = tmp_path_factory.mktemp("platform") / "data"
    process, server = start_server(data, "chat", "-X", "chat.push_private_endpoints=true")
    yield server
    assert stop_server(process) == 0


async def subscribe(server, user: str, address: str, browser: Browser) -> None:
    async with as_user(server, user) as api:
        wanted = {
            "device": "phone",
            "service": "webpush",
            "address": address,
            "keys": {"p256dh": browser.keys.p256dh, "auth": browser.keys.auth},
        }
        answer = await api.post("/v1/chat/push", json=wanted)
        assert answer.status_code == 204, answer.text


def told(endpoint: PushEndpoint, path: str) -> list[tuple[dict[str, str], bytes]]:
    return [(headers, body) for at, headers, body in endpoint.requests if at == path]


async def say(ann: httpx2.AsyncClient, room: str, text: str) -> int:
    answer = await ann.post(f"/v1/chat/conversations/{room}/messages", json={"text": text})
    return answer.json()["seq"]


async def test_the_worker_wakes_a_browser_retries_under_the_same_name_and_forgets_it_after_a_410(
    closed_network, endpoint, eventually
):
    bob, carl = Browser(), Browser()
    async with as_user(closed_network, "ann") as ann, asyncio.timeout(DEADLINE_SECONDS):
        room = await made_room(ann, "bob", "carl")
        await subscribe(closed_network, "bob", f"{endpoint.url}/bob", bob)
        endpoint.answers = [(503, {"retry-after": "1"}, b""), (201, {}, b"")]
        seq = await say(ann, room, "are you there?")

        async def taken() -> bool:
            return len(told(endpoint, "/bob")) == 2

        await eventually(taken)
        (refused, body), (again, body_again) = told(endpoint, "/bob")
        assert refused["topic"] == again["topic"]
        for one in (body, body_again):
            shown = json.loads(bob.decrypt(one))
            assert (shown["title"], shown["body"], shown["seq"]) == ("ann", "are you there?", seq)
        key = again["authorization"].partition("k=")[2]
        assert key == (await ann.get("/v1/chat/push")).json()["vapid_public_key"]

        endpoint.answers = [(410, {}, b"")]
        await say(ann, room, "and now?")

        async def refused_for_good() -> bool:
            return len(told(endpoint, "/bob")) == 3

        await eventually(refused_for_good)
        # A turn of the worker ends before the next begins: when carl has the second, bob's first is over.
        await subscribe(closed_network, "carl", f"{endpoint.url}/carl", carl)
        for text in ("one", "two"):
            await say(ann, room, text)

        async def carl_has_both() -> bool:
            return len(told(endpoint, "/carl")) == 2

        await eventually(carl_has_both)
        assert len(told(endpoint, "/bob")) == 3
        shown = [json.loads(carl.decrypt(body))["body"] for _, body in told(endpoint, "/carl")]
        assert sorted(shown) == ["one", "two"]


async def test_a_subscription_that_could_never_be_used_is_refused_with_its_field(
    closed_network,
):
    keys = {"p256dh": Browser().keys.p256dh, "auth": Browser().keys.auth}
    good = {"device": "phone", "service": "webpush", "address": "https://push.example/1", "keys": keys}
    async with as_user(closed_network, "ann") as ann:
        for change, field in (
            ({"address": "push.example"}, "address"),
            ({"address": "file:///etc/passwd"}, "address"),
            ({"address": "https://[::"}, "address"),
            ({"keys": None}, "keys"),
            ({"keys": {**keys, "p256dh": "A" * 87}}, "keys.p256dh"),
            ({"keys": {**keys, "auth": "!" * 22}}, "keys.auth"),
            ({"service": "fcm"}, "service"),
            ({"service": "apns"}, "service"),
        ):
            answer = await ann.post("/v1/chat/push", json={**good, **change})
            assert answer.status_code == 422, change
            assert answer.json()["field"] == field, change
