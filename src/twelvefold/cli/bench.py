"""`twelvefold bench`: measure a system beside its peers, from a checkout."""

import subprocess
import sys
from pathlib import Path

from twelvefold.cli.options import Json, verb
from twelvefold.kernel.errors import RefusedError

app = verb("bench", "Measure a system beside its peers.")


@app.default
def bench(system: str, *, json: Json = False) -> None:
    """Run the benchmark of one system; it writes bench/results/<system>.json.

    The benchmarks bring load generators and peers, so they live in the source checkout, not in the wheel.
    """
    if not (Path("bench") / "__main__.py").exists():
        raise RefusedError(
            "benchmarks run from a source checkout", hint="clone it, then: make bench SYSTEM=links"
        )
    words = [sys.executable, "-m", "bench", system, *(["--json"] if json else [])]
    sys.exit(subprocess.run(words, check=False).returncode)
