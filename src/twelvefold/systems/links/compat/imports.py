"""Links from elsewhere: a list of addresses, CSV, and the exports of YOURLS and Bitly.

Every line gives an item or a reason, with its number in the file; a bad line never stops the rest.
The columns are found by their names, so a spreadsheet's own export works too.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

Format = Literal["lines", "csv", "yourls", "bitly"]

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "url": (
        "url",
        "long_url",
        "long url",
        "longurl",
        "target",
        "destination",
        "original url",
        "original_url",
    ),
    "alias": (
        "alias",
        "keyword",
        "code",
        "slug",
        "short code",
        "short_code",
        "custom_bitlinks",
        "back-half",
        "link",
        "bitlink",
    ),
    "note": ("note", "title", "description"),
    "tags": ("tags", "tag"),
    "expires_at": ("expires_at", "expiry", "expires"),
}


class ImportItem(msgspec.Struct, frozen=True):
    """One line: what to send to the bulk call, or why it cannot be sent."""

    line: int
    body: dict[str, Any] | None
    problem: str = ""


def detect(first_line: str) -> Format:
    """What kind of file begins with this line."""
    names = {name.strip().strip('"').lower() for name in first_line.lstrip("\ufeff").split(",")}
    if {"keyword", "url"} <= names:
        return "yourls"
    if names & {"bitlink", "link", "custom_bitlinks"} and names & {"long_url", "long url"}:
        return "bitly"
    return "csv" if names & set(_COLUMNS["url"]) else "lines"


def read(lines: Iterable[str], *, kind: Format, keep_aliases: bool = True) -> Iterator[ImportItem]:
    """The items of a file, in order; empty lines and comments (`#`) of a plain list are passed over."""
    if kind == "lines":
        for number, line in enumerate(lines, start=1):
            url = line.lstrip("\ufeff").strip()
            if url and not url.startswith("#"):
                yield ImportItem(number, {"url": url})
        return
    reader = csv.reader(line.replace("\x00", "") for line in lines)
    header = next(reader, [])
    places = _places(header)
    if "url" not in places:
        yield ImportItem(1, None, f"no column is called url or long_url; there are: {', '.join(header)}")
        return
    for row in reader:
        if row:
            yield _item(reader.line_num, row, places, keep_aliases=keep_aliases)


def _places(header: list[str]) -> dict[str, int]:
    names = [name.lstrip("\ufeff").strip().lower() for name in header]
    return {
        field: names.index(match)
        for field, known in _COLUMNS.items()
        if (match := next((name for name in known if name in names), None)) is not None
    }


def _item(line: int, row: list[str], places: Mapping[str, int], *, keep_aliases: bool) -> ImportItem:
    values = {field: row[place].strip() for field, place in places.items() if place < len(row)}
    if not values.get("url"):
        return ImportItem(line, None, "the address is missing")
    body: dict[str, Any] = {"url": values["url"]}
    # Bitly gives whole short URLs, sometimes several: the first one's path is the alias.
    alias = values.get("alias", "").split(" ")[0].rstrip("/").rsplit("/", 1)[-1]
    if alias and keep_aliases:
        body["alias"] = alias
    if values.get("note"):
        body["note"] = values["note"][:2000]
    if values.get("tags"):
        body["tags"] = [
            tag.strip()[:50] for tag in values["tags"].replace(";", ",").split(",") if tag.strip()
        ][:20]
    if values.get("expires_at"):
        body["expires_at"] = values["expires_at"]
    return ImportItem(line, body)
