"""The rows that have peers: ours and theirs in turn, in one run, and the bar that comes of it."""

import statistics
from collections.abc import Callable
from pathlib import Path

from bench.chat import peers, synapse
from bench.table import Bar

IDLE = "resident memory per authenticated, subscribed, idle connection (10k)"
ONE = "one message to a room of 1,000: CPU µs a delivery ÷ a C epoll loop"
BUSY = "busy room (≥ 8 messages a tick): CPU µs a delivery"
PAIRS = "durable 1:1 send → delivered, p99"
RATE = "durable messages a second a core, 8 senders on many rooms"
STORM = "2,000 clients reconnecting, each 500 messages behind"
KILL = "kill -9 of the server under load: acknowledged messages lost or doubled"

IDLE_CONNECTIONS = 10_000
ROOM = 1_000
PAYLOAD_BYTES = 128
PAUSE_SECONDS = 0.02
ROUNDS = 3
ONE_BURST, ONE_BURSTS = 1, 120
BUSY_BURST, BUSY_BURSTS = 32, 20


class Peers:
    """Those that fan out as we do."""

    def __init__(self, folder: Path, cpus: str) -> None:
        self.floor = peers.floor(folder, cpus)
        self.node_ws = peers.node_ws(folder, cpus)
        self.centrifugo = peers.centrifugo(folder, cpus)

    def fan_out(
        self, ours: Callable[[], float], *, burst: int, bursts: int
    ) -> tuple[float, dict[str, float | None]]:
        """Ours, and beside it everybody's, in the same minutes: three rounds in turn, the median of each."""
        subjects: dict[str, Callable[[], float | None]] = {
            "ours_us": ours,
            "floor_us": lambda: self.floor.fan_out(ROOM, burst=burst, bursts=bursts, pause=PAUSE_SECONDS),
            "node_ws_us": lambda: self.node_ws.fan_out(ROOM, burst=burst, bursts=bursts, pause=PAUSE_SECONDS),
            "centrifugo_us": lambda: self.centrifugo.fan_out(
                ROOM, burst=burst, bursts=bursts, pause=PAUSE_SECONDS
            ),
        }
        runs: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, measure in subjects.items():
                found = measure()
                if found is not None:
                    runs[name].append(found)
        medians = {name: statistics.median(some) if some else None for name, some in runs.items()}
        own = medians["ours_us"]
        assert own is not None
        return own, medians


def idle_bar(each: float, others: Peers) -> Bar:
    """The row of memory."""
    theirs = others.centrifugo.idle(IDLE_CONNECTIONS)
    details = {"connections": IDLE_CONNECTIONS, "times_centrifugo": theirs / each if theirs else None}
    return Bar(
        IDLE, "KiB", "≤ 4", value=each, peer=peers.CENTRIFUGO, peer_value=theirs, why=others.centrifugo.missing,
        details=details,
    )  # fmt: skip


def one_bar(ours: Callable[[], float], others: Peers) -> Bar:
    """The row of one message."""
    value, details = others.fan_out(ours, burst=ONE_BURST, bursts=ONE_BURSTS)
    floor = details["floor_us"]
    return Bar(
        ONE, "times", "≤ 1.2", value=value / floor if floor else None, peer="C epoll, µs", peer_value=floor,
        why=others.floor.missing, details=details,
    )  # fmt: skip


def busy_bar(ours: Callable[[], float], others: Peers) -> Bar:
    """The row of the busy room."""
    value, found = others.fan_out(ours, burst=BUSY_BURST, bursts=BUSY_BURSTS)
    times = {
        f"times_{name}": theirs / value
        for name in ("node_ws", "centrifugo")
        if (theirs := found[f"{name}_us"]) is not None
    }
    missing = "; ".join(filter(None, (others.node_ws.missing, others.centrifugo.missing)))
    return Bar(
        BUSY, "µs", "≤ 0.8", value=value, peer="node ws", peer_value=found["node_ws_us"], why=missing or None,
        details={**found, **times},
    )  # fmt: skip


def rate_bar(value: float, details: dict[str, float], theirs: synapse.Measured) -> Bar:
    """The row of durable messages."""
    more = {
        "synapse_per_second_on_the_wall": theirs.per_second,
        "synapse_per_cpu_second": theirs.per_cpu_second,
    }
    return Bar(
        RATE, "messages a CPU-second of the server", "≥ 50000", value=value, peer="Synapse (SQLite)",
        peer_value=theirs.per_cpu_second, why=theirs.why, details={**details, **more},
    )  # fmt: skip
