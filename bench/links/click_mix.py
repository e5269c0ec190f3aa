"""A realistic mix of clicks: 100k links by Zipf 1.1, 50k addresses, 3k User-Agents, referrers, languages.

An address is a household: it has one to three devices, each with its User-Agent and language; the referrer
changes from click to click. `independent=True` draws the User-Agent anew each time instead, which hardly
ever repeats a context: the hardest case, and what a carrier's shared address looks like.
"""

import random
from dataclasses import dataclass

import numpy as np

LINKS = 100_000
ZIPF = 1.1
ADDRESSES = 50_000
USER_AGENTS = 3_000
REFERRERS = 300


@dataclass(frozen=True, slots=True)
class Context:
    client: str
    tail: bytes


def zipf_ranks(count: int, size: int, *, exponent: float, seed: int) -> np.ndarray:
    """`count` ranks from 0 to `size` - 1, drawn by 1 / (rank + 1)^exponent."""
    weights = 1 / np.arange(1, size + 1) ** exponent
    chance = np.random.default_rng(seed).random(count)
    return np.minimum(np.searchsorted(np.cumsum(weights) / weights.sum(), chance), size - 1)


def user_agents(seed: int = 1) -> list[str]:
    """3,000 different User-Agents in about the shares of the web; 4 % are programs."""
    draw = random.Random(seed)
    kit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    safari = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{a}.{c}"
    windows = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {kit} Chrome/{{v}}.0.{{b}}.{{c}} Safari/537.36"
    phone = (
        f"Mozilla/5.0 (Linux; Android {{a}}; SM-{{m}}) {kit} Chrome/{{v}}.0.{{b}}.{{c}} Mobile Safari/537.36"
    )
    iphone = (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS {{a}}_{{c}} like Mac OS X) {safari} Mobile/15E{{b}} Safari/604.1"
    )
    templates = (
        (34, phone),
        (22, iphone),
        (22, windows),
        (6, windows + " Edg/{v}.0.{c}.1"),
        (6, f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_{{c}}) {safari} Safari/605.1.{{b}}"),
        (4, "Mozilla/5.0 (X11; Linux x86_64; rv:{v}.{c}) Gecko/20100101 Firefox/{v}.{c}"),
        (2, iphone.replace("iPhone; CPU iPhone OS", "iPad; CPU OS")),
        (1, "Mozilla/5.0 (compatible; Googlebot/{c}.{b}; +http://www.google.com/bot.html)"),
        (1, "Slackbot-LinkExpanding 1.{c}{b} (+https://api.slack.com/robots)"),
        (1, "WhatsApp/2.{v}.{c}{b} A"),
        (1, "python-requests/2.{c}.{b}"),
    )
    weights = [weight for weight, _ in templates]
    found: dict[str, None] = {}
    while len(found) < USER_AGENTS:
        [(_, template)] = draw.choices(templates, weights)
        found[
            template.format(
                a=draw.randint(9, 18),
                b=draw.randint(100, 999),
                c=draw.randint(0, 40),
                m=f"A{draw.randint(100, 999)}",
                v=draw.randint(90, 140),
            )
        ] = None
    return list(found)


def clicks(
    count: int, *, seed: int = 1, independent: bool = False, forwarded: bool = False
) -> list[tuple[float, int, Context]]:
    """`count` clicks `(seconds from 0 to 600, link's rank, context)`, in order of time.

    `forwarded` puts each visitor's address into X-Forwarded-For behind one proxy, as seen in production.
    """
    draw = random.Random(seed)
    agents, tongues = (
        user_agents(),
        ["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr", "ja-JP", "es-ES,es;q=0.8"],
    )
    addresses = [".".join(str(draw.randint(1, 223)) for _ in range(4)) for _ in range(ADDRESSES)]
    households = [
        [(draw.choice(agents), draw.choice(tongues)) for _ in range(draw.randint(1, 3))] for _ in addresses
    ]
    who = [draw.randrange(ADDRESSES) for _ in range(count)]
    ranks = zipf_ranks(count, LINKS, exponent=ZIPF, seed=seed)
    sources = zipf_ranks(count, REFERRERS, exponent=ZIPF, seed=seed + 1)
    contexts: dict[tuple[str, bytes], Context] = {}
    made = []
    for n in range(count):
        agent, tongue = draw.choice(households[who[n]])
        if independent:
            agent = draw.choice(agents)
        referer = f"\r\nReferer: https://www.site{sources[n]}.example/" if sources[n] % 3 else ""
        peer = "10.0.0.1" if forwarded else addresses[who[n]]
        chain = f"\r\nX-Forwarded-For: {addresses[who[n]]}" if forwarded else ""
        tail = (
            f" HTTP/1.1\r\nHost: example.com\r\nUser-Agent: {agent}{chain}\r\n"
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,image/avif,*/*\r\n"
            f"Accept-Language: {tongue}\r\nAccept-Encoding: gzip, deflate, br{referer}\r\n"
            "Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
        ).encode()
        context = contexts.setdefault((peer, tail), Context(peer, tail))
        made.append((n * 600 / count, int(ranks[n]), context))
    return made
