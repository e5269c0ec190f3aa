"""Limiters in Go, each on one thread of Go's."""

import contextlib
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path

from bench.go_programs import built
from bench.limiter.servers import valkey
from bench.processes import Server, free_port, listening, running

RATELIMIT = "github.com/envoyproxy/ratelimit/src/service_cmd@latest"
GUBERNATOR = Path(__file__).parent / "gubernator_peer"
"""A main of thirty lines around the library; `go.sum` says which version."""


@contextlib.contextmanager
def ratelimit(folder: Path, *, cpus: str | None) -> Iterator[tuple[Server, int]]:
    """envoyproxy/ratelimit over a Valkey of its own. Raises `LoadError` where it cannot be built."""
    binary = built("service_cmd", ["install", RATELIMIT])
    config = folder / "runtime" / "ratelimit" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "bench.yaml").write_text(
        "domain: bench\ndescriptors:\n  - key: user\n    rate_limit: {unit: hour, requests_per_unit: 1000000000}\n"
    )
    with valkey(folder, cpus=cpus, name="go-valkey") as (_, state_port):
        port, debug, web = free_port(), free_port(), free_port()
        env = {
            **os.environ,
            "RUNTIME_ROOT": str(folder / "runtime"), "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_WATCH_ROOT": "false",
            "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"127.0.0.1:{state_port}", "USE_STATSD": "false",
            "LOG_LEVEL": "error", "GRPC_PORT": str(port), "DEBUG_PORT": str(debug), "PORT": str(web),
            "GRPC_HOST": "127.0.0.1", "GOMAXPROCS": "1",
        }  # fmt: skip
        with running(
            [str(binary)], name="ratelimit", folder=folder, cpus=cpus, env=env, ready=listening(port)
        ) as server:
            yield server, port


@contextlib.contextmanager
def gubernator(folder: Path, *, cpus: str | None) -> Iterator[tuple[Server, int]]:
    """One node of gubernator, which owns every key. Raises `LoadError` where it cannot be built."""
    binary = built("gubernator_peer", ["build", "-o", "OUTPUT", "."], cwd=GUBERNATOR)
    port, web = free_port(), free_port()
    words = [str(binary), f"127.0.0.1:{port}", f"127.0.0.1:{web}"]
    env = {**os.environ, "GOMAXPROCS": "1"}

    def answers() -> bool:
        """Whether it knows that it owns the keys: before, it answers every check with an error."""
        asked = {"name": "bench", "unique_key": "ready", "hits": 1, "limit": 10, "duration": 60_000}
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=2)
        try:
            connection.request("POST", "/v1/GetRateLimits", json.dumps({"requests": [asked]}))
            (answer,) = json.loads(connection.getresponse().read())["responses"]
        except (OSError, ValueError, KeyError):
            return False
        finally:
            connection.close()
        return bool(not answer["error"] and answer["remaining"])

    with running(words, name="gubernator", folder=folder, cpus=cpus, env=env, ready=answers) as server:
        yield server, port
