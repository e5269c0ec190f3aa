"""docs/chat.md names the proof of each promise and of each trap; what it names is there."""

import re
from pathlib import Path

from drills.chat.audits import NAMES

from twelvefold.systems.chat.blueprint import BLUEPRINT

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/chat.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert named - defined == set()


def test_every_promise_and_every_trap_has_a_proof():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    for heading in ("| promise |", "| trap |"):
        start = rows.index(next(row for row in rows if row.startswith(heading)))
        for row in rows[start + 1 :]:
            if row.startswith(("| promise |", "| trap |")):
                break
            assert "`test_" in row or "`python -m drills" in row or row.startswith("| `"), row


def test_every_drill_that_the_card_and_the_page_name_can_be_run():
    named = {word for one in BLUEPRINT.guarantees for word in one.drill.split()[3:]}
    named |= {name for words in re.findall(r"`python -m drills ([^`]+)`", PAGE) for name in words.split()}
    assert named == set(NAMES)
