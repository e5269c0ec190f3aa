"""What a head says about a visit, from bytes of every kind."""

import shutil
from pathlib import Path

import crawleruseragents
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.systems.links import visits
from twelvefold.systems.links.user_agents import read_agent
from twelvefold.systems.links.visits import (
    Countries,
    VisitReader,
    client_address,
    read_language,
    read_query,
    read_referrer,
)

DATABASE = Path(visits.__file__).parent / "data" / "country.mmdb"
needs_countries = pytest.mark.skipif(
    not DATABASE.exists(), reason="the country database is not there: run `make console`"
)

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.1 Mobile/15E148 Safari/604.1"
)
ANDROID = "Mozilla/5.0 (Linux; Android 14; {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 {}"
MOBILE, LARGE = "Mobile Safari/537.36", "Safari/537.36"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "

CHROMEBOOK = WINDOWS.replace("Windows NT 10.0; Win64; x64", "X11; CrOS x86_64 14541.0.0") + "Chrome/119.0.0.0"
TELEVISION = (
    WINDOWS.replace("Windows NT 10.0; Win64; x64", "SMART-TV; Linux; Tizen 6.0") + "85.0 TV Safari/537.36"
)


def head(*lines):
    return b"".join([b" HTTP/1.1\r\nHost: example.com\r\n", *(line + b"\r\n" for line in lines), b"\r\n"])


def agent_line(text):
    return b"User-Agent: " + text.encode()


@pytest.fixture
def reader(tmp_path):
    return VisitReader(Countries(tmp_path / "none.mmdb"))


# User-Agents.


@pytest.mark.parametrize(
    ("text", "browser", "os", "device"),
    [
        (IPHONE, "Safari", "iOS", "mobile"),
        (IPHONE.replace("iPhone;", "iPad;").replace("iPhone OS", "OS"), "Safari", "iOS", "tablet"),
        (IPHONE + " Instagram 300.0.0.0 (iPhone14,5; iOS 17_0)", "Instagram", "iOS", "mobile"),
        (ANDROID.format("SM-S911B", MOBILE), "Chrome", "Android", "mobile"),
        (ANDROID.format("SM-X700", LARGE), "Chrome", "Android", "tablet"),
        (ANDROID.format("BRAVIA 4K UR2", LARGE), "Chrome", "Android", "other"),
        (ANDROID.format("CUBOT X30", MOBILE), "Chrome", "Android", "mobile"),
        (WINDOWS + "Chrome/119.0.0.0 Safari/537.36", "Chrome", "Windows", "desktop"),
        (WINDOWS + "Chrome/119.0.0.0 Safari/537.36 Edg/119.0.0.0", "Edge", "Windows", "desktop"),
        (MAC + "Version/17.0 Safari/605.1.15", "Safari", "macOS", "desktop"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/119.0",
            "Firefox",
            "Linux",
            "desktop",
        ),
        (CHROMEBOOK, "Chrome", "ChromeOS", "desktop"),
        (TELEVISION, "Safari", "Tizen", "other"),
    ],
)
def test_browsers_are_named_alike_on_all_devices(text, browser, os, device):
    agent = read_agent(text)
    assert (agent.browser, agent.os, agent.device) == (browser, os, device)
    assert not agent.bot
    assert not agent.preview


@pytest.mark.parametrize(
    "text",
    [
        ANDROID.format("CUBOT", MOBILE),
        ANDROID.format("CUBOT_NOTE_S", MOBILE),
        ANDROID.format("cubot power", MOBILE),
        "Cubot/1.0 (Linux; Android 9)",
        ANDROID.format("Pixel 10 Pro XL Build/CP1A.260305.018; wv", MOBILE) + " MetaIAB Facebook",
        WINDOWS + "Chrome/119.0.0.0 Safari/537.36 OPR/105.0.0.0",
        MAC + "Version/17.0 Safari/605.1.15 (Ghostery:Abbott)",
    ],
)
def test_people_are_not_taken_for_programs(text):
    assert not read_agent(text).bot


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "curl/8.5.0", "python-requests/2.31.0", "Go-http-client/2.0", "Wget/1.21"),
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        WINDOWS + "HeadlessChrome/119.0.0.0 Safari/537.36",
        "SomethingNew-Bot/0.1",
        "newcrawler 1.0",
        "Mozilla/5.0 (compatible; a-bot; +https://nobody.example)",
        "fresh-thing/1 (+https://fresh.example)",
    ],
)
def test_programs_are_taken_for_programs(text):
    agent = read_agent(text)
    assert agent.bot
    assert not agent.preview


@pytest.mark.parametrize(
    "text",
    [
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "WhatsApp/2.23.20.0 A",
        "TelegramBot (like TwitterBot)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    ],
)
def test_link_previews_are_known_by_name(text):
    agent = read_agent(text)
    assert agent.bot
    assert agent.preview


def test_the_automaton_agrees_with_the_list_it_was_made_of():
    people = {"MetaIAB Facebook", "AP3A\\.240617\\.008"}
    for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA:
        for instance in entry["instances"]:
            if entry["pattern"] not in people:
                assert read_agent(instance).bot, instance


@settings(deadline=None)
@given(st.text(max_size=600))
def test_any_text_gives_an_agent(text):
    agent = read_agent(text)
    assert len(agent.browser) <= 40
    assert len(agent.digest) == 16


# Referrers, languages, queries.


@pytest.mark.parametrize(
    ("referer", "host"),
    [
        ("https://www.Example.com:8080/path?q=1#x", "example.com"),
        ("http://t.co/abc", "t.co"),
        ("https://user:secret@news.site./", "news.site"),
        ("https://münchen.de/", "xn--mnchen-3ya.de"),
        ("android-app://com.Google.android.gm/", "com.google.android.gm"),
        ("android-app://../x", ""),
        ("https://[2001:db8::1]:8080/", "[2001:db8::1]"),
        ("https://example.com\\@evil.com/", "example.com"),
        ("", ""),
        ("about:blank", ""),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("nonsense", ""),
        ("https://", ""),
        ("https://www./", "www"),
        ("https://" + "a" * 300 + ".com/", ""),
    ],
)
def test_a_referrer_is_its_host(referer, host):
    assert read_referrer(referer) == host


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en;q=0.5, fr;q=0.9", "fr"),
        ("fr;q=0.9,en;q=0.9", "fr"),
        ("zh-Hant-TW", "zh"),
        ("haw", "haw"),
        ("*", ""),
        ("*, nl;q=0.5", "nl"),
        ("de;q=0", ""),
        ("", ""),
        ("e", ""),
        ("x" * 300, ""),
        ("de;q=nonsense,it", "it"),
        ("DE-de", "de"),
    ],
)
def test_the_language_liked_best_is_taken_without_its_region(header, language):
    assert read_language(header) == language


def test_a_query_gives_the_first_value_of_a_bounded_number_of_names():
    assert read_query(b"ref=x&ref=y&e=&%C3%A4=%ff") == {"ref": "x", "e": "", "ä": "\N{REPLACEMENT CHARACTER}"}
    assert read_query(b"") == {}
    assert len(read_query(b"&".join(b"k%d=1" % n for n in range(500)))) == 32


# Addresses.


@pytest.mark.parametrize(
    ("forwarded", "hops", "client"),
    [
        (b"6.6.6.6, 1.1.1.1", 0, "10.0.0.1"),  # anybody's word
        (b"6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        (b"6.6.6.6, 1.1.1.1", 2, "6.6.6.6"),
        (b"6.6.6.6,9.9.9.9 ,1.1.1.1", 2, "9.9.9.9"),
        (b"1.1.1.1", 3, "1.1.1.1"),  # fewer entries than proxies
        (b" 1.1.1.1 ", 1, "1.1.1.1"),
        (b"", 1, ""),
    ],
)
def test_forwarded_addresses_are_believed_from_the_right(forwarded, hops, client):
    assert client_address("10.0.0.1", forwarded, hops) == client


def test_several_forwarded_headers_are_one(tmp_path):
    seen = []

    class Recording(Countries):
        def of(self, address):
            seen.append(address)
            return ""

    tail = head(b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 2.2.2.2", b"X-FORWARDED-FOR: 1.1.1.1")
    for hops in (0, 1, 2, 3, 4):
        VisitReader(Recording(tmp_path / "none"), trusted_hops=hops).read("::ffff:10.0.0.1", tail)
    assert seen == ["10.0.0.1", "1.1.1.1", "2.2.2.2", "6.6.6.6", "6.6.6.6"]


@needs_countries
@pytest.mark.parametrize(
    ("client", "country"),
    [
        ("8.8.8.8", "US"),
        ("::ffff:8.8.8.8", "US"),
        ("8.8.8.8:1234", "US"),
        ("2003::1", "DE"),
        ("127.0.0.1", ""),
        ("10.1.2.3", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_an_address_has_a_country(client, country):
    countries = Countries(DATABASE)
    assert countries.finding is None
    assert VisitReader(countries).read(client, head()).country == country


def test_a_missing_country_database_is_a_finding_and_no_error(tmp_path):
    countries = Countries(tmp_path / "country.mmdb")
    assert "is missing" in countries.finding
    assert VisitReader(countries).read("8.8.8.8", head()).country == ""


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_a_broken_country_database_is_a_finding_and_no_error(tmp_path, content):
    path = tmp_path / "country.mmdb"
    path.write_bytes(content)
    countries = Countries(path)
    assert "cannot be read" in countries.finding
    assert VisitReader(countries).read("8.8.8.8", head()).country == ""


@needs_countries
def test_a_damaged_country_database_gives_no_country_and_no_error(tmp_path):
    path = tmp_path / "country.mmdb"
    shutil.copy(DATABASE, path)
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff" * 500_000)
    reader = VisitReader(Countries(path))
    for first in range(1, 224):
        assert isinstance(reader.read(f"{first}.8.8.8", head()).country, str)


# Heads.


def test_a_head_gives_a_visit(reader):
    tail = head(
        agent_line(IPHONE),
        b"accept-LANGUAGE:fr-CA",
        b"Accept: text/html",
        b"Referer:   https://www.news.example/x  ",
        b"Cookie: a=b",
    )
    visit = reader.read("192.0.2.1", tail, b"ref=x")
    assert (visit.referrer, visit.device, visit.browser, visit.os) == (
        "news.example",
        "mobile",
        "Safari",
        "iOS",
    )
    assert (visit.language, visit.bot, visit.preview, visit.query) == ("fr", False, False, {"ref": "x"})
    assert reader.read("192.0.2.1", tail, b"ref=x") == visit


def test_the_first_of_two_equal_headers_counts(reader):
    tail = head(
        agent_line(IPHONE),
        b"User-Agent: curl/8",
        b"Referer: https://one.example",
        b"Referer: https://two.example",
    )
    visit = reader.read("", tail)
    assert (visit.browser, visit.referrer) == ("Safari", "one.example")


@pytest.mark.parametrize(
    ("line", "preview"),
    [
        (b"Sec-Purpose: prefetch;prerender", True),
        (b"Sec-Purpose: prefetch", True),
        (b"Purpose: prefetch", True),
        (b"X-Purpose: preview", True),
        (b"X-Moz: prefetch", True),
        (b"x-moz:prefetch", True),
        (b"PURPOSE: PREFETCH", True),
        (b"Sec-Purpose: ", False),
        (b"Purpose: buy", False),
        (b"X-Other-Purpose: prefetch", False),
        (b"Referer: https://prefetch.example/?purpose: prefetch", False),
    ],
)
def test_fetches_that_no_person_clicked_are_flagged(reader, line, preview):
    visit = reader.read("", head(agent_line(IPHONE), line))
    assert visit.preview is preview
    assert not visit.bot


def test_a_head_without_a_user_agent_is_a_program(reader):
    assert reader.read("192.0.2.1", head()).bot
    assert reader.read("192.0.2.1", b"").bot


@settings(deadline=None)
@given(st.text(max_size=50), st.binary(max_size=400), st.binary(max_size=100))
def test_any_bytes_give_a_visit(client, tail, query):
    reader = VisitReader(Countries(Path("/nonexistent")), trusted_hops=1)
    for content in (tail, head(b"User-Agent: " + tail, b"Referer: " + tail, b"X-Forwarded-For:" + tail)):
        assert reader.read(client, content, query).country == ""


def test_caches_are_bounded_whatever_is_sent(reader, monkeypatch):
    monkeypatch.setattr(visits, "CACHED_LINES", 50)
    monkeypatch.setattr(visits, "CACHED_ADDRESSES", 50)
    for n in range(400):
        tail = head(b"User-Agent: a%d" % n, b"X-Odd-%d: 1" % n, b"Referer: https://a%d.example" % n)
        visit = reader.read(f"10.0.{n // 256}.{n % 256}", tail)
        assert visit.referrer == f"a{n}.example"
        assert len(reader.lines) < 60
        assert len(reader.lines.said) < 60
        assert len(reader.addresses) < 60
        assert len(reader.addresses.digests) < 120


def test_lines_that_name_a_visitor_are_not_remembered(reader):
    reader.read("", head(b"Cookie: a=b", b"X-Forwarded-For: 1.1.1.1", b"Host: " + b"x" * 500))
    assert not [line for line in reader.lines if b"ookie" in line or b"1.1.1.1" in line or len(line) > 400]
