"""Peers written in Go, built from the Go module proxy once, into a cache folder."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.load import LoadError

BUILD_SECONDS = 900


def built(name: str, words: Sequence[str], *, cwd: Path | None = None) -> Path:
    """The program `name`, made by `go WORDS` if it is not in the cache; `OUTPUT` among the words is its place.

    Raises `LoadError` where Go is missing or it cannot be built.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twelvefold-bench" / "go"
    binary = cache / "bin" / name
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        raise LoadError(f"Go is missing, and with it {name}")
    binary.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", *(str(binary) if word == "OUTPUT" else word for word in words)],
        env={**os.environ, "GOBIN": str(binary.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
        cwd=cwd or cache,
    )
    if done.returncode:
        raise LoadError(f"go {' '.join(words)}: {done.stderr[-300:]}")
    return binary
