"""Options that many verbs share."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

Data = Annotated[Path | None, Parameter(name="--data", help="The data folder [default: ./twelvefold-data].")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object instead of text.")]
ConfigFile = Annotated[
    Path | None, Parameter(name="--config", help="The configuration [default: ./twelvefold.toml].")
]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(name="-X", negative="", help="Override one setting: -X section.key=value; may be repeated."),
]


def verb(name: str, text: str) -> App:
    """The application of one verb, as its help names it."""
    return App(name=f"twelvefold {name}", help=text, version_flags=[])
