"""`CL.THROTTLE` at our Redis door beside EVALSHA of a GCRA script in Valkey, under the same redis-benchmark.

Keys are drawn evenly from 100,000, for every subject; before each counted run as many requests again as there are
keys, twice over, see to it that nearly all of them exist (86 in 100), so that steady traffic is measured, and no start.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.limiter.servers import Head, doors, per_cpu, valkey
from bench.load import LoadError
from bench.processes import Server, cores, finished, free_port, listening, running
from bench.table import Bar, interleaved

KEYS = 100_000
WARM_UP_REQUESTS = 2 * KEYS
PEER_GCRA = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
if tat < now then tat = now end
local interval = ARGV[3] * 1000000 / ARGV[2]
local after = tat + interval
local over = after - (now + (ARGV[1] + 1) * interval)
if over > 0 then return {1, ARGV[1] + 1, 0, math.ceil(over / 1000000), math.ceil((tat - now) / 1000000)} end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {0, ARGV[1] + 1, math.floor((now + (ARGV[1] + 1) * interval - after) / interval), -1,
  math.ceil((after - now) / 1000000)}
"""


def _benchmark(port: int, requests: int, pipeline: int, command: Sequence[str], *, cpus: str | None) -> None:
    if shutil.which("redis-benchmark") is None:
        raise LoadError("redis-benchmark is missing: apt-get install redis-tools")
    words = [
        "redis-benchmark",
        "-p",
        str(port),
        "-n",
        str(requests),
        "-c",
        "50",
        "-P",
        str(pipeline),
        "-r",
        str(KEYS),
    ]
    done = finished([*words, "--csv", *command], cpus=cpus)
    if done.returncode or "ERR" in done.stdout + done.stderr:
        raise LoadError(f"redis-benchmark: {(done.stdout + done.stderr)[-300:]}")


def beside_evalsha(folder: Path, requests: int, rounds: int, depth: int, head: Head) -> Bar:
    """Ours in local mode, which is what the peer is: one process that counts alone. The others are in the details."""
    cpus, load_cpus = cores()
    floor_port = free_port()
    floor_words = [sys.executable, "-m", "bench.limiter.floor", str(floor_port)]
    throttle = ["CL.THROTTLE", "user:__rand_int__", "15", "30", "60"]
    with (
        doors(folder, "local", cpus=cpus) as (local, _, local_port, _),
        doors(folder, "exact", cpus=cpus) as (exact, exact_state, exact_port, _),
        valkey(folder, cpus=cpus, name="peer") as (peer, peer_port),
        running(floor_words, name="floor", folder=folder, cpus=cpus, ready=listening(floor_port)) as floor,
    ):
        sha = subprocess.run(
            ["redis-cli", "-p", str(peer_port), "SCRIPT", "LOAD", PEER_GCRA],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        evalsha = ["EVALSHA", sha, "1", "user:__rand_int__", "15", "30", "60"]

        def subject(
            servers: Sequence[Server], port: int, command: Sequence[str]
        ) -> Callable[[], dict[str, float]]:
            def run() -> dict[str, float]:
                count = requests * (1 if depth == 1 else 3)
                # Idle buckets fill up and Valkey drops them, so each run begins with keys that are there again.
                _benchmark(port, WARM_UP_REQUESTS, 32, command, cpus=load_cpus)
                load = partial(_benchmark, port, count, depth, command, cpus=load_cpus)
                return {"per_cpu_second": per_cpu(servers, load, count)}

            return run

        found = interleaved(
            {
                "ours, local": subject([local], local_port, throttle),
                "ours, exact, without Valkey": subject([exact], exact_port, throttle),
                "ours, exact, Valkey included": subject([exact, exact_state], exact_port, throttle),
                "EVALSHA": subject([peer], peer_port, evalsha),
                "a constant answer from the same event loop": subject([floor], floor_port, throttle),
            },
            rounds,
        )
    value, peer_value = (found[name]["per_cpu_second"] for name in ("ours, local", "EVALSHA"))
    return Bar(
        *head,
        value=value / peer_value,
        peer="EVALSHA; ours in local mode",
        peer_value=peer_value,
        details=found,
    )
