"""Live clicks of a link: server-sent events and a WebSocket, with the same objects."""

from typing import Any

import msgspec

from twelvefold.systems.links.service.live import LiveClicks
from twelvefold.web.moments import rfc3339

_decode = msgspec.json.Decoder(LiveClicks).decode


def shown(payload: bytes) -> bytes:
    """A worker's message as watchers get it."""
    news = _decode(payload)
    clicks = [
        {
            "at": rfc3339(click.at_ms),
            "country": click.country,
            "referrer": click.referrer,
            "device": click.device,
            "browser": click.browser,
            "os": click.os,
            "bot": click.bot,
        }
        for click in news.clicks
    ]
    body: dict[str, Any] = {
        "at": rfc3339(news.at_ms),
        "clicks": clicks,
        "counted": news.counted,
        "bots": news.bots,
    }
    return msgspec.json.encode(body)
