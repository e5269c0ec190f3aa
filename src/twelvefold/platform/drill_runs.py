"""When the drills of a promise last ran, on what machine, and whether it held: what `python -m drills --record` noted.

The record comes with the package, so a console can show it where no drill can run. Invariant: a promise is
shown as proven only if every drill that it names was recorded, and with the oldest of them.
"""

from collections.abc import Mapping
from importlib.resources import files

import msgspec


class DrillRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a drill, or the oldest of several. `at` is RFC 3339, `machine` is for people."""

    at: str
    passed: bool
    machine: str


def recorded() -> dict[str, DrillRun]:
    """All runs, by the name of the drill."""
    text = (files("twelvefold.platform") / "drill_runs.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, DrillRun])


def last_run(command: str, runs: Mapping[str, DrillRun]) -> DrillRun | None:
    """What came of `python -m drills NAME …` when it last ran; None if a drill of it never did.

    A name is a drill's (`links-web`) or a system's (`links`), as on the command line.
    """
    words = command.split()
    if words[:3] != ["python", "-m", "drills"] or len(words) == 3:
        return None
    found: list[DrillRun] = []
    for name in words[3:]:
        some = [run for drill, run in runs.items() if name in {drill, drill.partition("-")[0]}]
        if not some:
            return None
        found += some
    return DrillRun(
        at=min(run.at for run in found),
        passed=all(run.passed for run in found),
        machine=min(found, key=lambda run: run.at).machine,
    )
