"""Clicks: counted once, grouped, told live, and never with an address."""

import contextlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from websockets.sync.client import connect

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"
DEADLINE_SECONDS = 10.0


def make(api, **fields):
    answer = api.post("/v1/links", json={"url": "https://example.com/"} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def until(ask, wanted):
    """The first answer that is wanted, or the last one within the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        answer = ask()
        if wanted(answer) or time.monotonic() > deadline:
            return answer


def stats(api, code, **params):
    return api.get(f"/v1/links/{code}/stats", params=params).raise_for_status().json()


def test_clicks_are_counted_by_people_and_apart_from_programs(api, visitor, word):
    make(api, alias=word)
    for _ in range(5):
        visitor.get(f"/{word}")
    visitor.get(f"/{word}", headers={"User-Agent": PHONE, "Referer": "https://news.example/item?id=1"})
    visitor.get(f"/{word}", headers={"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"})
    visitor.get(
        f"/{word}", headers={"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}
    )
    visitor.get(f"/{word}", headers={"Sec-Purpose": "prefetch"})
    visitor.head(f"/{word}")
    # Counts come first, and the facts that visitors are counted from a moment later.
    found = until(
        lambda: stats(api, word),
        lambda it: it["totals"]["bots"] == 3 and it["totals"]["unique_visitors"] == 2,
    )
    assert found["totals"] == {"clicks": 6, "unique_visitors": 2, "bots": 3}
    assert api.get(f"/v1/links/{word}").json()["clicks"] == 6


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("device", {"desktop": 2, "mobile": 1}),
        ("browser", {"Firefox": 2, "Safari": 1}),
        ("os", {"Linux": 2, "iOS": 1}),
        ("referrer", {"": 2, "news.example": 1}),
    ],
)
def test_clicks_are_grouped(api, visitor, word, group, expected):
    make(api, alias=word)
    visitor.get(f"/{word}")
    visitor.get(f"/{word}")
    visitor.get(f"/{word}", headers={"User-Agent": PHONE, "Referer": "https://news.example/item"})
    found = until(
        lambda: stats(api, word, group=group), lambda it: sum(each["clicks"] for each in it["groups"]) == 3
    )
    assert {each["value"]: each["clicks"] for each in found["groups"]} == expected


def test_a_series_has_every_step_and_adds_up(api, visitor, word):
    make(api, alias=word)
    visitor.get(f"/{word}")
    until(lambda: stats(api, word), lambda it: it["totals"]["clicks"] == 1)
    now = datetime.now(UTC)
    hourly = stats(api, word, interval="hour", **{"from": (now - timedelta(hours=23)).isoformat()})
    assert len(hourly["series"]) == 24
    assert sum(step["clicks"] for step in hourly["series"]) == 1
    daily = stats(api, word)
    assert len(daily["series"]) in (30, 31)
    assert sum(step["clicks"] for step in daily["series"]) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00Z"},
        {"from": "yesterday"},
        {"interval": "minute"},
        {"group": "password_hash"},
    ],
)
def test_a_span_that_makes_no_sense_is_refused(api, word, params):
    make(api, alias=word)
    answer = api.get(f"/v1/links/{word}/stats", params=params)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] in params


@contextlib.contextmanager
def listening(api, code):
    """Events of a link, as they come, in a list; and a condition that is told of each."""
    events, arrived, began = [], threading.Condition(), threading.Event()

    def listen():
        with contextlib.suppress(httpx2.HTTPError), api.stream("GET", f"/v1/links/{code}/live") as stream:
            for line in stream.iter_lines():
                began.set()
                if line.startswith("data: "):
                    with arrived:
                        events.append(json.loads(line.removeprefix("data: ")))
                        arrived.notify()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert began.wait(DEADLINE_SECONDS)
    yield events, arrived
    api.close()  # which ends the stream, and the thread with it
    thread.join(DEADLINE_SECONDS)


def test_a_click_is_told_live_as_an_event(api, visitor, server, word):
    make(api, alias=word)
    watcher = httpx2.Client(base_url=server.url, headers=server.headers, timeout=30)
    with listening(watcher, word) as (events, arrived):

        def told():
            visitor.get(f"/{word}", headers={"User-Agent": PHONE, "Referer": "https://news.example/"})
            with arrived:
                return arrived.wait_for(lambda: bool(events), timeout=1)

        until(told, bool)  # the watch itself takes a moment to reach the worker
        assert events
        click = events[0]["clicks"][0]
        assert (click["device"], click["browser"], click["referrer"]) == (
            "mobile",
            "Safari",
            "news.example",
        )
        assert events[0]["counted"] >= 1
        assert "127.0.0.1" not in json.dumps(events)


def test_a_click_is_told_live_over_a_websocket(api, visitor, server, word):
    make(api, alias=word)
    url = f"{server.url.replace('http', 'ws')}/v1/links/{word}/live"
    with connect(url, additional_headers=server.headers) as socket:

        def told():
            visitor.get(f"/{word}")
            try:
                return json.loads(socket.recv(timeout=1))
            except TimeoutError:
                return None

        news = until(told, bool)
        assert news["clicks"][0]["browser"] == "Firefox"


def test_live_clicks_of_another_tenant_are_not_told(api, tenant, server, word):
    make(api, alias=word)
    assert tenant.get(f"/v1/links/{word}/live").status_code == 404


def test_a_tenants_totals_add_up(tenant, visitor, word):
    make(tenant, alias=word)
    visitor.get(f"/{word}")
    found = until(lambda: tenant.get("/v1/links/stats").json(), lambda it: it["clicks"] == 1)
    assert found == {"links": 1, "clicks": 1, "clicks_today": 1, "top": [{"code": word, "clicks": 1}]}
