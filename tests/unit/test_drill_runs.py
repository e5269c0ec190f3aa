"""What the console says of a promise's drill: the oldest run of all that prove it, or nothing."""

import pytest
from drills.__main__ import DRILLS, SYSTEMS

from twelvefold.kernel.blueprint import Blueprint
from twelvefold.platform.drill_runs import DrillRun, last_run, recorded
from twelvefold.systems.chat.blueprint import BLUEPRINT as CHAT
from twelvefold.systems.limiter.blueprint import BLUEPRINT as LIMITER
from twelvefold.systems.links.blueprint import BLUEPRINT as LINKS


def run(day: int, *, passed: bool = True, machine: str = "one") -> DrillRun:
    return DrillRun(at=f"2026-11-{day:02}T10:00:00.000Z", passed=passed, machine=machine)


RUNS = {"a-web": run(3), "a-worker": run(2, machine="two"), "b-web": run(1, passed=False)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a-web", run(3)),
        ("a-web a-worker", run(2, machine="two")),
        ("a", run(2, machine="two")),
        ("a-web b-web", run(1, passed=False)),
        ("a-web c-web", None),
        ("c", None),
    ],
)
def test_a_promise_is_as_old_as_its_oldest_drill_and_holds_if_all_do(
    names: str, expected: DrillRun | None
) -> None:
    assert last_run(f"python -m drills {names}", RUNS) == expected


@pytest.mark.parametrize("command", ["", "python -m drills", "make test"])
def test_what_is_no_drill_has_no_run(command: str) -> None:
    assert last_run(command, RUNS) is None


@pytest.mark.parametrize("blueprint", [LINKS, LIMITER, CHAT], ids=lambda blueprint: blueprint.name)
def test_every_drill_that_a_card_names_exists_and_its_last_run_is_recorded(blueprint: Blueprint) -> None:
    drills = [one.drill for one in blueprint.guarantees if one.drill.startswith("python -m drills ")]
    assert drills
    for drill in drills:
        assert set(drill.split()[3:]) <= {*DRILLS, *SYSTEMS}
        assert last_run(drill, recorded()) is not None
