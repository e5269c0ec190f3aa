"""Bodies, addresses and methods that cannot be used: told with the field, never our fault."""

import httpx2
import pytest
from tests.unit.web.application.things import post_raw, problem_in


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
        (b'{"name":"a\\u0000b"}', 422, "name"),
        (b'{"name":"a\x00b"}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"inner":' * 100_000, 400, None),
        (b'{"name":"a","sizes":[1e999]}', 422, "sizes[0]"),
        (b'{"name":"a","sizes":[' + b"9" * 5000 + b"]}", 422, "sizes[0]"),
        (b'{"name":"a","note":1e999}', 422, "note"),
        (b'{"name":"a","note":' + b"9" * 5000 + b"}", 422, "note"),
        (b'{"name":"a","sizes":[101]}', 422, "sizes[0]"),
        (b'{"name":"a","sizes":[1.5]}', 422, "sizes[0]"),
        (b'{"name":"a","sizes":[NaN]}', 400, None),
        (b'{"name":"a","sizes":null}', 422, "sizes"),
        (b'{"name":"a","inner":{"x":{"name":7}}}', 422, "inner[...].name"),
        (b'{"name":"aaaaaaaaaaa"}', 422, "name"),
        (b'{"name":"a","kolour":"red"}', 422, "kolour"),
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


@pytest.mark.parametrize(
    ("member", "hint"),
    [
        (b'"sizes":["1"]', "without quotes"),
        (b'"weight":"1.5"', "without quotes"),
        (b'"weight":"null"', "without quotes"),
        (b'"open":"true"', "without quotes"),
        (b'"open":1', None),
        (b'"colour":"1"', "without quotes"),
        (b'"since":1764000000', "2026-11-24T07:30:00Z"),
        (b'"since":"1764000000"', None),
        (b'"name":7', "in quotes"),
    ],
)
async def test_a_text_is_no_number_and_a_number_no_time(ask, member, hint):
    told = problem_in(await post_raw(ask, b'{"name":"a",' + member + b"}"), 422, "invalid_input")
    assert told["field"].partition("[")[0] == member.split(b'"')[1].decode()
    assert told["errors"][0]["source"] == "body"
    assert hint in told["hint"] if hint else told["hint"] is None


async def test_what_has_no_types_of_its_own_is_read_by_what_is_wanted(ask):
    assert (await ask("GET", "/v1/things?limit=4")).json() == {"limit": 4}
    assert (await ask("GET", "/v1/things/7")).json() == {"id": 7}


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


async def test_bodies_are_bounded_on_other_servers_too(make):
    app = make(max_body_bytes=1000)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        body = b'{"name":"' + b"a" * 2000 + b'"}'
        response = await client.post("/v1/things", content=body, headers={"content-type": "application/json"})
    problem_in(response, 413, "too_large")
