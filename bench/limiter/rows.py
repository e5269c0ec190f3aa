"""The limiter's promises, each measured beside its peer on this machine.

Servers run on one core, load on another; figures are operations per CPU-second of the server's process tree,
Valkey reported apart. Peers: `limits` (PyPI), Valkey's EVALSHA of a GCRA script, `grpc.aio`, and in Go
envoyproxy/ratelimit and gubernator, which are built once from the module proxy into a cache folder.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.limiter import algorithms
from bench.limiter.envoy import added_latency
from bench.limiter.grpc_rows import beside_gubernator, beside_rls
from bench.limiter.memory import memory
from bench.limiter.servers import Head, library, valkey
from bench.limiter.throttle import beside_evalsha
from bench.load import LoadError
from bench.processes import cores, pinned
from bench.table import Bar, interleaved

TIMES = "\u00d7"


def measure(
    folder: Path, *, only: Sequence[str], seconds: float, rounds: int, **_: Any
) -> tuple[list[Bar], dict[str, Any]]:
    """All rows of the table and the comparison of algorithms, or those whose name has one of `only` in it."""
    rows: list[tuple[Head, Callable[[Head], Bar]]] = []
    requests = int(seconds * 25_000)

    def row(measure: str, unit: str, bar: str, run: Callable[[Head], Bar]) -> None:
        rows.append(((measure, unit, bar), run))

    row(
        "in-process checks per CPU-second ÷ limits (memory)", TIMES, "≥ 10", lambda head: _local(rounds, head)
    )
    for depth, how in ((32, "32 at a time"), (1, "one at a time")):
        row(
            f"CL.THROTTLE over RESP ÷ Valkey's EVALSHA GCRA, per CPU-second, {how}", TIMES, "≥ 2",
            partial(beside_evalsha, folder, requests, rounds, depth),
        )  # fmt: skip
    row(
        "exact mode, decisions per Valkey CPU-second",
        "1/s",
        "≥ 300k",
        lambda head: _exact(folder, rounds, head),
    )
    row(
        "gRPC ÷ grpc.aio hello-world",
        TIMES,
        "≥ 3",
        partial(beside_rls, folder, requests, rounds, "hello"),
    )
    row("gRPC ÷ envoyproxy/ratelimit", TIMES, "≥ 1", partial(beside_rls, folder, requests, rounds, "go"))
    for checks, how in ((1, "1 check"), (16, "16 checks")):
        row(
            f"gRPC ÷ gubernator, {how} a request, checks per CPU-second", TIMES, "≥ 1",
            partial(beside_gubernator, folder, requests, rounds, checks),
        )  # fmt: skip
    row(
        "added latency behind Envoy, p50",
        "ms",
        "≤ 0.5 ms",
        lambda head: added_latency(folder, seconds, rounds, "p50", head),
    )
    row(
        "added latency behind Envoy, p99",
        "ms",
        "≤ 2 ms",
        lambda head: added_latency(folder, seconds, rounds, "p99", head),
    )
    row(
        "leased mode, four nodes, one hot key: decisions/s a core",
        "1/s",
        "≥ 1M",
        partial(_leased, folder, rounds),
    )
    row("Valkey stopped for 5 s: p99 of a check", "ms", "≤ 20 ms", lambda head: _stopped(folder, head))
    row("10M keys in Valkey", "GB", "≤ 1 GB", lambda head: memory(folder, head))

    bars = []
    for head, run in rows:
        if only and not any(part in head[0] for part in only):
            continue
        print(f"… {head[0]}", file=sys.stderr)
        try:
            bars.append(run(head))
        except LoadError as error:
            bars.append(Bar(*head, why=str(error)))
    details = {}
    if not only or any(part in algorithms.NAME for part in only):
        print(f"… {algorithms.NAME}", file=sys.stderr)
        details[algorithms.NAME] = algorithms.compare(folder, rounds)
    return bars, details


def _local(rounds: int, head: Head) -> Bar:
    cpus, _ = cores()
    found = interleaved(
        {"ours": lambda: library("local", cpus=cpus), "limits": lambda: library("limits", cpus=cpus)},
        min(rounds, 3),
    )
    ours, peer = found["ours"], found["limits"]
    # The fastest of theirs against our default algorithm; the others by name are in the details.
    return Bar(*head, value=ours["token_bucket"] / max(peer.values()), peer="limits, its fastest",
        peer_value=max(peer.values()), details=found,
    )  # fmt: skip


def _exact(folder: Path, rounds: int, head: Head) -> Bar:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (server, port):
        url = f"valkey://127.0.0.1:{port}"
        found = interleaved(
            {"ours": lambda: library("exact", url, str(server.pid), cpus=load_cpus)}, min(rounds, 3)
        )
    return Bar(*head, value=found["ours"]["batch_64"], details=found)


def _leased(folder: Path, rounds: int, head: Head) -> Bar:
    """The median run by decisions a core; the bound holds in every one."""
    runs = sorted((_four_nodes(folder) for _ in range(rounds)), key=lambda run: float(run["per_core"]))
    middle = runs[len(runs) // 2]
    details = middle | {"most overshoot of all runs": max(run["overshoot"] for run in runs)}
    return Bar(*head, value=middle["per_core"], details=details)


def _four_nodes(folder: Path) -> dict[str, Any]:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (_, port):
        command = [sys.executable, "-m", "bench.limiter.library", "leased", f"valkey://127.0.0.1:{port}"]
        # Four nodes share one core: together they are what a core decides.
        nodes = [subprocess.Popen(pinned(command, load_cpus), stdout=subprocess.PIPE) for _ in range(4)]
        found = [json.loads(node.communicate(timeout=60)[0].splitlines()[-1]) for node in nodes]
    admitted = sum(node["admitted"] for node in found)
    # A bucket admits its capacity and what came back meanwhile; the nodes held leases on top.
    span_seconds = 3 + 2
    bound = 50_000_000 * (1 + span_seconds / 60) + sum(node["held"] for node in found)
    return {
        "per_core": sum(node["decided"] for node in found) / sum(node["cpu_seconds"] for node in found),
        "nodes": found,
        "admitted": admitted,
        "bound": bound,
        "overshoot": max(0, admitted - bound),
    }


def _stopped(folder: Path, head: Head) -> Bar:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (server, port):
        found = library("stopped", f"valkey://127.0.0.1:{port}", str(server.pid), cpus=load_cpus)
    return Bar(*head, value=found["p99_ms"], details=found)
