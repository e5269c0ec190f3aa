"""Creating, reading, changing and ending links."""

from datetime import UTC, datetime, timedelta

import pytest


def make(api, **fields):
    answer = api.post("/v1/links", json={"url": "https://example.com/"} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def problem(answer, status, code, field=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    if field is not None:
        assert body["field"] == field
    return body


def test_a_link_is_made_with_a_code_and_read_back(api, server):
    link = make(api, url="https://example.com/a?b=c", tags=["news", "news", "x"], note="hello")
    assert link["short_url"] == f"{server.url}/{link['code']}"
    assert len(link["code"]) == 7
    assert link["tags"] == ["news", "x"]
    assert link["state"] == "active"
    assert link["redirect"] == 302
    assert isinstance(link["id"], str)
    assert link["created_at"].endswith("Z")
    assert api.get(f"/v1/links/{link['code']}").json() == link


def test_an_alias_is_given_once(api, word):
    link = make(api, alias=word)
    assert link["code"] == word
    problem(
        api.post("/v1/links", json={"url": "https://b.example/", "alias": word}),
        409,
        "links.alias_taken",
        "alias",
    )
    problem(
        api.post("/v1/links", json={"url": "https://b.example/", "alias": "api"}),
        422,
        "links.alias_refused",
        "alias",
    )


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "url"),
        ({"url": ""}, 422, "url"),
        ({"url": 7}, 422, "url"),
        ({"url": "javascript:alert(1)"}, 422, "url"),
        ({"url": "https://a.example/", "redirect": 303}, 422, "redirect"),
        ({"url": "https://a.example/", "max_clicks": 0}, 422, "max_clicks"),
        ({"url": "https://a.example/", "max_clicks": 1e30}, 422, "max_clicks"),
        ({"url": "https://a.example/", "max_clicks": "5"}, 422, "max_clicks"),
        ({"url": "https://a.example/", "redirect": "301"}, 422, "redirect"),
        ({"url": "https://a.example/", "dedupe": "true"}, 422, "dedupe"),
        ({"url": "https://a.example/", "expires_at": 4_000_000_000}, 422, "expires_at"),
        ({"url": "https://a.example/", "ttl_seconds": -1}, 422, "ttl_seconds"),
        ({"url": "https://a.example/", "expires_at": "yesterday"}, 422, "expires_at"),
        ({"url": "https://a.example/", "expires_at": "2020-01-01T00:00:00Z"}, 422, "expires_at"),
        ({"url": "https://a.example/", "expires_at": "2040-01-01T00:00:00"}, 422, "expires_at"),
        (
            {"url": "https://a.example/", "ttl_seconds": 5, "expires_at": "2040-01-01T00:00:00Z"},
            422,
            "ttl_seconds",
        ),
        ({"url": "https://a.example/", "tags": ["x"] * 21}, 422, "tags"),
        ({"url": "https://a.example/", "domain": "not.mine.example"}, 422, "domain"),
        ({"url": "https://a.example/", "rules": [{"targets": []}]}, 422, "rules[0].targets"),
        (
            {"url": "https://a.example/", "rules": [{"targets": [{"url": "ftp://x"}]}]},
            422,
            "rules[0].targets[0].url",
        ),
        ({"url": "https://a.example/", "dedupe": True, "alias": "abc"}, 422, "dedupe"),
        ({"url": "https://a.example/", "bogus": 1}, 422, None),
    ],
)
def test_bad_input_names_the_field_and_makes_nothing(api, body, status, field):
    before = api.get("/v1/links/stats").json()["links"]
    answer = api.post("/v1/links", json=body)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["field"] == field
    assert api.get("/v1/links/stats").json()["links"] == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[]", b'{"url": "https://a.example/\\u0000"}', b'{"url":' + b"[" * 100_000]
)
def test_a_body_that_is_no_link_is_refused_in_words(api, body):
    answer = api.post("/v1/links", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


def test_a_link_that_is_not_there_is_not_found(api):
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("GET", "/stats"),
        ("POST", "/restore"),
    ):
        answer = api.request(method, f"/v1/links/nothing-here{path}", json={} if method == "PATCH" else None)
        problem(answer, 404, "links.not_found")


def test_an_edit_changes_what_it_names_and_is_remembered(api, word):
    link = make(api, alias=word, note="old", tags=["t"])
    changed = api.patch(f"/v1/links/{word}", json={"url": "https://new.example/", "note": "new"}).json()
    assert changed["url"] == "https://new.example/"
    assert changed["note"] == "new"
    assert changed["tags"] == ["t"]
    assert int(changed["version"]) > int(link["version"])
    history = api.get(f"/v1/links/{word}/history").json()["items"]
    assert [entry["url"] for entry in history] == ["https://example.com/", "https://new.example/"]
    assert [entry["change"] for entry in history] == ["created", "edited"]


def test_an_edit_of_an_old_version_is_refused(api, word):
    link = make(api, alias=word)
    api.patch(f"/v1/links/{word}", json={"note": "first"}).raise_for_status()
    late = api.patch(f"/v1/links/{word}", json={"note": "second", "version": link["version"]})
    problem(late, 409, "links.version_conflict", "version")
    assert api.get(f"/v1/links/{word}").json()["note"] == "first"


def test_a_deleted_link_can_be_brought_back(api, word):
    make(api, alias=word)
    assert api.delete(f"/v1/links/{word}").status_code == 204
    assert api.get(f"/v1/links/{word}").json()["state"] == "deleted"
    problem(
        api.post("/v1/links", json={"url": "https://b.example/", "alias": word}), 409, "links.alias_taken"
    )
    assert api.post(f"/v1/links/{word}/restore").json()["state"] == "active"
    problem(api.post(f"/v1/links/{word}/restore"), 404, "links.not_found")


def test_dedupe_finds_the_link_that_stands_for_an_address(api, word):
    url = f"https://{word}.example/"
    first = make(api, url=url, dedupe=True)
    again = api.post("/v1/links", json={"url": url, "dedupe": True})
    assert again.status_code == 200
    assert again.json()["code"] == first["code"]
    assert make(api, url=url)["code"] != first["code"]
    api.delete(f"/v1/links/{first['code']}")
    assert make(api, url=url, dedupe=True)["code"] != first["code"]


def test_a_list_is_searched_filtered_and_paged_without_gaps(api, word):
    codes = [make(api, url=f"https://{word}.example/{number}", tags=[word])["code"] for number in range(7)]
    api.patch(f"/v1/links/{codes[0]}", json={"disabled": True}).raise_for_status()
    found, cursor = [], None
    while True:
        query = {"q": word, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = api.get("/v1/links", params=query).json()
        found += [link["code"] for link in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == codes[::-1]
    assert len(api.get("/v1/links", params={"tag": word, "state": "active"}).json()["items"]) == 6
    assert len(api.get("/v1/links", params={"tag": word, "state": "disabled"}).json()["items"]) == 1
    assert api.get("/v1/links", params={"q": f"{word}%"}).json()["items"] == []
    problem(api.get("/v1/links", params={"cursor": "rubbish"}), 422, "invalid_input", "cursor")
    problem(api.get("/v1/links", params={"limit": "501"}), 422, "invalid_input", "limit")


def test_an_expired_link_comes_back_with_a_later_expiry(api, word):
    soon = datetime.now(UTC) + timedelta(hours=1)
    link = make(api, alias=word, expires_at=soon.isoformat())
    assert link["expires_at"] == soon.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    cleared = api.patch(f"/v1/links/{word}", json={"expires_at": None}).json()
    assert cleared["expires_at"] is None


def test_bulk_reports_each_item_and_goes_on(api, word):
    items = [
        {"url": "https://a.example/", "alias": f"{word}1"},
        {"url": "nonsense"},
        {"url": "https://b.example/"},
        {"url": "https://c.example/", "alias": f"{word}1"},
        {"nothing": True},
        {"url": "https://d.example/", "dedupe": True},
        {"url": "https://e.example/", "password": "x"},
    ]
    body = api.post("/v1/links/bulk", json=items).json()
    assert (body["created"], body["failed"]) == (4, 3)
    outcomes = {result["index"]: result for result in body["results"]}
    assert list(outcomes) == list(range(7))
    assert outcomes[0]["code"] == f"{word}1"
    assert outcomes[1]["error"]["code"] == "links.target_refused"
    assert outcomes[3]["error"]["code"] == "links.alias_taken"
    assert outcomes[4]["error"]["status"] == 422
    assert api.get(f"/v1/links/{outcomes[6]['code']}").json()["has_password"] is True


def test_bulk_takes_a_line_an_item_too(api):
    lines = b'{"url":"https://a.example/"}\n\nnot json\n{"url":"https://b.example/"}\n'
    body = api.post("/v1/links/bulk", content=lines, headers={"Content-Type": "application/x-ndjson"}).json()
    assert (body["created"], body["failed"]) == (2, 1)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (rb'{"url": "https://a.example/", "note": "a\u0000b"}', "NUL"),
        (b'{"url": "https://a.example/\xff"}', "UTF-8"),
        (b'{"url": "https://a.example/", "expires_at": "2100-01-01T00:00:00"}', "timezone"),
    ],
)
@pytest.mark.parametrize("frame", [b"[%b, %b]", b"%b\n%b\n"])
def test_bulk_reports_an_item_that_cannot_be_kept_and_goes_on(api, frame, item, said):
    body = frame % (item, b'{"url": "https://a.example/sound"}')
    answer = api.post("/v1/links/bulk", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    bad, good = answer.json()["results"]
    assert said in bad["error"]["detail"]
    assert "code" in good


def test_bulk_refuses_a_body_without_end(api):
    deep = b"[" * 100_000 + b"]" * 100_000
    answer = api.post("/v1/links/bulk", content=deep, headers={"Content-Type": "application/json"})
    problem(answer, 400, "malformed_request")


def test_bulk_refuses_more_than_it_promises_and_less_than_one(api):
    many = api.post("/v1/links/bulk", json=[{"url": "https://a.example/"}] * 10_001)
    problem(many, 422, "invalid_input")
    problem(api.post("/v1/links/bulk", json=[]), 422, "invalid_input")
    problem(
        api.post("/v1/links/bulk", content=b"[1,", headers={"Content-Type": "application/json"}),
        400,
        "malformed_request",
    )


def test_a_qr_code_is_a_picture(api, word):
    make(api, alias=word)
    svg = api.get(f"/v1/links/{word}/qr.svg")
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert svg.text.startswith("<svg")
    png = api.get(f"/v1/links/{word}/qr.png", params={"scale": 4})
    assert png.headers["content-type"] == "image/png"
    assert png.content.startswith(b"\x89PNG")


def test_a_blocked_host_is_refused_and_can_be_unblocked(tenant, word):
    host = f"{word}.example"
    assert tenant.post("/v1/links/blocked", json={"host": host}).status_code == 201
    assert tenant.get("/v1/links/blocked").json()["items"] == [host]
    problem(
        tenant.post("/v1/links", json={"url": f"https://sub.{host}/"}), 422, "links.target_refused", "url"
    )
    assert tenant.delete(f"/v1/links/blocked/{host}").status_code == 204
    make(tenant, url=f"https://sub.{host}/")


def test_two_tenants_never_meet(api, tenant, word):
    mine = make(api, alias=word, tags=[word])
    assert tenant.get("/v1/links", params={"tag": word}).json()["items"] == []
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("GET", "/stats"),
        ("GET", "/qr.svg"),
    ):
        problem(tenant.request(method, f"/v1/links/{word}{path}"), 404, "links.not_found")
    problem(tenant.patch(f"/v1/links/{word}", json={"url": "https://evil.example/"}), 404, "links.not_found")
    url = f"https://{word}.example/"
    assert make(api, url=url, dedupe=True)["code"] != make(tenant, url=url, dedupe=True)["code"]
    assert api.get(f"/v1/links/{word}").json() == mine
    assert tenant.get("/v1/links/stats").json()["links"] == 1


def test_own_domains_have_their_own_codes_and_case_rules(api, tenant, visitor, word):
    host = f"{word}.example"
    assert tenant.post("/v1/links/domains", json={"host": host, "ignore_case": True}).status_code == 201
    problem(api.post("/v1/links/domains", json={"host": host}), 409, "links.domain_taken", "host")
    problem(
        api.post("/v1/links", json={"url": "https://a.example/", "domain": host}),
        422,
        "links.domain_refused",
        "domain",
    )
    link = tenant.post(
        "/v1/links", json={"url": "https://a.example/", "alias": "Sale", "domain": host}
    ).json()
    assert link["short_url"] == f"http://{host}/Sale"
    clash = tenant.post("/v1/links", json={"url": "https://b.example/", "alias": "SALE", "domain": host})
    problem(clash, 409, "links.alias_taken")
    for _ in range(2):
        for code in ("Sale", "sale", "SALE"):
            assert visitor.get(f"/{code}", headers={"Host": host}).headers["location"] == "https://a.example/"
    assert visitor.get("/Sale").status_code == 404
    generated = tenant.post("/v1/links", json={"url": "https://c.example/", "domain": host}).json()["code"]
    assert generated == generated.lower()


def test_without_a_key_nothing_is_told(server, api):
    import httpx2

    for path in ("/v1/links", "/v1/links/stats", "/v1/keys"):
        problem(httpx2.get(server.url + path), 401, "unauthenticated")
        problem(
            httpx2.get(server.url + path, headers={"Authorization": "Bearer tf_x_y"}), 401, "unauthenticated"
        )
    narrow = api.post("/v1/keys", json={"name": "reader", "scopes": ["links:read"]}).json()["key"]
    headers = {"Authorization": f"Bearer {narrow}"}
    assert httpx2.get(f"{server.url}/v1/links", headers=headers).status_code == 200
    problem(
        httpx2.post(f"{server.url}/v1/links", headers=headers, json={"url": "https://a/"}), 403, "forbidden"
    )


def test_ids_are_unique_ordered_and_can_be_read(api):
    ids = api.post("/v1/ids", params={"count": 4096}).json()["ids"]
    assert len(set(ids)) == 4096
    assert sorted(ids, key=int) == ids
    parts = api.get(f"/v1/ids/{ids[0]}").json()
    assert datetime.fromisoformat(parts["timestamp"]) <= datetime.now(UTC)
    for bad in ("abc", "-1", "99999999999999999999"):
        assert 400 <= api.get(f"/v1/ids/{bad}").status_code < 500
    assert api.post("/v1/ids", params={"count": 4097}).status_code == 422
