"""Engines over each blob store that this machine can run."""

import pytest

from twelvefold.engines.blobs import open_blobs
from twelvefold.engines.events import ParquetEvents
from twelvefold.kernel.clock import ManualClock

from .clicks import CLICKS, NOON


@pytest.fixture(params=["file", "memory"])
async def blobs(request, tmp_path):
    store = open_blobs(f"file://{tmp_path}/objects" if request.param == "file" else "memory://")
    yield store
    await store.close()


@pytest.fixture
def clock():
    return ManualClock(NOON + 60_000)


@pytest.fixture
async def opened(blobs, clock, tmp_path):
    """Open engines over one store, as processes would; all are closed at the end."""
    engines = []

    def open_one(*tables, config=None, store=blobs, clock=clock):
        scratch = tmp_path / f"scratch-{len(engines)}"
        engines.append(ParquetEvents(store, tables or [CLICKS], clock, scratch=scratch, config=config))
        return engines[-1]

    yield open_one
    for engine in engines:
        await engine.close()


@pytest.fixture
def events(opened):
    return opened()
