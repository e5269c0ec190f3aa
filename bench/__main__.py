"""`python -m bench <system>`: measure, print the bars, write `bench/results/<system>.json`.

Exit code 0 when it ran (whatever the bars say), 1 when it could not, 2 for a wrong argument.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from bench.load import LoadError
from bench.processes import NotStartedError
from bench.table import lines, result, write


def main() -> int:
    """Run one system's measurements."""
    systems = sorted(path.parent.name for path in Path(__file__).parent.glob("*/rows.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("system", choices=systems)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="measure only rows whose name has this in it, and write no file",
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one run of load")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each subject")
    parser.add_argument("--urls", type=Path, help="a file of URLs to shorten, one a line")
    parser.add_argument("--json", action="store_true", help="print the file's content instead of a table")
    arguments = parser.parse_args()
    rows = importlib.import_module(f"bench.{arguments.system}.rows")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            bars, details = rows.measure(
                Path(folder),
                only=arguments.only,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
                urls=arguments.urls,
            )
        except (LoadError, NotStartedError) as error:
            print(error, file=sys.stderr)
            return 1
    content = result(arguments.system, bars, details=details)
    print(json.dumps(content, ensure_ascii=False) if arguments.json else lines(bars))
    if not arguments.only:  # a part of the rows is no result
        path = write(content)
        print(f"written to bench/results/{path.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
