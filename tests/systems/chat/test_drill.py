"""Drill `chat.acknowledged-messages`, in small: the whole is `python -m drills.chat.acknowledged_messages`."""

from pathlib import Path

import pytest
from drills.chat.acknowledged_messages import drill

pytestmark = pytest.mark.drill


async def test_nothing_acknowledged_is_lost_doubled_or_out_of_order_whoever_is_killed(tmp_path: Path):
    counts = await drill(tmp_path, clients=40, rooms=4, seconds=6)
    assert counts["acknowledged"] > 200
    for name in ("lost", "moved", "doubled", "gaps", "views_that_differ", "faults"):
        assert counts[name] == 0, (name, counts)
