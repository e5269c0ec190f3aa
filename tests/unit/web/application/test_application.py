"""The dispatcher: who answers what, in which form, however the request looks."""

import json

import httpx2
import pytest
from tests.unit.web.application.things import KEY, TakenError, post_raw, problem_in

from twelvefold.web.application import Application
from twelvefold.web.mount import Mount


async def test_an_error_of_a_system_carries_its_code_field_hint_and_details(ask):
    told = problem_in(await post_raw(ask, b'{"name":"taken"}'), 409, "things.taken")
    assert told["title"] == told["detail"] == "That thing is taken."
    assert (told["field"], told["hint"], told["suggestion"]) == ("name", "choose another", "taken2")


async def test_an_engine_that_is_down_is_503_with_whole_seconds_to_wait(ask):
    response = await post_raw(ask, b'{"name":"down"}')
    problem_in(response, 503, "engine_unavailable")
    assert response.headers["retry-after"] == "2"
    response = await ask("GET", "/v1/things", headers={"authorization": "Bearer down"})
    problem_in(response, 503, "engine_unavailable")


async def test_our_own_fault_is_told_with_the_request_id_alone(ask):
    response = await post_raw(ask, b'{"name":"bug"}')
    told = problem_in(response, 500, "internal")
    assert "secret" not in response.text
    assert told["request_id"]


async def test_a_handler_that_takes_too_long_is_given_up(make, seen):
    app = make(request_seconds=0.05)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        response = await client.get("/v1/things/slow")
    problem_in(response, 503, "deadline_exceeded")
    assert seen.requests == [("things", 503)]


@pytest.mark.parametrize("sent", ["abc-123", "A.b:c_d", "x" * 64])
async def test_the_clients_request_id_comes_back(ask, sent):
    response = await ask("GET", "/healthz", headers={"x-request-id": sent})
    assert response.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "é", "a\tb", '"><script>'])
async def test_a_request_id_that_is_not_a_plain_token_is_replaced(ask, sent):
    response = await ask("GET", "/healthz", headers={"x-request-id": sent.encode()})
    assert response.headers["x-request-id"] != sent
    assert len(response.headers["x-request-id"]) == 16


async def test_scopes_are_checked_and_named(ask):
    problem_in(await ask("GET", "/v1/things/private"), 401, "unauthenticated")
    narrow = {"authorization": "Bearer narrow"}
    assert (
        problem_in(await ask("GET", "/v1/things/private", headers=narrow), 403, "forbidden")["scope"]
        == "things:read"
    )
    assert (await ask("GET", "/v1/things/private", headers=KEY)).text == "yes"


async def test_wrong_credentials_are_refused_even_where_none_are_needed(ask):
    problem_in(
        await ask("GET", "/v1/things", headers={"authorization": "Bearer wrong"}), 401, "unauthenticated"
    )


async def test_everybody_is_sent_where_they_belong(ask, seen):
    assert (await ask("GET", "/t/x")).text == "/t/x"
    assert (await ask("GET", "/abc")).text == "/abc"
    assert (await ask("GET", "/healthz")).json() == {"status": "alive"}
    assert (await ask("HEAD", "/healthz")).text == ""
    home = await ask("GET", "/")
    assert (home.status_code, home.headers["location"]) == (302, "/console/")
    assert (await ask("GET", "/v1/things")).json() == {"limit": 3}
    assert [system for system, _ in seen.requests] == [
        "things",
        "things",
        "platform",
        "platform",
        "platform",
        "things",
    ]


async def test_a_server_without_a_root_answers_404(make, seen):
    app = Application(version="1")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        problem_in(await client.get("/nothing"), 404, "not_found")


async def test_readiness_names_the_engine_that_is_missing(make):
    state = {"database": None, "valkey": "connection refused"}

    async def readiness():
        return state

    transport = httpx2.ASGITransport(app=make(readiness=readiness))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["engines"] == {"database": "ok", "valkey": "connection refused"}
        state["valkey"] = None
        assert (await client.get("/readyz")).json()["status"] == "ready"


def test_problem_details_cannot_replace_standard_members():
    from twelvefold.web.problem import problem

    made = problem(TakenError(status=200, code="x", title="y"), "id")
    told = json.loads(made.body)
    assert (told["status"], told["code"], told["title"]) == (409, "things.taken", "That thing is taken.")


async def test_head_of_an_api_address_is_get_without_the_body(make, serve, connect):
    client = await connect(await serve(make()))
    await client.send(
        b"HEAD /v1/things HTTP/1.1\r\nHost: s\r\n\r\nGET /v1/things HTTP/1.1\r\nHost: s\r\n\r\n"
    )
    status, headers, _ = await client.response(head=True)
    assert (status, headers["content-length"]) == (200, "11")
    assert (await client.response())[2] == b'{"limit":3}'


@pytest.mark.parametrize(
    ("path", "answers"),
    [
        ("/api", "api"),
        ("/api/publish", "api"),
        ("/apiQ3x", "links"),
        ("/api-", "links"),
        ("/anything", "links"),
    ],
)
async def test_an_address_at_the_root_belongs_to_a_system_by_whole_segments(path, answers):
    def app(name):
        async def answer(_scope, _receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

        return answer

    mounts = [
        Mount(name="links", root=app("links"), root_prefixes=("/",)),
        Mount(name="chat", root=app("api"), root_prefixes=("/api",)),
    ]
    transport = httpx2.ASGITransport(app=Application(mounts))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(path)).text == answers
