"""Our gRPC door beside `grpc.aio`, envoyproxy/ratelimit and gubernator, under the same h2load.

A request asks for one key, or for as many keys as a row says; each peer gets the same number, in its own protocol.
"""

import contextlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.limiter.go_peers import gubernator, ratelimit
from bench.limiter.servers import Head, doors, per_cpu
from bench.load import LoadError
from bench.processes import Server, cores, finished, free_port, listening, running
from bench.table import Bar, interleaved
from twelvefold.systems.limiter.compat.grpc.messages import varint

OURS = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
GUBERNATOR = "pb.gubernator.V1/GetRateLimits"
_HOUR_MS = 3_600_000
_LIMIT = 1_000_000_000


def beside_rls(folder: Path, requests: int, rounds: int, peer: str, head: Head) -> Bar:
    """Exact checks of one key; the peers speak the same protocol. What Valkey took is in the details."""
    cpus, load_cpus = cores()
    body = our_question(folder, 1)
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
            other, peer_port = stack.enter_context(ratelimit(folder, cpus=cpus))
            label = "envoyproxy/ratelimit, Valkey apart"

        def subject(servers: list[Server], at: int) -> Callable[[], dict[str, float]]:
            return lambda: {
                "per_cpu_second": per_cpu(
                    servers, lambda: _h2load(at, OURS, requests, body, load_cpus), requests
                )
            }

        found = interleaved(
            {
                "ours": subject([ours], port),
                "peer": subject([other], peer_port),
                "ours, Valkey included": subject([ours, state], port),
            },
            rounds,
        )
    value, peer_value = found["ours"]["per_cpu_second"], found["peer"]["per_cpu_second"]
    return Bar(*head, value=value / peer_value, peer=label, peer_value=peer_value, details=found)


def beside_gubernator(folder: Path, requests: int, rounds: int, checks: int, head: Head) -> Bar:
    """`checks` keys a request; checks are counted.

    What gubernator counts lives in its process, so ours are leased; exact ones are in the details.
    """
    cpus, load_cpus = cores()
    ours, theirs = our_question(folder, checks), gubernator_question(folder, checks)
    count = max(1000, requests // checks)
    with (
        doors(folder, "leased", cpus=cpus) as (leased, leased_state, _, leased_port),
        doors(folder, "exact", cpus=cpus) as (exact, exact_state, _, exact_port),
        gubernator(folder, cpus=cpus) as (peer, peer_port),
    ):

        def subject(
            servers: list[Server], port: int, call: str, body: Path
        ) -> Callable[[], dict[str, float]]:
            return lambda: {
                "per_cpu_second": checks
                * per_cpu(servers, lambda: _h2load(port, call, count, body, load_cpus), count)
            }

        found = interleaved(
            {
                "ours, leased, Valkey included": subject([leased, leased_state], leased_port, OURS, ours),
                "ours, exact, Valkey included": subject([exact, exact_state], exact_port, OURS, ours),
                "gubernator": subject([peer], peer_port, GUBERNATOR, theirs),
            },
            rounds,
        )
    value = found["ours, leased, Valkey included"]["per_cpu_second"]
    peer_value = found["gubernator"]["per_cpu_second"]
    return Bar(
        *head,
        value=value / peer_value,
        peer="gubernator, one node; ours leased, Valkey included",
        peer_value=peer_value,
        details=found,
    )


def our_question(folder: Path, checks: int) -> Path:
    """A framed `RateLimitRequest` with a descriptor for each of so many users."""
    descriptors = b"".join(
        _text(2, _text(1, _text(1, b"user") + _text(2, b"ann%d" % number))) for number in range(checks)
    )
    return _framed(folder / f"ours-{checks}.bin", _text(1, b"bench") + descriptors)


def gubernator_question(folder: Path, checks: int) -> Path:
    """A framed `GetRateLimitsReq` with a token bucket for each of so many users."""

    def number(name: int, value: int) -> bytes:
        return varint(name << 3) + varint(value)

    rest = number(3, 1) + number(4, _LIMIT) + number(5, _HOUR_MS)
    return _framed(
        folder / f"gubernator-{checks}.bin",
        b"".join(_text(1, _text(1, b"user") + _text(2, b"ann%d" % each) + rest) for each in range(checks)),
    )


def _text(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def _framed(path: Path, data: bytes) -> Path:
    path.write_bytes(b"\0" + len(data).to_bytes(4, "big") + data)
    return path


def _h2load(port: int, call: str, requests: int, body: Path, cpus: str | None) -> None:
    if shutil.which("h2load") is None:
        raise LoadError("h2load is missing: apt-get install nghttp2-client")
    words = ["h2load", "-n", str(requests), "-c", "4", "-m", "32", "-d", str(body)]
    words += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/{call}"]
    done = finished(words, cpus=cpus)
    if not re.search(rf"{requests} succeeded", done.stdout):
        raise LoadError(f"h2load: {done.stdout[-300:]}{done.stderr[-200:]}")
