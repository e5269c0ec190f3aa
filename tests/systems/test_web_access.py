"""Keys, tenants and sessions over the real database and Valkey, through the HTTP API."""

import asyncio
import base64
import hashlib
from importlib.resources import files

import httpx2
import pytest

from twelvefold.engines.database import migrate
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import ManualClock
from twelvefold.web.access import key_from_seed
from twelvefold.web.access.routes import access_routes
from twelvefold.web.access.service import Access
from twelvefold.web.access.store import AccessStore
from twelvefold.web.application import Application
from twelvefold.web.guard import SESSION_COOKIE, Guard

OWNER = key_from_seed(bytes(range(32)))
OWN_PAGE = {"origin": "http://test"}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def valkey(valkey_url):
    async with await Valkey.open(valkey_url) as client:
        yield client


@pytest.fixture
async def access(database, valkey, clock):
    await migrate(database, "access", files("twelvefold.web.access") / "schema")
    access = Access(AccessStore(database, valkey), clock, systems=["links", "chat"])
    await access.ensure_owner(OWNER)
    return access


@pytest.fixture
async def app(access, clock):
    guard = Guard(access, clock)
    access.on_change = guard.forget
    return Application(routers=access_routes(access, guard, secure_cookies=False), guard=guard, version="0")


@pytest.fixture
async def ask(app):
    """Ask the API: method, path, and as whom."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:

        async def ask(method, path, *, key=None, cookie=None, json=None, headers=None):
            headers = dict(headers or {})
            if key is not None:
                headers["authorization"] = f"Bearer {key}"
            if cookie is not None:
                headers["cookie"] = f"{SESSION_COOKIE}={cookie}"
            client.cookies.clear()
            return await client.request(method, path, json=json, headers=headers)

        yield ask


async def make_key(ask, scopes, **more):
    response = await ask("POST", "/v1/keys", key=OWNER, json={"name": "k", "scopes": scopes, **more})
    assert response.status_code == 201, response.text
    return response.json()


async def log_in(ask, access):
    response = await ask("POST", "/v1/session", json={"token": await access.make_login_token(OWNER)})
    assert response.status_code == 200, response.text
    return response.cookies[SESSION_COOKIE], response


async def test_without_credentials_nothing_is_answered(ask):
    response = await ask("GET", "/v1/keys")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer ", "Basic dXNlcjpwdw==", "Basic !", "Basic", "Digest a=b", "Bearer nonsense",
     f"Bearer {OWNER}x", f"Bearer {OWNER[:-1]}",
     f"Bearer tf_{OWNER[3:11]}_{'0' * 43}", "Bearer " + "a" * 10_000, "Bearer tf_\xe9"],
)  # fmt: skip
async def test_a_wrong_credential_is_refused_whatever_it_looks_like(app, authorization):
    sent = []
    scope = {
        "type": "http", "method": "GET", "path": "/v1/keys", "raw_path": b"/v1/keys", "query_string": b"",
        "headers": [(b"host", b"test"), (b"authorization", authorization.encode("latin-1"))],
        "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip

    async def send(message):
        sent.append(message)

    await app(scope, None, send)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("said", ["limiter:{}", "{}:", "{}"])
async def test_a_key_may_come_as_the_credentials_of_an_address(ask, said):
    basic = base64.b64encode(said.format(OWNER).encode()).decode()
    assert (await ask("GET", "/v1/keys", headers={"authorization": f"Basic {basic}"})).status_code == 200


async def test_the_owner_key_is_made_once_and_stays_revoked(access, ask, database):
    await access.ensure_owner(OWNER)
    assert await database.fetch_value("SELECT count(*) FROM access.api_key") == 1
    other = await make_key(ask, ["*"])
    owner_id = (await ask("GET", "/v1/keys", key=OWNER)).json()["items"][-1]["id"]
    assert (await ask("DELETE", f"/v1/keys/{owner_id}", key=other["key"])).status_code == 200
    await access.ensure_owner(OWNER)
    assert (await ask("GET", "/v1/keys", key=OWNER)).status_code == 401


async def test_a_new_key_is_shown_once_and_kept_as_a_hash(ask, database):
    made = await make_key(ask, ["links:write"], tier="pro", expires_at="2030-01-01T00:00:00.000Z")
    assert made["key"].startswith(f"{made['prefix']}_")
    assert made["expires_at"] == "2030-01-01T00:00:00.000Z"
    assert made["tier"] == "pro"
    listed = (await ask("GET", "/v1/keys", key=OWNER)).json()
    assert [item["name"] for item in listed["items"]] == ["k", "owner"]
    assert all("key" not in item for item in listed["items"])
    stored = await database.fetch_value(
        "SELECT secret_hash FROM access.api_key WHERE id = $1", int(made["id"])
    )
    assert stored == hashlib.sha256(made["key"].split("_")[2].encode()).digest()


async def test_a_key_does_what_its_scopes_say_and_no_more(ask):
    made = await make_key(ask, ["keys:read"])
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 200
    refused = await ask("POST", "/v1/keys", key=made["key"], json={"name": "x", "scopes": ["keys:read"]})
    assert (refused.status_code, refused.json()["scope"]) == (403, "keys:write")


async def test_nobody_grants_what_they_do_not_have(ask):
    made = await make_key(ask, ["keys:write", "links:*"])
    for scopes, status in (
        (["links:write"], 201), (["links:*"], 201), (["chat:read"], 403), (["*"], 403), (["admin"], 403),
        (["links:destroy"], 422), (["nosuch:read"], 422), ([], 422), (["\x00"], 422),
    ):  # fmt: skip
        body = {"name": "x", "scopes": scopes}
        answered = await ask("POST", "/v1/keys", key=made["key"], json=body)
        assert answered.status_code == status, (scopes, answered.text)


async def test_nobody_grants_a_tier_above_their_own(ask):
    made = await ask("POST", "/v1/tenants", key=OWNER, json={"name": "acme", "tier": "pro"})
    owner = made.json()["owner_key"]["key"]
    for tier, status in (("free", 201), ("pro", 201), ("enterprise", 403)):
        answer = await ask("POST", "/v1/keys", key=owner, json={"name": tier, "scopes": ["*"], "tier": tier})
        assert answer.status_code == status, answer.text
    assert answer.json()["field"] == "tier"


async def test_a_revoked_key_is_dead_and_can_be_restored_for_ten_minutes(ask, clock):
    made = await make_key(ask, ["keys:read"])
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 200
    revoked = await ask("DELETE", f"/v1/keys/{made['id']}", key=OWNER)
    assert revoked.json()["revoked_at"] is not None
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 401
    clock.advance(ms=599_000)
    again = await ask("DELETE", f"/v1/keys/{made['id']}", key=OWNER)
    assert again.json()["revoked_at"] == revoked.json()["revoked_at"]
    assert (await ask("POST", f"/v1/keys/{made['id']}/restore", key=OWNER)).json()["revoked_at"] is None
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 200
    await ask("DELETE", f"/v1/keys/{made['id']}", key=OWNER)
    clock.advance(ms=601_000)
    late = await ask("POST", f"/v1/keys/{made['id']}/restore", key=OWNER)
    assert (late.status_code, late.json()["code"]) == (409, "keys.not_restorable")


async def test_another_process_believes_a_revoked_key_for_at_most_a_second(access, clock, ask):
    other_process = Guard(access, clock)
    made = await make_key(ask, ["keys:read"])
    authorization = (b"authorization", f"Bearer {made['key']}".encode())
    scope = {"type": "http", "headers": [authorization], "method": "GET"}
    assert (await other_process.identify(scope)).key_id == int(made["id"])
    await ask("DELETE", f"/v1/keys/{made['id']}", key=OWNER)
    clock.advance(ms=1001)
    with pytest.raises(Exception, match="revoked"):
        await other_process.identify(scope)


async def test_a_key_cannot_revoke_itself(ask):
    listed = (await ask("GET", "/v1/keys", key=OWNER)).json()["items"]
    refused = await ask("DELETE", f"/v1/keys/{listed[0]['id']}", key=OWNER)
    assert (refused.status_code, refused.json()["code"]) == (409, "keys.in_use")


async def test_an_expired_key_is_dead(ask, clock):
    made = await make_key(ask, ["keys:read"], expires_at="2030-01-01T00:00:00Z")
    clock.advance(ms=1_893_456_000_000 - clock.now_ms() - 1)
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 200
    clock.advance(ms=1002)
    assert (await ask("GET", "/v1/keys", key=made["key"])).status_code == 401
    past = await ask("POST", "/v1/keys", key=OWNER,
                     json={"name": "x", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"})  # fmt: skip
    assert (past.status_code, past.json()["field"]) == (422, "expires_at")


async def test_last_use_is_noted_coarsely(ask, clock):
    made = await make_key(ask, ["keys:read"])

    async def last_used():
        items = (await ask("GET", "/v1/keys", key=made["key"])).json()["items"]
        return next(item["last_used_at"] for item in items if item["id"] == made["id"])

    first = await last_used()
    assert first is not None
    clock.advance(ms=60_000)
    assert await last_used() == first
    clock.advance(ms=300_000)
    assert await last_used() != first


async def test_keys_are_listed_page_by_page(ask):
    for _ in range(5):
        await make_key(ask, ["links:read"])
    seen, cursor = [], ""
    while cursor is not None:
        page = (await ask("GET", f"/v1/keys?limit=2{cursor and f'&cursor={cursor}'}", key=OWNER)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 6
    assert (await ask("GET", "/v1/keys?cursor=x", key=OWNER)).status_code == 422
    assert (await ask("GET", f"/v1/keys?cursor={10**30}", key=OWNER)).status_code == 422


async def test_two_tenants_with_the_same_names_never_meet(ask):
    a = (await ask("POST", "/v1/tenants", key=OWNER, json={"name": "a"})).json()
    b = (await ask("POST", "/v1/tenants", key=OWNER, json={"name": "b"})).json()
    key_a, key_b = a["owner_key"]["key"], b["owner_key"]["key"]
    body = {"name": "same", "scopes": ["links:read"]}
    made_a = (await ask("POST", "/v1/keys", key=key_a, json=body)).json()
    await ask("POST", "/v1/keys", key=key_b, json=body)
    ids_b = {item["id"] for item in (await ask("GET", "/v1/keys", key=key_b)).json()["items"]}
    assert made_a["id"] not in ids_b
    assert len(ids_b) == 2
    for method, path in (
        ("DELETE", f"/v1/keys/{made_a['id']}"),
        ("POST", f"/v1/keys/{made_a['id']}/restore"),
    ):
        assert (await ask(method, path, key=key_b)).status_code == 404
        assert (await ask(method, path, key=OWNER)).status_code == 404
    assert (await ask("GET", "/v1/tenants", key=key_b)).status_code == 403
    assert (
        await ask("POST", "/v1/keys", key=key_b, json={"name": "x", "scopes": ["admin"]})
    ).status_code == 403


async def test_tenants_are_made_and_listed_by_the_platform_alone(ask):
    made = await ask("POST", "/v1/tenants", key=OWNER, json={"name": "acme"})
    assert made.status_code == 201
    taken = await ask("POST", "/v1/tenants", key=OWNER, json={"name": "acme"})
    assert (taken.status_code, taken.json()["code"]) == (409, "tenants.name_taken")
    names = [item["name"] for item in (await ask("GET", "/v1/tenants", key=OWNER)).json()["items"]]
    assert names == ["acme", "default"]
    narrow = await make_key(ask, ["keys:*", "links:*"])
    assert (await ask("GET", "/v1/tenants", key=narrow["key"])).status_code == 403


async def test_a_login_link_works_once_and_opens_a_session(ask, access, database):
    token = await access.make_login_token(OWNER)
    first, second = await asyncio.gather(
        ask("POST", "/v1/session", json={"token": token}), ask("POST", "/v1/session", json={"token": token})
    )
    assert sorted((first.status_code, second.status_code)) == [200, 401]
    won = first if first.status_code == 200 else second
    assert won.json() == {
        "tenant": {"id": "1", "name": "default"},
        "key": {"id": won.json()["key"]["id"], "name": "owner"},
        "scopes": ["*"],
        "tier": "enterprise",
    }
    attributes = {part.strip().lower() for part in won.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= attributes
    cookie = won.cookies[SESSION_COOKIE]
    assert (await ask("GET", "/v1/session", cookie=cookie)).json() == won.json()
    stored = await database.fetch_value("SELECT token_hash FROM access.session")
    assert stored == hashlib.sha256(cookie.encode()).digest()


async def test_a_login_link_lives_ten_minutes(access, valkey):
    await access.make_login_token(OWNER)
    keys = await valkey.call("KEYS", "access:login:*")
    assert 590 < await valkey.call("TTL", keys[0]) <= 600


async def test_an_api_key_logs_in_too(ask):
    assert (await ask("POST", "/v1/session", json={"api_key": OWNER})).status_code == 200
    assert (await ask("POST", "/v1/session", json={"api_key": OWNER + "x"})).status_code == 401
    assert (await ask("POST", "/v1/session", json={})).status_code == 422
    assert (await ask("POST", "/v1/session", json={"api_key": OWNER, "token": "x"})).status_code == 422


async def test_a_cookie_changes_things_only_from_our_own_pages(ask, access):
    cookie, _ = await log_in(ask, access)
    body = {"name": "x", "scopes": ["links:read"]}

    async def status(**headers):
        return (await ask("POST", "/v1/keys", cookie=cookie, json=body, headers=headers)).status_code

    assert await status(origin="http://test") == 201
    for origin in ("http://evil.example", "null", "http://test.evil.example", "http://test:81", ""):
        assert await status(origin=origin) == 403, origin
    assert await status() == 403
    assert (await ask("GET", "/v1/keys", cookie=cookie)).status_code == 200
    assert (await ask("POST", "/v1/session", json={"api_key": OWNER},
                      headers={"origin": "http://evil.example"})).status_code == 403  # fmt: skip


async def test_a_session_ends_by_logging_out_by_time_and_with_its_key(ask, access, clock):
    cookie, _ = await log_in(ask, access)
    out = await ask("DELETE", "/v1/session", cookie=cookie, headers=OWN_PAGE)
    assert out.status_code == 204
    assert "max-age=0" in out.headers["set-cookie"].lower()
    assert (await ask("GET", "/v1/session", cookie=cookie)).status_code == 401

    cookie, _ = await log_in(ask, access)
    clock.advance(ms=12 * 3600 * 1000 + 1001)
    assert (await ask("GET", "/v1/session", cookie=cookie)).status_code == 401

    made = await make_key(ask, ["keys:read"])
    opened = await ask("POST", "/v1/session", json={"api_key": made["key"]})
    cookie = opened.cookies[SESSION_COOKIE]
    assert (await ask("GET", "/v1/keys", cookie=cookie)).status_code == 200
    await ask("DELETE", f"/v1/keys/{made['id']}", key=OWNER)
    assert (await ask("GET", "/v1/keys", cookie=cookie)).status_code == 401


async def test_sessions_that_have_ended_are_swept(ask, access, clock, database):
    await log_in(ask, access)
    clock.advance(ms=13 * 3600 * 1000)
    await log_in(ask, access)
    assert await database.fetch_value("SELECT count(*) FROM access.session") == 1
