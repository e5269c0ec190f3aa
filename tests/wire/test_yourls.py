"""PyPI's `yourls`, unchanged, against `/yourls-api.php`."""

import hashlib
import secrets
import time
import xml.etree.ElementTree as ET

import httpx2
import pytest
from yourls import YOURLSClient
from yourls.exceptions import (
    YOURLSHTTPError,
    YOURLSKeywordExistsError,
    YOURLSNoLoopError,
    YOURLSURLExistsError,
)

pytestmark = pytest.mark.wire


@pytest.fixture
def word():
    return f"y{secrets.token_hex(6)}"


@pytest.fixture
def address(server):
    return f"{server.url}/yourls-api.php"


@pytest.fixture
def client(server, address):
    return YOURLSClient(address, signature=server.api_key)


def test_it_shortens_expands_and_reads_statistics(client, server, word):
    made = client.shorten(f"https://{word}.example/", keyword=word, title="A title")
    assert made.shorturl == f"{server.url}/{word}"
    assert made.keyword == word
    assert made.title == "A title"
    assert client.expand(word) == f"https://{word}.example/"
    assert client.expand(made.shorturl) == f"https://{word}.example/"
    found = client.url_stats(word)
    assert found.url == f"https://{word}.example/"
    assert found.clicks == 0


def test_it_lists_links_and_totals(client, word):
    client.shorten(f"https://{word}.example/", keyword=word)
    for order in ("top", "bottom", "rand", "last"):
        links, totals = client.stats(filter=order, limit=1)
        assert len(links) == 1
        assert totals.total_links >= 1
    assert client.stats(filter="last", limit=1)[0][0].shorturl.endswith(word)
    assert client.db_stats().total_links >= 1


def test_its_errors_are_the_ones_it_knows(client, server, word):
    url = f"https://{word}.example/"
    client.shorten(url, keyword=word)
    with pytest.raises(YOURLSKeywordExistsError):
        client.shorten("https://other.example/", keyword=word)
    first = client.shorten(f"{url}again")
    with pytest.raises(YOURLSURLExistsError) as exists:
        client.shorten(f"{url}again")
    assert exists.value.url.shorturl == first.shorturl
    with pytest.raises(YOURLSNoLoopError):
        client.shorten(f"{server.url}/{word}")
    with pytest.raises(YOURLSHTTPError):
        client.expand("nothing-here")


def test_a_user_name_and_the_key_as_password_work_too(server, address, word):
    client = YOURLSClient(address, username="anybody", password=server.api_key)
    assert client.shorten(f"https://{word}.example/").shorturl.startswith(server.url)


def test_without_a_good_key_nothing_is_told(address):
    for client in (YOURLSClient(address), YOURLSClient(address, signature="tf_wrong_wrong")):
        with pytest.raises(YOURLSHTTPError):
            client.db_stats()


def test_a_timed_signature_is_good_for_its_time(server, address):
    answer = httpx2.post(f"{server.url}/v1/links/yourls-signature", headers=server.headers).json()
    now = str(int(time.time()))
    old = str(int(time.time()) - 50_000)

    def ask(timestamp, signature):
        params = {"action": "db-stats", "format": "json", "timestamp": timestamp, "signature": signature}
        return httpx2.get(address, params=params).status_code

    def sign(timestamp):
        return hashlib.md5((timestamp + answer["signature"]).encode()).hexdigest()

    assert ask(now, sign(now)) == 200
    assert ask(old, sign(old)) == 403
    assert ask(now, sign(old)) == 403
    assert ask("soon", sign("soon")) == 403


def test_all_formats_say_the_same(server, address, word):
    params = {
        "action": "shorturl",
        "url": f"https://{word}.example/",
        "keyword": word,
        "signature": server.api_key,
    }
    assert httpx2.get(address, params=params | {"format": "simple"}).text == f"{server.url}/{word}"
    expand = {"action": "expand", "shorturl": word, "signature": server.api_key}
    assert (
        httpx2.get(address, params=expand | {"format": "json"}).json()["longurl"]
        == f"https://{word}.example/"
    )
    xml = ET.fromstring(httpx2.get(address, params=expand).text)
    assert xml.findtext("longurl") == f"https://{word}.example/"
    jsonp = httpx2.get(address, params=expand | {"format": "jsonp", "callback": "alert(1);f"})
    assert jsonp.text.startswith("alert1f(")
    assert httpx2.get(address, params={"action": "bogus", "format": "json"}).status_code == 400
