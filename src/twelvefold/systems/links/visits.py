r"""What a request's head says about a visit: country, referrer, device, browser, language, person or program.

Invariant: any bytes give a Visit, never an error; and nothing in it names a person: the address is used for
the country and for a keyed hash (see `click_enrichment`), and is not kept. Pure but for the country database,
a read-only file mapped into memory. What repeats is remembered in bounded caches: header lines, User-Agents,
addresses.
"""

import hashlib
import re
from array import array
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import can_ada
import maxminddb
import msgspec

from twelvefold.kernel.addresses import normal_address
from twelvefold.systems.links.user_agents import Agent, Device, read_agent

CACHED_LINES = 32_768
"""Header lines that are remembered; at most `MAX_CACHED_LINE_BYTES` long, so below 30 MB whatever is sent."""

MAX_CACHED_LINE_BYTES = 400
CACHED_ADDRESSES = 65_536
MAX_HOST_CHARACTERS = 253
MAX_QUERY_PARAMETERS = 32


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One visit. Text is empty where unknown; `country` is ISO 3166 alpha-2, `language` ISO 639.

    `bot` is any program, `preview` one that fetches for a person who has not clicked (link previews,
    prefetch); both are left out of counts by default.
    """

    country: str
    referrer: str
    device: Device
    browser: str
    os: str
    language: str
    bot: bool
    preview: bool
    query: dict[str, str]


class Countries:
    """Countries by address, from a MaxMind-format file with `{"country_code": "DE"}` records.

    A missing or broken file gives "" for every address, and `finding` says what to do about it.
    """

    def __init__(self, path: Path) -> None:
        self.finding: str | None = None
        self._reader: maxminddb.Reader | None = None
        try:
            self._reader = maxminddb.open_database(path)
        except FileNotFoundError:
            self.finding = (
                f"the country database {path} is missing, so clicks have no country; run `make console`"
            )
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            self.finding = f"the country database {path} cannot be read ({error}); run `make console` again"

    def of(self, address: str) -> str:
        """The country of an address in normal form; "" where unknown or not an address."""
        if self._reader is None or not address:
            return ""
        try:
            record = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return ""
        return str(record.get("country_code", "")) if isinstance(record, dict) else ""


class VisitReader:
    """Reads visits.

    Args:
        countries: where addresses are looked up.
        trusted_hops: how many proxies of ours stand before us; that many entries of X-Forwarded-For, from the
            right, were written by them. 0: the header is anybody's word and is ignored.
    """

    def __init__(self, countries: Countries, *, trusted_hops: int = 0) -> None:
        self.lines = HeaderLines()
        self.addresses = Addresses(countries)
        self.trusted_hops = trusted_hops

    def read(self, client: str, tail: bytes, query: bytes = b"") -> Visit:
        """One visit. `tail` is the head after its target, `query` what follows the target's `?`."""
        self.make_room()
        lines = tail.split(b"\n")
        said: dict[Kind, Any] = {}
        for number in filter(None, map(self.lines.__getitem__, lines)):
            kind, value = self.lines.said[number]
            said.setdefault(kind, value)
        agent: Agent = said.get(Kind.AGENT) or read_agent("")
        if self.trusted_hops and Kind.FORWARDED in said:
            forwarded = [line.partition(b":")[2] for line in lines if self.lines[line] == Kind.FORWARDED]
            client = client_address(client, b",".join(forwarded), self.trusted_hops)
        return Visit(
            country=self.addresses.country(client),
            referrer=said.get(Kind.REFERRER, ""),
            device=agent.device,
            browser=agent.browser,
            os=agent.os,
            language=said.get(Kind.LANGUAGE, ""),
            bot=agent.bot,
            preview=agent.preview or Kind.PREVIEW in said,
            query=read_query(query),
        )

    def make_room(self) -> None:
        """Forget header lines and addresses when there are too many; their numbers are valid until then."""
        self.lines.make_room()
        self.addresses.make_room()


class Addresses(dict[str, int]):
    """Addresses as text, by number: `country_codes[number]` indexes `countries`; two words of `digests` each.

    What is frequent is looked up without entering Python (see `HeaderLines`). The tables are flat arrays, so
    that a column of addresses becomes columns of countries and digests in one step.
    """

    def __init__(self, countries: Countries) -> None:
        super().__init__()
        self._source = countries
        self._start()

    def make_room(self) -> None:
        """Begin anew when full."""
        if len(self) >= CACHED_ADDRESSES:
            self._start()

    def _start(self) -> None:
        self.clear()
        self.countries: list[str] = []
        self._code_of: dict[str, int] = {}
        self.country_codes = array("i")
        self.digests = array("Q")

    def country(self, text: str) -> str:
        """The country of one address."""
        number = self[text]
        return self.countries[self.country_codes[number]]

    def __missing__(self, text: str) -> int:
        address = normal_address(text)
        country = self._source.of(address)
        code = self._code_of.setdefault(country, len(self.countries))
        if code == len(self.countries):
            self.countries.append(country)
        self.country_codes.append(code)
        self.digests.frombytes(hashlib.blake2b(address.encode(), digest_size=16).digest())
        self[text] = len(self.country_codes) - 1
        return len(self.country_codes) - 1


class Kind(IntEnum):
    """What a header line speaks of."""

    NOTHING = 0
    FORWARDED = 1
    PREVIEW = 2
    AGENT = 3
    REFERRER = 4
    LANGUAGE = 5


class HeaderLines(dict[bytes, int]):
    r"""Header lines by number; `said[number]` is `(kind, value)`, and number 0 is a line that says nothing.

    Lines repeat far more than heads do. A dict with `__missing__`, so that `map(lines.__getitem__, …)` reads
    known lines without entering Python. Numbers are valid until `make_room`. A line may keep its `\r`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Kind, Any]] = []
        self._start()

    def make_room(self) -> None:
        """Begin anew when full; what is frequent is back within one batch."""
        if len(self) >= CACHED_LINES or len(self.said) >= CACHED_LINES:
            self._start()

    def _start(self) -> None:
        self.clear()
        self.said[:] = [(Kind.NOTHING, None), (Kind.FORWARDED, None), (Kind.PREVIEW, None)]

    def __missing__(self, line: bytes) -> int:
        raw_name, _, raw_value = line.partition(b":")
        name = raw_name.lower()
        number = self._number(name, raw_value.strip().decode("latin-1"))
        if name not in _NEVER_TWICE and len(line) <= MAX_CACHED_LINE_BYTES:
            self[line] = number
        return number

    def _number(self, name: bytes, value: str) -> int:
        if name == b"user-agent":
            said: tuple[Kind, Any] = (Kind.AGENT, read_agent(value))
        elif name == b"referer":
            said = (Kind.REFERRER, read_referrer(value))
        elif name == b"accept-language":
            said = (Kind.LANGUAGE, read_language(value))
        elif name == b"x-forwarded-for":
            return Kind.FORWARDED
        elif name in _PREVIEW_HEADERS and any(word in value.lower() for word in _PREVIEW_WORDS):
            return Kind.PREVIEW
        else:
            return Kind.NOTHING
        self.said.append(said)
        return len(self.said) - 1


_PREVIEW_HEADERS = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
_PREVIEW_WORDS = ("prefetch", "prerender", "preview")

_NEVER_TWICE = {
    *(b"cookie", b"authorization", b"x-forwarded-for", b"forwarded", b"x-real-ip", b"true-client-ip"),
    *(b"cf-connecting-ip", b"cf-ray", b"x-request-id", b"x-amzn-trace-id", b"traceparent", b"tracestate"),
    *(b"if-none-match", b"if-modified-since", b"range", b"date"),
}
"""Lines that differ from visitor to visitor; remembering them would push out those that do not."""


_APP = re.compile(r"(?:android-app|ios-app)://([a-z0-9][a-z0-9._-]*)", re.IGNORECASE)


def read_referrer(referer: str) -> str:
    """The host that a Referer names: lower case, punycode, without `www.`; the package of an app; else ""."""
    if not referer:
        return ""
    if app := _APP.match(referer):
        return app[1].lower()[:MAX_HOST_CHARACTERS]
    try:
        url = can_ada.parse(referer)
    except ValueError:
        return ""
    host = str(url.hostname).rstrip(".")
    if url.protocol not in ("http:", "https:") or len(host) > MAX_HOST_CHARACTERS:
        return ""
    return host.removeprefix("www.")


_CHOICE = re.compile(r"\s*([A-Za-z]{2,3})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*")


def read_language(accept_language: str) -> str:
    """The language that is liked best (the first of equals), without its region: `de-AT;q=0.9` is `de`."""
    best, best_weight = "", 0.0
    for choice in accept_language[:256].split(","):
        found = _CHOICE.fullmatch(choice)
        weight = float(found[2] or 1) if found else 0.0
        if found and weight > best_weight:
            best, best_weight = found[1].lower(), weight
    return best


def read_query(query: bytes) -> dict[str, str]:
    """A query's parameters, the first of each name; a bounded number of them."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
    except ValueError:
        return {}
    parameters: dict[str, str] = {}
    for name, value in pairs[:MAX_QUERY_PARAMETERS]:
        parameters.setdefault(name, value)
    return parameters


def client_address(peer: str, forwarded: bytes, trusted_hops: int) -> str:
    """The address that the outermost trusted proxy saw.

    `forwarded` is X-Forwarded-For; several of them, from top to bottom, mean the same as one with commas. The
    peer is the innermost proxy; each entry from the right was written by the proxy before it. With fewer
    entries than proxies, the leftmost is taken: it was still written by one of ours.
    """
    if trusted_hops <= 0:
        return peer
    entries = forwarded.rsplit(b",", trusted_hops)
    return entries[max(0, len(entries) - trusted_hops)].strip().decode("latin-1")
