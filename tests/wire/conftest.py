"""Foreign clients need doors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.systems.limiter.house import House, open_house

from twelvefold.engines.database import Database


@pytest.fixture
async def house(database: Database, valkey_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(database, valkey_url, data=tmp_path) as house:
        yield house
