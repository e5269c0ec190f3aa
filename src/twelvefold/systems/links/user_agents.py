"""Who sent a request, by its User-Agent: browser, operating system, kind of device, person or program.

Invariant: the same text gives the same answer; every text gives one. Programs are named by the list of
crawler-user-agents and a few general words; both run in one Rust automaton (`ua_parser_rs`), which takes
2 µs where the list's own 1,500 Python expressions take 180. A CUBOT telephone is not a bot.
"""

import functools
import hashlib
import re
from operator import attrgetter
from typing import Any, Literal

import crawleruseragents
import msgspec
import ua_parser_rs
from ua_parser.loaders import load_lazy_builtins

Device = Literal["mobile", "tablet", "desktop", "other"]

MAX_USER_AGENT_CHARACTERS = 512
"""What is read of a User-Agent; browsers send 100 to 250."""

MAX_NAME_CHARACTERS = 40
CACHED_AGENTS = 16_384
"""A busy site sees some thousands of User-Agents; an entry takes about 1 kB."""

_PEOPLE = {"MetaIAB Facebook", "AP3A\\.240617\\.008"}
"""On the list of crawlers, but people: Facebook's in-app browser, and a build of Android 15."""

_PROGRAM_WORDS = (
    r"(?i)(?:^|[^a-z])(?:bot|robot|crawler|crawling|spider|scraper|headless\w*)(?:[^a-z]|$)",
    r"(?i)[a-z](?:crawler|spider)(?:[^a-z]|$)",
    r"(?i)(?:^|[^u])bot[/;)]",
    r"\+https?://",
)
"""For programs that the list does not know yet; `CUBOT` and `cubot/` match none."""


class Agent(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a User-Agent says. `digest` stands for the whole text, in 16 bytes; identity, for equality."""

    browser: str
    os: str
    device: Device
    bot: bool
    preview: bool
    digest: bytes


@functools.lru_cache(CACHED_AGENTS)
def read_agent(text: str) -> Agent:
    """Read a User-Agent. A missing one is a bot's: browsers always send one."""
    text = text[:MAX_USER_AGENT_CHARACTERS]
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    browsers, systems, programs = _extractors()
    program = programs.extract(text)
    browser = browsers.extract(text)
    system = systems.extract(text)
    return Agent(
        browser=_browser_name(browser.family) if browser else "",
        os=_system_name(system.family) if system else "",
        device=_device(text),
        bot=program is not None or not text.strip(),
        preview=program is not None and program.family == "preview",
        digest=digest,
    )


@functools.cache
def _extractors() -> tuple[Any, Any, Any]:
    """Compiled at the first use: 0.6 s and 28 MB, which only the enriching process should pay."""
    fields = attrgetter("regex", "family", "major", "minor", "patch", "patch_minor")
    browsers, systems, _ = load_lazy_builtins()
    programs = [
        (entry["pattern"], "preview" if "social-preview" in entry.get("tags", ()) else "bot")
        for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA
        if entry["pattern"] not in _PEOPLE
    ]
    programs += [(pattern, "bot") for pattern in _PROGRAM_WORDS]
    return (
        ua_parser_rs.UserAgentExtractor(map(fields, browsers)),
        ua_parser_rs.OSExtractor(map(fields, systems)),
        ua_parser_rs.UserAgentExtractor((*program, None, None, None, None) for program in programs),
    )


_VARIANT = re.compile(r"^Mobile | Mobile| iOS| WebView| UI/WKWebView")
_SYSTEMS = {"Mac OS X": "macOS", "Mac OS": "macOS", "iOS": "iOS", "Chrome OS": "ChromeOS"}


def _browser_name(family: str) -> str:
    """One name for a browser on all devices: the device is a column of its own."""
    name = _VARIANT.sub("", family).strip()
    return "" if name == "Other" else name[:MAX_NAME_CHARACTERS]


def _system_name(family: str) -> str:
    return "" if family == "Other" else _SYSTEMS.get(family, family)[:MAX_NAME_CHARACTERS]


_DEVICES: tuple[tuple[re.Pattern[str], Device], ...] = (
    (
        re.compile(
            r"(?i)smart-?tv|\bTV\b|web0s|netcast|tizen.*tv|crkey|roku|bravia|aft[a-z]\b|playstation"
            r"|nintendo|xbox|watch"
        ),
        "other",
    ),
    (re.compile(r"iPad|(?i:tablet|playbook|kindle|silk/)"), "tablet"),
    (re.compile(r"iPhone|iPod|(?i:mobi|windows phone|opera mini|kaios)"), "mobile"),
    (re.compile(r"Android"), "tablet"),
    (re.compile(r"Windows NT|Windows;|Macintosh|X11|CrOS|Linux (?:x86_64|i686|aarch64)|Win64"), "desktop"),
)
"""The first match decides. Android says `Mobile` on telephones and nothing on tablets."""


def _device(text: str) -> Device:
    return next((device for pattern, device in _DEVICES if pattern.search(text)), "other")
