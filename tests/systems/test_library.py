"""The platform as a library: imported, and mounted into somebody else's app."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from twelvefold import DEFAULT_TENANT, Platform
from twelvefold.kernel.errors import RefusedError
from twelvefold.systems.links import NewLink


async def test_links_are_made_in_ones_own_process_and_mounted_into_fastapi(tmp_path):
    async with Platform.open(tmp_path / "data", base_url="http://shop.example/go") as platform:
        link = await platform.links.create(DEFAULT_TENANT, NewLink(url="https://example.com/", alias="hello"))
        assert link.short_url == "http://shop.example/go/hello"
        app = FastAPI()
        app.mount("/go", platform.links.asgi)

        @app.get("/own")
        async def own() -> dict[str, str]:
            return {"this": "is FastAPI's"}

        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            answer = await client.get("/go/hello")
            assert answer.status_code == 302
            assert answer.headers["location"] == "https://example.com/"
            assert (await client.get("/go/nothing")).status_code == 404
            assert (await client.get("/own")).json() == {"this": "is FastAPI's"}


async def test_a_data_folder_has_one_holder_and_is_free_afterwards(tmp_path):
    async with Platform.open(tmp_path / "data"):
        with pytest.raises(RefusedError, match=str(os.getpid())):
            async with Platform.open(tmp_path / "data"):
                pass
    async with Platform.open(tmp_path / "data") as again:
        assert await again.links.list(DEFAULT_TENANT)


def test_importing_the_package_starts_nothing_and_is_quick_to_read():
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, twelvefold; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"asyncpg", "litestar", "uvicorn", "duckdb", "numpy", "asyncio"} & set(seen)
    assert Path(sys.modules["twelvefold"].__file__).name == "__init__.py"
