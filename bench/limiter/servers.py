"""What the limiter's rows start and weigh: a Valkey, our doors, `bench.limiter.library` in a process of its own."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.links.nginx import valkey_binary
from bench.load import LoadError
from bench.processes import Server, finished, free_port, listening, running, usage

Head = tuple[str, str, str]
"""A row's name, unit and bar."""


def library(subject: str, *words: str, cpus: str | None) -> dict[str, Any]:
    done = finished([sys.executable, "-m", "bench.limiter.library", subject, *words], cpus=cpus)
    if done.returncode:
        raise LoadError(done.stderr.strip()[-400:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def valkey(folder: Path, *, cpus: str | None, name: str = "valkey") -> Iterator[tuple[Server, int]]:
    """A Valkey of its own; gives the server and its port."""
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


def per_cpu(servers: Sequence[Server], run: Callable[[], None], count: int) -> float:
    """Operations a second of what the servers' processes computed."""
    pids = [server.pid for server in servers]
    before = usage(pids).cpu_seconds
    run()
    return count / max(usage(pids).cpu_seconds - before, 0.01)
