"""The drill `chat-sleeper` on the engines of the tests."""

import pytest
from drills.chat.sleeper import sleep_through_a_ban

pytestmark = pytest.mark.drill


async def test_a_stopped_server_that_wakes_up_cannot_append_for_a_banned_member_and_holds_nobody_up(
    node, database_url, valkey_url, tmp_path
):
    audit = await sleep_through_a_ban(node, database_url, valkey_url, tmp_path)
    assert audit.passed, audit
