"""The drills in small; the whole ones are `python -m drills links`."""

from pathlib import Path

import pytest
from drills.harness import ROLES
from drills.links import kill_in_turn

pytestmark = pytest.mark.drill


@pytest.mark.parametrize("roles", [("web",), tuple(role for role in ROLES if role != "web")], ids="-".join)
def test_no_acknowledged_link_and_no_click_is_lost_whoever_is_killed(
    roles: tuple[str, ...], tmp_path: Path
) -> None:
    audit = kill_in_turn("links", roles, tmp_path, traffic_seconds=0.3)
    assert audit.passed, str(audit)
