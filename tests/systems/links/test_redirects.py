"""Following links: what a visitor gets, on every path."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import pytest


def make(api, **fields):
    answer = api.post("/v1/links", json={"url": "https://example.com/"} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def raw(server, *requests):
    """Bytes out, bytes in, on one connection, until the server has answered them all."""
    place = urlsplit(server.url)
    answers = []
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        for request in requests:
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
            answers.append(answer)
    return answers


def test_a_link_redirects_to_the_same_place_from_every_path(api, visitor, word):
    make(api, alias=word, url="https://example.com/a?b=c#d")
    for _ in range(3):  # database, near-cache, fast lane
        answer = visitor.get(f"/{word}")
        assert answer.status_code == 302
        assert answer.headers["location"] == "https://example.com/a?b=c#d"
        assert answer.headers["cache-control"] == "private, max-age=0"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_both_paths_send_the_same_bytes(api, server, word, status):
    make(api, alias=word, redirect=status)
    host = urlsplit(server.url).netloc.encode()
    hot = b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (word.encode(), host)
    # An absolute-form target is never the lane's.
    ordinary = b"GET http://%b/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, word.encode(), host)
    answers = raw(server, hot, hot, ordinary, hot)
    assert len(set(answers)) == 1
    assert answers[0].startswith(b"HTTP/1.1 %d " % status)


def test_head_redirects_and_is_not_counted(api, visitor, word):
    make(api, alias=word, max_clicks=1)
    for _ in range(3):
        assert visitor.head(f"/{word}").status_code == 302
    assert visitor.get(f"/{word}").status_code == 302
    assert visitor.get(f"/{word}").status_code == 410


def test_unknown_codes_are_404_and_a_creation_beats_the_memory_of_it(api, visitor, word):
    for _ in range(3):
        answer = visitor.get(f"/{word}")
        assert answer.status_code == 404
        assert answer.json()["code"] == "links.not_found"
    make(api, alias=word)
    assert visitor.get(f"/{word}").status_code == 302


@pytest.mark.parametrize(
    "path", ["/a/b/c", "/%00", "/%ff", "/%2e%2e", "/..%2f..", "/" + "x" * 200, "/w%C3%A4", "/code+/raw"]
)
def test_odd_paths_are_not_found_and_never_an_error_of_ours(visitor, path):
    assert visitor.get(path).status_code in (400, 404)


def test_an_edit_and_a_delete_are_seen_at_once(api, visitor, word):
    make(api, alias=word)
    for _ in range(3):
        visitor.get(f"/{word}")
    api.patch(f"/v1/links/{word}", json={"url": "https://new.example/"}).raise_for_status()
    assert visitor.get(f"/{word}").headers["location"] == "https://new.example/"
    api.patch(f"/v1/links/{word}", json={"disabled": True}).raise_for_status()
    assert visitor.get(f"/{word}").status_code == 410
    api.patch(f"/v1/links/{word}", json={"disabled": False}).raise_for_status()
    assert visitor.get(f"/{word}").status_code == 302
    api.delete(f"/v1/links/{word}").raise_for_status()
    gone = visitor.get(f"/{word}")
    assert gone.status_code == 410
    assert gone.json()["code"] == "links.gone"
    assert gone.json()["state"] == "deleted"


def test_an_expired_link_is_gone_to_the_millisecond(api, visitor, word):
    end = datetime.now(UTC) + timedelta(milliseconds=700)
    make(api, alias=word, expires_at=end.isoformat())
    answered = []
    while datetime.now(UTC) < end + timedelta(milliseconds=200):
        asked = datetime.now(UTC)
        status = visitor.get(f"/{word}").status_code
        answered.append((asked, datetime.now(UTC), status))
    exact = end.replace(microsecond=end.microsecond // 1000 * 1000)
    assert all(status == 302 for _, done, status in answered if done < exact)
    assert all(status == 410 for asked, _, status in answered if asked >= exact)
    assert {status for _, _, status in answered} == {302, 410}


async def test_a_click_limit_holds_under_a_thousand_parallel_requests(api, server, word):
    make(api, alias=word, max_clicks=50)
    limits = httpx2.Limits(max_connections=100)
    async with httpx2.AsyncClient(base_url=server.url, timeout=60, limits=limits) as visitors:
        answers = await asyncio.gather(*(visitors.get(f"/{word}") for _ in range(1000)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(302) == 50
    assert statuses.count(410) == 950
    assert api.get(f"/v1/links/{word}").json()["clicks_left"] == 0
    raised = api.patch(f"/v1/links/{word}", json={"max_clicks": 51})
    assert raised.json()["state"] == "active"


async def test_one_alias_is_given_to_one_of_a_thousand(server, word):
    async with httpx2.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as clients:
        body = {"url": "https://example.com/", "alias": word}
        answers = await asyncio.gather(*(clients.post("/v1/links", json=body) for _ in range(1000)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert statuses.count(409) == 999


async def test_one_address_gets_one_code_however_many_ask(server, word):
    async with httpx2.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as clients:
        body = {"url": f"https://{word}.example/", "dedupe": True}
        answers = await asyncio.gather(*(clients.post("/v1/links", json=body) for _ in range(200)))
    assert len({answer.json()["code"] for answer in answers}) == 1
    assert [answer.status_code for answer in answers].count(201) == 1


def test_a_password_opens_a_link_and_is_never_passed_on(api, visitor, word):
    make(api, alias=word, password="open sesame", url="https://secret.example/")
    for _ in range(3):
        form = visitor.get(f"/{word}")
        assert form.status_code == 401
        assert "secret.example" not in form.text
        assert "location" not in form.headers
    wrong = visitor.post(f"/{word}", data={"password": "no"})
    assert wrong.status_code == 403
    opened = visitor.post(f"/{word}", data={"password": "open sesame"})
    assert opened.status_code == 303
    assert opened.headers["location"] == "https://secret.example/"
    assert "secret.example" not in visitor.get(f"/{word}+").text


def test_passwords_cannot_be_tried_without_end(api, visitor, word):
    make(api, alias=word, password="x")
    statuses = [visitor.post(f"/{word}", data={"password": str(number)}).status_code for number in range(12)]
    assert statuses[:10] == [403] * 10
    assert statuses[10:] == [429] * 2


def test_rules_send_visitors_apart(api, visitor, word):
    rules = [
        {"when": {"device": ["mobile"]}, "targets": [{"url": "https://m.example/"}]},
        {"when": {"language": ["de"]}, "targets": [{"url": "https://de.example/"}]},
        {"when": {"query": {"ref": "x"}}, "targets": [{"url": "https://ref.example/"}]},
    ]
    make(api, alias=word, url="https://default.example/", rules=rules)
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148"
    for _ in range(2):
        assert visitor.get(f"/{word}").headers["location"] == "https://default.example/"
        assert (
            visitor.get(f"/{word}", headers={"User-Agent": phone}).headers["location"] == "https://m.example/"
        )
        assert (
            visitor.get(f"/{word}", headers={"Accept-Language": "de-AT"}).headers["location"]
            == "https://de.example/"
        )
        assert visitor.get(f"/{word}?ref=x").headers["location"] == "https://ref.example/?ref=x"


def test_a_visitors_query_travels_with_the_redirect(api, visitor, word):
    make(api, alias=word, url="https://example.com/?a=1#f")
    for _ in range(2):
        assert (
            visitor.get(f"/{word}?utm_source=x").headers["location"]
            == "https://example.com/?a=1&utm_source=x#f"
        )


def test_the_page_behind_a_plus_shows_where_a_link_leads(api, visitor, word):
    make(api, alias=word, url="https://example.com/<script>")
    shown = visitor.get(f"/{word}+", headers={"Accept": "text/html"})
    assert shown.status_code == 200
    assert "https://example.com/%3Cscript%3E" in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert visitor.get(f"/{word}+").json()["url"] == "https://example.com/%3Cscript%3E"


def test_a_report_reaches_the_owner(tenant, visitor, word):
    make(tenant, alias=word)
    assert visitor.post(f"/{word}/report", data={"reason": "it is spam"}).status_code == 202
    assert visitor.post(f"/{word}/report", data={"reason": ""}).status_code == 422
    assert [
        (report["code"], report["reason"]) for report in tenant.get("/v1/links/reports").json()["items"]
    ] == [(word, "it is spam")]


def test_a_paste_is_shown_as_text_and_burns_for_exactly_one_reader(api, visitor):
    made = api.post("/v1/pastes", json={"text": "<b>bold</b> \u2603", "syntax": "html"}).json()
    page = visitor.get(f"/{made['code']}")
    assert "&lt;b&gt;bold&lt;/b&gt; \u2603" in page.text
    raw_view = visitor.get(f"/{made['code']}/raw")
    assert raw_view.text == "<b>bold</b> \u2603"
    assert raw_view.headers["content-type"].startswith("text/plain")
    assert raw_view.headers["x-content-type-options"] == "nosniff"

    burning = api.post("/v1/pastes", json={"text": "once", "burn_after_reading": True}).json()
    assert visitor.head(f"/{burning['code']}").status_code == 200
    assert visitor.get(f"/{burning['code']}/raw").text == "once"
    assert visitor.get(f"/{burning['code']}/raw").status_code == 410
    too_large = api.post("/v1/pastes", json={"text": "x" * 1_000_001})
    assert too_large.status_code in (413, 422)


async def test_a_burning_paste_has_one_reader_of_many(api, server):
    made = api.post("/v1/pastes", json={"text": "once", "burn_after_reading": True}).json()
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as readers:
        answers = await asyncio.gather(*(readers.get(f"/{made['code']}/raw") for _ in range(50)))
    assert [answer.status_code for answer in answers].count(200) == 1
