"""The drills in small; the whole ones are `python -m drills chat`."""

from pathlib import Path

import pytest
from drills.chat.acknowledged_messages import WRONG, drill

pytestmark = pytest.mark.drill


async def test_nothing_acknowledged_is_lost_doubled_or_out_of_order_whoever_is_killed(tmp_path: Path):
    counts = await drill(tmp_path, clients=40, rooms=4, seconds=6)
    assert counts["acknowledged"] > 200
    assert {name: counts[name] for name in WRONG} == dict.fromkeys(WRONG, 0)
