"""The dispatcher: who answers what, in which form, however the request looks."""

import asyncio
import json
from typing import Annotated

import httpx2
import msgspec
import pytest
from litestar import Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import ConflictError, EngineUnavailableError, RateLimitedError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web.application import Application
from twelvefold.web.guard import GateDecision, Guard, requires
from twelvefold.web.mount import Mount

KEY = {"authorization": "Bearer good"}


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=10)]
    sizes: list[Annotated[int, msgspec.Meta(ge=0, le=100)]] = []
    inner: dict[str, "Thing"] = {}


class TakenError(ConflictError):
    """That thing is taken."""

    code = "things.taken"


@post("/")
async def create(data: JSONBody[Thing]) -> Thing:
    if data.name == "taken":
        raise TakenError(field="name", hint="choose another", suggestion="taken2")
    if data.name == "down":
        raise EngineUnavailableError("database", "it was killed", retry_after_seconds=1.2)
    if data.name == "bug":
        raise ValueError("secret detail")
    return data


@get("/")
async def things(limit: Annotated[int, QueryParameter(ge=1, le=5)] = 3) -> dict[str, int]:
    return {"limit": limit}


@get("/slow")
async def slow() -> str:
    await asyncio.Event().wait()
    return ""


@get("/private", guards=[requires("things:read")])
async def private() -> str:
    return "yes"


@get("/{thing_id:int}")
async def one(thing_id: FromPath[int]) -> dict[str, int]:
    return {"id": thing_id}


class Keys:
    async def principal_of_key(self, key):
        if key == "down":
            raise EngineUnavailableError("database")
        scopes = {"good": frozenset({"things:*"}), "narrow": frozenset({"other:read"})}.get(key)
        return (
            None if scopes is None else Principal(tenant_id=TenantId(1), key_id=1, scopes=scopes, tier="free")
        )

    async def principal_of_session(self, token):
        return None


class Seen:
    def __init__(self):
        self.requests = []

    def finished(self, system, seconds, status):
        self.requests.append((system, status))


async def at_root(scope, receive, send):
    body = scope["path"].encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def make(seen):
    def make(**more):
        mount = Mount(
            name="things",
            routers=(Router("/v1/things", route_handlers=[create, things, slow, private, one]),),
            root=at_root,
            root_prefixes=("/t/", "/"),
        )
        guard = Guard(Keys(), ManualClock())
        return Application([mount], guard=guard, observer=seen, version="1", **more)

    return make


@pytest.fixture
async def ask(make):
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=make()), base_url="http://test"
    ) as client:

        async def ask(method, path, **more):
            return await client.request(method, path, **more)

        yield ask


def problem_in(response, status, code):
    told = response.json()
    assert (response.status_code, told["status"], told["code"]) == (status, status, code), told
    assert response.headers["content-type"] == "application/problem+json"
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["type"] == f"urn:twelvefold:problem:{code}"
    assert told["title"]
    assert told["detail"]
    return told


async def post_raw(ask, body, kind="application/json"):
    return await ask("POST", "/v1/things", content=body, headers={"content-type": kind})


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 422, None),
        (b"{", 400, None),
        (b"[1,", 400, None),
        (b"nonsense", 400, None),
        (b"\xef\xbb\xbf{}", 400, None),
        (b'{"name":"a"}x', 400, None),
        (b'{"name":"\xff"}', 400, None),
        (b'{"name":"\\ud800"}', 400, None),
        (b'{"name":"\\udc00\\ud800"}', 400, None),
        (b'{"name":"\xed\xa0\x80"}', 400, None),
        (b'{"name":"a\\u0000b"}', 422, None),
        (b'{"name":"a\x00b"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"inner":' * 100_000, 400, None),
        (b'{"name":"a","sizes":[1e999]}', 400, None),
        (b'{"name":"a","sizes":[' + b"9" * 5000 + b"]}", 400, None),
        (b'{"name":"a","sizes":[101]}', 422, "sizes[0]"),
        (b'{"name":"a","sizes":[1.5]}', 422, "sizes[0]"),
        (b'{"name":"a","sizes":[NaN]}', 400, None),
        (b'{"name":"a","sizes":null}', 422, "sizes"),
        (b'{"name":"a","inner":{"x":{"name":7}}}', 422, "inner[...].name"),
        (b'{"name":"aaaaaaaaaaa"}', 422, "name"),
        (b'{"name":"a","colour":"red"}', 422, None),
        (b'{"sizes":[]}', 422, "name"),
        (b"[]", 422, None),
        (b"null", 422, None),
        (b'"a"', 422, None),
    ],
)
async def test_a_body_that_cannot_be_used_is_told_so_with_its_field(ask, body, status, field):
    told = problem_in(
        await post_raw(ask, body), status, "malformed_request" if status == 400 else "invalid_input"
    )
    assert told["field"] == field


async def test_of_two_equal_keys_the_last_counts_and_an_escaped_backslash_is_no_nul(ask):
    assert (await post_raw(ask, b'{"name":"a","name":"b"}')).json()["name"] == "b"
    assert (await post_raw(ask, b'{"name":"\\\\u0000"}')).json()["name"] == "\\u0000"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""]
)
async def test_only_json_is_read_as_json(ask, kind):
    told = problem_in(await post_raw(ask, b'{"name":"a"}', kind), 415, "unsupported_media_type")
    assert "application/json" in told["hint"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"]
)
async def test_json_by_other_names_is_json(ask, kind):
    assert (await post_raw(ask, b'{"name":"a"}', kind)).status_code == 201


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/things?limit=6", 422), ("/v1/things?limit=x", 422), ("/v1/things?limit=", 422), ("/v1/things?limit=1.5", 422),
     ("/v1/things?limit=" + "9" * 400, 422), ("/v1/things?limit=%00", 400), ("/v1/things?limit=%ff", 422),
     ("/v1/things?limit=%ed%a0%80", 422), ("/v1/things?a=%", 200), ("/v1/things/x", 404), ("/v1/things/" + "9" * 400, 200),
     ("/v1/things/%00", 400), ("/v1/%ff", 404), ("/v1/nothing", 404), ("/v1/", 404), ("/v1/things/1/2", 404)],
)  # fmt: skip
async def test_an_address_that_cannot_be_used_is_never_our_fault(ask, path, status):
    response = await ask("GET", path)
    assert response.status_code == status, response.text
    if status >= 400:
        assert response.json()["status"] == status


async def test_a_refused_value_names_the_query_parameter(ask):
    told = problem_in(await ask("GET", "/v1/things?limit=6"), 422, "invalid_input")
    assert told["field"] == "limit"
    assert told["errors"][0]["source"] == "query"


async def test_a_method_that_is_not_there_says_which_are(ask):
    response = await ask("DELETE", "/v1/things")
    problem_in(response, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))
    options = await ask("OPTIONS", "/v1/things")
    assert options.status_code == 204
    assert set(options.headers["allow"].split(", ")) == set(response.headers["allow"].split(", "))
    problem_in(await ask("OPTIONS", "/v1/nothing"), 404, "not_found")
    response = await ask("POST", "/healthz")
    problem_in(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD"


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


class FixedGate:
    def __init__(self):
        self.asked = []
        self.failures = []
        self.refuse = False
        self.too_many = RateLimitedError(retry_after_seconds=2)

    async def admit(self, principal, facts):
        self.asked.append((principal.key_id if principal else None, facts.method, facts.path, facts.client))
        refused = RateLimitedError(retry_after_seconds=9.1) if self.refuse else None
        return GateDecision(headers=(("ratelimit-remaining", "4"),), refused=refused)

    def barred(self, client):
        return self.too_many if client == "192.0.2.66" else None

    async def failed(self, client):
        self.failures.append(client)
        return self.too_many if len(self.failures) > 2 else None


async def test_the_gate_is_asked_for_each_api_request_and_its_headers_are_sent_either_way(make):
    gate = FixedGate()
    transport = httpx2.ASGITransport(app=make(gate=gate), client=("192.0.2.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/v1/things", headers=KEY)
        assert response.headers["ratelimit-remaining"] == "4"
        gate.refuse = True
        response = await client.get("/v1/things")
        problem_in(response, 429, "rate_limited")
        assert response.headers["retry-after"] == "10"
        assert response.headers["ratelimit-remaining"] == "4"
        await client.get("/healthz")
    assert gate.asked == [(1, "GET", "/v1/things", "192.0.2.1"), (None, "GET", "/v1/things", "192.0.2.1")]


async def test_an_address_that_guesses_is_told_to_wait_and_a_key_that_was_good_still_passes(make):
    gate = FixedGate()
    app = make(gate=gate)
    wrong = {"authorization": "Bearer wrong"}
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        statuses = [(await client.get("/v1/things", headers=wrong)).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert gate.failures == ["192.0.2.1"] * 3
    barred = httpx2.ASGITransport(app=app, client=("192.0.2.66", 5))
    async with httpx2.AsyncClient(transport=barred, base_url="http://test") as client:
        refused = await client.get("/v1/things", headers=KEY)
        problem_in(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "2"
        assert (await client.get("/v1/things")).status_code == 200, "who shows nothing guesses nothing"
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/v1/things", headers=KEY)).status_code == 200
    async with httpx2.AsyncClient(transport=barred, base_url="http://test") as client:
        assert (await client.get("/v1/things", headers=KEY)).status_code == 200


async def test_bodies_are_bounded_on_other_servers_too(make):
    app = make(max_body_bytes=1000)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        body = b'{"name":"' + b"a" * 2000 + b'"}'
        response = await client.post("/v1/things", content=body, headers={"content-type": "application/json"})
    problem_in(response, 413, "too_large")


async def test_the_description_is_openapi_3_1(ask):
    described = (await ask("GET", "/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert "/v1/things" in described["paths"]
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_problem_details_cannot_replace_standard_members():
    from twelvefold.web.problem import problem

    made = problem(TakenError(status=200, code="x", title="y"), "id")
    told = json.loads(made.body)
    assert (told["status"], told["code"], told["title"]) == (409, "things.taken", "That thing is taken.")


async def test_every_operation_is_described_with_the_problem_it_can_answer_with(ask):
    described = (await ask("GET", "/openapi.json")).json()
    for item in described["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    (content,) = response["content"].items()
                    assert content == (
                        "application/problem+json",
                        {"schema": {"$ref": "#/components/schemas/Problem"}},
                    )
            assert "default" in operation["responses"]
    assert described["components"]["schemas"]["Problem"]["required"]


async def test_refused_fields_and_bounds_inside_of_lists_are_described(ask):
    schemas = (await ask("GET", "/openapi.json")).json()["components"]["schemas"]
    assert schemas["Thing"]["additionalProperties"] is False
    assert schemas["Thing"]["properties"]["sizes"]["items"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
    }


async def test_the_reference_needs_neither_scripts_nor_other_servers(ask):
    page = await ask("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "//" not in page.text.replace("<!doctype", "")
    for told in ("/v1/things/{thing_id}", "POST", "name: string length ≤ 10", "limit"):
        assert told in page.text
    assert (await ask("GET", "/docs/style.css")).headers["content-type"].startswith("text/css")


def test_the_reference_escapes_what_it_shows():
    from twelvefold.web.description import page

    schema = {"type": "string", "format": "<b>"}
    operation = {
        "summary": "<script>", "tags": ["<i>"], "responses": {"200": {"content": {"<x>": {"schema": schema}}}},
        "parameters": [{"name": "<p>", "in": "query", "schema": schema, "description": "&"}],
    }  # fmt: skip
    described = {
        "info": {"title": "<t>", "version": "1"}, "components": {"schemas": {}}, "paths": {"/<y>": {"get": operation}},
    }  # fmt: skip
    shown = page(described).decode()
    for raw in ("<script>", "<i>", "<x>", "<p>&", "<b>", "<t>", "<y>"):
        assert raw not in shown


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
