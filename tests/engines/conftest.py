"""A store of objects in a directory, for the tests of blobs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from twelvefold.engines.blobs import Blobs, open_blobs


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Blobs]:
    store = open_blobs(f"file://{tmp_path}/objects")
    yield store
    await store.close()
