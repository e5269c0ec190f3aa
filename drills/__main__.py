"""`python -m drills links-web`, `… links` for all of links: kill, recover, audit.

Exit code 0 when every promise held, 1 when one did not or the drill could not be carried through.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.processes import NotStartedError

from drills import links
from drills.harness import ROLES, DrillError

DRILLS = {f"links-{role}": role for role in ROLES}


def main() -> int:
    """Run the drills that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument(
        "names", nargs="+", choices=["links", *DRILLS], metavar="name", help=", ".join(DRILLS)
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON a drill")
    arguments = parser.parse_args()
    chosen = [name for name in DRILLS if name in arguments.names or "links" in arguments.names]
    failed = 0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="drill-") as folder:
            try:
                audit = links.drill(DRILLS[name], Path(folder))
            except (DrillError, NotStartedError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed += 1
                continue
        failed += not audit.passed
        print(json.dumps(audit.as_json()) if arguments.json else audit, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
