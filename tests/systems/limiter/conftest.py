"""A limiter over a real Valkey."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.systems.limiter.house import House, open_house

from twelvefold.engines.database import Database
from twelvefold.systems.limiter.library import open_limiter
from twelvefold.systems.limiter.service.limiter import Limiter
from twelvefold.systems.limiter.settings import LimiterSettings

PATIENT = LimiterSettings(answer_ms=5000)
"""A busy test machine is no outage."""


@pytest.fixture
async def limiter(valkey_url: str) -> AsyncIterator[Limiter]:
    async with open_limiter(valkey_url, settings=PATIENT) as limiter:
        yield limiter


@pytest.fixture
async def house(database: Database, valkey_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(database, valkey_url, data=tmp_path) as house:
        yield house
