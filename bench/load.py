"""Load: `wrk` for as much as possible, our own open loop for a fixed rate.

Both send the same requests: a code drawn by Zipf, and the head of a browser. A closed loop (wrk) waits for a
server that stalls and so measures capacity, not latency; the open loop sends on schedule and counts latency
from the moment a request was due, which is what a user feels (Tene, "How NOT to Measure Latency").
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import finished

HEADS = 512
"""Different browser heads that the requests carry in turn."""

_SCRIPT = """
local requests, at = {}, 0
function init(args)
  local heads = {}
  for line in io.lines("HEADS") do
    local agent, language = line:match("^(.*)\\t(.*)$")
    local head = {["User-Agent"] = agent, ["Accept-Language"] = language, ["Accept"] = "text/html,*/*;q=0.8"}
    heads[#heads + 1] = head
  end
  for path in io.lines("PATHS") do
    local n = #requests + 1
    requests[n] = wrk.format("GET", path, heads[n % #heads + 1])
  end
  at = math.random(#requests)
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  io.write(string.format(
    'WRK {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "p999_ms": %f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.status + summary.errors.timeout))
end
"""


class LoadError(Exception):
    """The load generator is missing, or its requests failed."""


@dataclass(frozen=True)
class Load:
    """What a run of load did. Latencies in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Requests:
    """Files of what to send: one path a line, and one `User-Agent<TAB>Accept-Language` a line."""

    paths: Path
    heads: Path

    @classmethod
    def write(cls, folder: Path, paths: Sequence[str], heads: Sequence[tuple[str, str]]) -> "Requests":
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / "paths.txt", folder / "heads.txt")
        made.paths.write_text("".join(f"{path}\n" for path in paths), encoding="ascii")
        made.heads.write_text(
            "".join(f"{agent}\t{language}\n" for agent, language in heads[:HEADS]), encoding="ascii"
        )
        return made


def wrk(
    url: str, requests: Requests, *, seconds: float, connections: int = 64, cpus: str | None = None
) -> Load:
    """As many requests as `connections` get answered. Raises `LoadError` if wrk is missing or one failed."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is missing: apt-get install wrk")
    script = requests.paths.with_name("load.lua")
    script.write_text(_SCRIPT.replace("HEADS", str(requests.heads)).replace("PATHS", str(requests.paths)))
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script), url]
    done = finished(words, cpus=cpus, timeout_seconds=seconds + 60)
    found = [line[4:] for line in done.stdout.splitlines() if line.startswith("WRK ")]
    if not found:
        raise LoadError(f"wrk said: {(done.stdout + done.stderr).strip()[-500:]}")
    load = Load(**json.loads(found[0]))
    if load.failed:
        raise LoadError(f"{load.failed} of {load.requests} requests to {url} failed")
    return load


def open_loop(
    host: str, port: int, requests: Requests, *, rate: int, seconds: float, cpus: str | None = None
) -> Load:
    """`rate` requests a second, on schedule, in a process of its own. Raises `LoadError` if one failed."""
    words = [
        sys.executable,
        "-m",
        "bench.open_loop",
        host,
        str(port),
        str(requests.paths),
        str(requests.heads),
    ]
    words += [str(rate), str(seconds)]
    done = finished(words, cpus=cpus, timeout_seconds=seconds + 60, cwd=Path(__file__).parent.parent)
    if done.returncode != 0:
        raise LoadError(f"the open loop failed: {done.stderr.strip()[-500:]}")
    return Load(**json.loads(done.stdout))
