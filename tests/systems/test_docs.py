"""The examples of the documentation work as written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name):
    """`(language, text)` of a page's code blocks, in order."""
    return _BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def holds(expected, found):
    """Whether `found` has at least what `expected` shows."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and holds(value, found[name]) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(found, list) and all(holds(*pair) for pair in zip(expected, found, strict=True))
    return expected == found


@pytest.mark.parametrize("page", ["docs/links.md"])
def test_each_example_gives_what_the_page_shows(server, tmp_path, page):
    environment = os.environ | {
        "URL": server.url,
        "KEY": server.api_key,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    said = ""
    ran = 0
    for language, text in blocks(page):
        if language in ("sh", "python"):
            program = ["bash", "-euc", text]
            if language == "python":
                program = [sys.executable, "-c", f"URL, KEY = {server.url!r}, {server.api_key!r}\n{text}"]
            finished = subprocess.run(
                program,
                capture_output=True,
                text=True,
                env=environment,
                cwd=tmp_path,
                timeout=120,
                check=False,
            )
            assert finished.returncode == 0, f"{text}\n{finished.stderr}"
            said = finished.stdout
            ran += 1
        elif language == "json":
            assert holds(json.loads(text), json.loads(said)), f"{text}\nis not in\n{said}"
        elif language == "text":
            assert said.strip() == text.strip()
    assert ran >= 5


def _needs_no_words(language, text):
    return (
        language == "python" and "sys.argv" not in text
    )  # the one that does: tests/systems/chat/test_terminal_client.py


@pytest.mark.parametrize("text", [block[1] for block in blocks("README.md") if _needs_no_words(*block)])
def test_the_readmes_python_runs_as_written(tmp_path, text):
    if "app = FastAPI" in text:
        text += """
import asyncio

import httpx2


async def visit():
    async with lifespan(app):
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000") as client:
            assert (await client.get("/go/nothing-here")).status_code == 404


asyncio.run(visit())
"""
    finished = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stderr
