"""`twelvefold links`: import, export, create, and look at links."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from twelvefold.cli.connection import Connection
from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import FAILED, show, table
from twelvefold.kernel.errors import InvalidInputError

if TYPE_CHECKING:
    from twelvefold.systems.links.compat.imports import ImportItem

app = verb("links", "Short links: create, list, import, export.")
BATCH = 1000
"""Items a call: small enough for a progress that moves, large enough for one quick transaction."""


@app.command
def create(url: str, *, alias: str | None = None, data: Data = None, json: Json = False) -> None:
    """Shorten one address and print the short one."""
    body = {"url": url} | ({"alias": alias} if alias else {})
    link = Connection.open(data).call("POST", "/v1/links", body)
    show(link, as_json=json, text=link["short_url"])


@app.command(name="list")
def list_links(*, search: str | None = None, limit: int = 20, data: Data = None, json: Json = False) -> None:
    """Show the newest links."""
    from urllib.parse import urlencode

    query = {"limit": str(limit)} | ({"q": search} if search else {})
    found = Connection.open(data).call("GET", f"/v1/links?{urlencode(query)}")
    show(found, as_json=json, text=table(found["items"], ("short_url", "url", "clicks", "state")))


@app.command(name="import")
def import_links(
    file: Path,
    *,
    format: Literal["auto", "lines", "csv", "yourls", "bitly"] = "auto",  # noqa: A002 - the option's name
    tag: Annotated[tuple[str, ...], Parameter(help="Tag every imported link; may be repeated.")] = (),
    keep_aliases: Annotated[bool, Parameter(help="Keep the short codes of the file.")] = True,
    data: Data = None,
    json: Json = False,
) -> None:
    """Create links from a file: one address a line, CSV, or an export of YOURLS or Bitly.

    A line that cannot be used is reported with its number, and the rest goes on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from twelvefold.systems.links.compat import imports

    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidInputError(f"{file}: {error.strerror}", field="file") from error
    lines = text.splitlines()
    kind = imports.detect(lines[0] if lines else "") if format == "auto" else format
    items = list(imports.read(lines, kind=kind, keep_aliases=keep_aliases))
    connection = Connection.open(data)
    failures: list[dict[str, Any]] = [
        {"line": item.line, "problem": item.problem} for item in items if item.body is None
    ]
    good = [item for item in items if item.body is not None]
    created, began = 0, time.monotonic()
    console = Console(stderr=True)
    with Progress(
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=json,
    ) as progress:
        task = progress.add_task("links", total=len(good))
        for batch in _batched(good, BATCH):
            bodies = [(item.body or {}) | ({"tags": list(tag)} if tag else {}) for item in batch]
            answer = connection.call("POST", "/v1/links/bulk", bodies)
            created += answer["created"]
            failures += [
                {"line": batch[result["index"]].line, "problem": _words(result["error"])}
                for result in answer["results"]
                if "error" in result
            ]
            progress.advance(task, len(batch))
    seconds = time.monotonic() - began
    failures.sort(key=lambda failure: failure["line"])
    for failure in failures[:20] if not json else ():
        console.print(
            f"line {failure['line']}: {failure['problem']}", style="yellow", highlight=False, markup=False
        )
    if len(failures) > 20 and not json:
        console.print(f"… and {len(failures) - 20} more; --json lists them all", style="yellow")
    summary: dict[str, Any] = {"created": created, "failed": len(failures), "seconds": round(seconds, 2)}
    show(
        summary | {"failures": failures},
        as_json=json,
        text=f"{created:,} links created, {len(failures):,} lines refused, in {seconds:.1f} s",
    )
    if failures and not created:
        sys.exit(FAILED)


@app.command
def export(file: Path, *, data: Data = None, json: Json = False) -> None:
    """Write all links to a CSV file that `import` reads."""
    import csv

    connection = Connection.open(data)
    cursor, count = "", 0
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("url", "alias", "note", "tags", "expires_at", "clicks", "created_at"))
        while True:
            page = connection.call(
                "GET", f"/v1/links?limit=500&cursor={cursor}" if cursor else "/v1/links?limit=500"
            )
            for link in page["items"]:
                tags = ",".join(link["tags"])
                row = (
                    link["url"],
                    link["code"],
                    link["note"],
                    tags,
                    link["expires_at"],
                    link["clicks"],
                    link["created_at"],
                )
                writer.writerow(row)
                count += 1
            cursor = page["next_cursor"] or ""
            if not cursor:
                break
    show({"exported": count, "file": str(file)}, as_json=json, text=f"{count:,} links written to {file}")


def _batched(items: list["ImportItem"], size: int) -> Iterator[list["ImportItem"]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _words(problem: dict[str, Any]) -> str:
    field = f"{problem['field']}: " if problem.get("field") else ""
    return f"{field}{problem.get('detail') or problem.get('title')}"
