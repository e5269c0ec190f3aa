"""What ships: the wheel carries the built console, and the lock of its packages names no host."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_console_with_every_asset_it_names(wheel: zipfile.ZipFile) -> None:
    static = "twelvefold/console/static"
    names = set(wheel.namelist())
    index = wheel.read(f"{static}/index.html").decode()
    assets = [part.split('"')[0] for part in index.split("/console/")[1:]]
    assert len(assets) >= 3
    for asset in assets:
        assert f"{static}/{asset}" in names
    for info in wheel.infolist():
        # The smallest grow when they are packed, and are sent as they are.
        if info.filename.endswith((".js", ".css")) and info.file_size > 1024:
            assert {f"{info.filename}.br", f"{info.filename}.gz"} <= names


def test_the_wheel_holds_the_licences_of_what_is_bundled(wheel: zipfile.ZipFile) -> None:
    text = wheel.read("twelvefold/console/static/third-party-licences.txt").decode()
    bundled = json.loads((ROOT / "web-console/package.json").read_text())["dependencies"]
    assert all(f"{name}\n---" in text for name in bundled)
    assert text.count("MIT License") == len(bundled)


def test_the_wheel_holds_the_countries_and_their_licence(wheel: zipfile.ZipFile) -> None:
    data = "twelvefold/systems/links/data/country.mmdb"
    assert wheel.getinfo(data).file_size > 1_000_000
    assert "PDDL" in wheel.read(f"{data}.LICENSE.txt").decode()


def test_the_page_needs_no_inline_code_so_that_the_strict_policy_holds(wheel: zipfile.ZipFile) -> None:
    index = wheel.read("twelvefold/console/static/index.html").decode()
    assert "<style" not in index
    assert " style=" not in index
    assert all("src=" in tag.split(">")[0] for tag in index.split("<script")[1:])


def test_the_lock_of_the_packages_has_hashes_and_no_hosts() -> None:
    text = (ROOT / "web-console/package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    assert "://" not in (ROOT / "web-console/node.lock").read_text()
    assert "omit-lockfile-registry-resolved=true" in (ROOT / "web-console/.npmrc").read_text()
