"""Every dependency of a running Twelvefold has a compatible licence, and the list of them is current."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "licences.py"


@pytest.fixture(scope="module")
def licences():
    spec = importlib.util.spec_from_file_location("licences", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_licences_is_complete_and_current():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_names_every_requirement(licences):
    lock = licences.LOCK.read_text(encoding="utf-8")
    names = [line.partition("==")[0] for line in lock.splitlines() if "==" in line and line[0] not in " #"]
    assert names == [name for name, _, _ in licences.requirements(lock)]
    assert len(names) > 30


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND MIT OR Apache-2.0", True),
        ("AGPL-3.0-only", False),
        ("Proprietary", False),
    ],
)
def test_copyleft_that_would_bind_us_is_not_compatible(licences, expression, fits):
    assert licences.compatible(expression) is fits


def test_an_unknown_licence_is_an_error(licences):
    with pytest.raises(licences.UnknownLicenceError, match="not installed"):
        licences.licence("no-such-package-here")
