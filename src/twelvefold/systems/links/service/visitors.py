"""Visitors: what the rules may ask about somebody who follows a link, read from the request's head."""

from collections.abc import Mapping

from twelvefold.systems.links.rules.routing import Visitor, accepted_languages
from twelvefold.systems.links.visits import VisitReader


class Visitors:
    """Reads visitors."""

    def __init__(self, reader: VisitReader) -> None:
        self._reader = reader

    def visitor(self, client: str, tail: bytes, query: Mapping[str, str]) -> Visitor:
        """`tail` is the head after its target."""
        visit = self._reader.read(client, tail)
        return Visitor(visit.country, visit.device, accepted_languages(_accept_language(tail)), query)


def _accept_language(tail: bytes) -> str:
    for line in tail.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"accept-language":
            return value.decode("latin-1").strip()
    return ""
