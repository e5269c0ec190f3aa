"""`python -m drills links-web chat-database`, `… links` for all of links: kill, recover, audit.

Exit code 0 when every promise held, 1 when one did not or the drill could not be carried through.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from bench.fingerprint import fingerprint
from bench.processes import NotStartedError

from drills import links
from drills.chat import audits as chat
from drills.harness import ROLES, Audit, DrillError
from drills.limiter import leases, outage

DRILLS: dict[str, Callable[[Path], Audit]] = {
    **{f"links-{role}": partial(links.drill, role) for role in ROLES},
    "limiter-valkey": outage.drill,
    "limiter-lease": leases.drill,
    **{name: partial(chat.run, name) for name in chat.NAMES},
}
RECORD = Path(__file__).parents[1] / "src" / "twelvefold" / "platform" / "drill_runs.json"
SYSTEMS = sorted({name.partition("-")[0] for name in DRILLS})


def main() -> int:
    """Run the drills that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument(
        "names",
        nargs="+",
        choices=[*SYSTEMS, *DRILLS],
        metavar="name",
        help=", ".join([*SYSTEMS, *DRILLS]),
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON a drill")
    parser.add_argument("--record", action="store_true", help="note for the console what came of each")
    arguments = parser.parse_args()
    # That engines come and go is what a drill is about; what came of it is in the audit.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    chosen = [name for name in DRILLS if {name, name.partition("-")[0]} & set(arguments.names)]
    failed = 0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="drill-") as folder:
            try:
                audit = DRILLS[name](Path(folder))
            except (DrillError, NotStartedError, TimeoutError) as error:
                print(f"{name}: {error or 'not done before its deadline'}", file=sys.stderr)
                failed += 1
                continue
        failed += not audit.passed
        if arguments.record:
            _record(name, passed=audit.passed)
        print(json.dumps(audit.as_json()) if arguments.json else audit, flush=True)
    return 1 if failed else 0


def _record(name: str, *, passed: bool) -> None:
    machine = fingerprint()
    noted = json.loads(RECORD.read_text(encoding="utf-8"))
    noted[name] = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "passed": passed,
        "machine": f"{machine['cpu']}, {machine['cores']} cores",
    }
    RECORD.write_text(json.dumps(dict(sorted(noted.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
