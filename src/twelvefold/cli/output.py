"""What a verb prints: lines for people, one JSON object with `--json`; errors on stderr.

Exit codes: 0 ok, 1 failed, 2 usage, 3 refused for safety.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from twelvefold.kernel.errors import RefusedError, TwelvefoldError

FAILED = 1
REFUSED = 3


def show(value: Any, *, as_json: bool, text: str) -> None:
    """Print one or the other."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)  # noqa: T201


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows with aligned columns; `none` when there are none."""
    if not rows:
        return "none"
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def fail(error: TwelvefoldError, *, as_json: bool) -> NoReturn:
    """Say what went wrong and what to do, and leave with the code for it."""
    if as_json:
        body = {"error": error.code, "message": error.message, "field": error.field, "hint": error.hint}
        print(json.dumps({name: value for name, value in body.items() if value}), file=sys.stderr)  # noqa: T201
    else:
        print(f"twelvefold: {error.message}", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"            {error.hint}", file=sys.stderr)  # noqa: T201
    sys.exit(REFUSED if isinstance(error, RefusedError) else FAILED)
