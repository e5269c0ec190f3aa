"""`twelvefold doctor`: what could go wrong here, and what to do about it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import FAILED, show

if TYPE_CHECKING:
    from twelvefold.engines.embedded.checks import Finding

app = verb("doctor", "Check this machine and its data folder.")


@app.default
def doctor(*, data: Data = None, json: Json = False) -> None:
    """Check the data folder, engines, disk, clock, limits and optional parts. Exit code 1 if something is wrong."""
    import msgspec

    from twelvefold.engines.embedded.checks import examine
    from twelvefold.platform.places import data_folder

    folder = data_folder(data)
    findings = [*examine(folder), _console(), _countries(), _server(folder)]
    bad = sum(not finding.ok for finding in findings)
    width = max(len(finding.name) for finding in findings)
    lines = [
        f"{'ok' if finding.ok else '!!'}  {finding.name:<{width}}  {finding.detail}"
        + ("" if finding.ok or not finding.advice else f"\n    {'':<{width}}  {finding.advice}")
        for finding in findings
    ]
    lines.append("\nAll is well." if not bad else f"\n{bad} to look at.")
    show({"findings": msgspec.to_builtins(findings), "ok": not bad}, as_json=json, text="\n".join(lines))
    if bad:
        sys.exit(FAILED)


def _console() -> "Finding":
    from twelvefold.console import STATIC
    from twelvefold.engines.embedded.checks import Finding

    built = (STATIC / "index.html").exists()
    detail = "the pages are built" if built else "the pages are not built"
    return Finding("console", built, detail, "" if built else "run `make console`")


def _countries() -> "Finding":
    from importlib.resources import files

    from twelvefold.engines.embedded.checks import Finding

    there = (files("twelvefold.systems.links") / "data" / "country.mmdb").is_file()
    detail = "clicks get a country" if there else "the database is missing, so clicks get no country"
    return Finding("countries", there, detail, "" if there else "run `make console`")


def _server(folder: Path) -> "Finding":
    import urllib.request

    from twelvefold.engines.embedded.checks import Finding
    from twelvefold.kernel.errors import RefusedError
    from twelvefold.platform import runtime

    try:
        url = runtime.read(folder).url
    except RefusedError:
        return Finding("server", ok=True, detail="not running")
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - our own server
            return Finding("server", ok=True, detail=f"ready at {url}")
    except OSError as error:
        return Finding("server", False, f"{url} is not ready: {error}", f"see the logs in {folder / 'logs'}")
