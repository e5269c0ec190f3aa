"""The rows of the specification's table for links, in its order.

100,000 links whose popularity is Zipf 1.1, requests that carry the heads of browsers, every click recorded.
Throughput is answered redirects for each CPU-second of the serving processes: supervisor and web on our side,
nginx, node, php-fpm on the others'. Engines (PostgreSQL, Valkey, MariaDB) and our worker, which has a row of
its own, are reported apart. Subjects take turns, A-B-A-B, and each figure is the median of its runs.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.links import kutt, nginx, yourls
from bench.links.click_mix import LINKS, ZIPF, clicks, user_agents, zipf_ranks
from bench.links.platform import Platform, platform
from bench.load import Load, Requests, open_loop, wrk
from bench.processes import NotStartedError, Server, cores, disk_bytes, usage
from bench.table import Bar, interleaved
from twelvefold.engines.log import TopicFullError, ValkeyStreams
from twelvefold.platform import runtime
from twelvefold.systems.links.click_codec import encode
from twelvefold.systems.links.user_agents import read_agent
from twelvefold.systems.links.workers import TOPIC

SHARED_URLS = Path(__file__).resolve().parents[3] / "shared" / "data" / "urls.txt"
SENT = 200_000
"""Requests prepared; sent round and round."""

RATE = 20_000
CLICKS = 500_000
CLICKS_A_BATCH = 2_000
BULK_LINKS = 1_000_000
HOT = "hot redirects per CPU-second ÷ nginx `return 302`"
MISSES = "near-cache off ÷ nginx + Lua + Redis"
KUTT, YOURLS = "÷ Kutt", "÷ YOURLS"
LATENCY = "p99 at 20k requests/s, open loop, one core"
INGEST = "clicks made queryable per CPU-second, enrichment included"
CREATION = "1M links created in bulk, durable"


class Bench:
    """One run: a platform with its links, and what is sent."""

    def __init__(self, folder: Path, *, seconds: float, rounds: int, urls: Path | None) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rounds = rounds
        self.server_cpus, self.load_cpus = cores()
        self._urls = urls or (SHARED_URLS if SHARED_URLS.exists() else None)
        self.codes: list[str] = []
        self.requests: Requests

    def targets(self, count: int) -> Iterator[str]:
        """`count` different URLs: real home pages first, then pages of them."""
        if self._urls is None:
            homes = [f"https://site{n}.example/" for n in range(20_000)]
        else:
            homes = self._urls.read_text(encoding="utf-8").split()
        pages = (f"{home}?page={n}" if n else home for n in itertools.count() for home in homes)
        return itertools.islice(pages, count)

    def prepare(self, ours: Platform) -> None:
        """Create the links, and write down what will be asked for."""
        self.codes = ours.create(list(self.targets(LINKS)))
        ranks = zipf_ranks(SENT, LINKS, exponent=ZIPF, seed=3)
        # A browser's connection repeats its head; wrk cannot give each connection one of its own, so all have one.
        agent = next(agent for agent in user_agents() if not read_agent(agent).bot)
        heads = [(agent, "en-US,en;q=0.9")]
        self.requests = Requests.write(self.folder, [f"/{self.codes[rank]}" for rank in ranks], heads)

    def redirects(
        self, port: int, weighed: Callable[[], Mapping[str, Sequence[int]]]
    ) -> Callable[[], dict[str, float]]:
        """A measurement of one subject: redirects a second, and for each CPU-second of its processes."""

        def measure() -> dict[str, float]:
            groups = weighed()
            before = {name: usage(pids).cpu_seconds for name, pids in groups.items()}
            load = wrk(f"http://127.0.0.1:{port}", self.requests, seconds=self.seconds, cpus=self.load_cpus)
            after = {name: usage(pids) for name, pids in groups.items()}
            took = {name: after[name].cpu_seconds - before[name] for name in groups}
            return {
                "requests": load.requests,
                "per_second": load.per_second,
                "per_cpu_second": load.requests / took["server"],
                "p50_ms": load.p50_ms,
                "p99_ms": load.p99_ms,
                "p999_ms": load.p999_ms,
                **{f"{name}_cpu_seconds": seconds for name, seconds in took.items()},
                **{f"{name}_pss_bytes": used.pss_bytes for name, used in after.items()},
            }

        return measure


def measure(
    folder: Path, *, only: Sequence[str], seconds: float, rounds: int, urls: Path | None
) -> tuple[list[Bar], dict[str, Any]]:
    """All rows, or those whose name has one of `only` in it."""
    bench = Bench(folder, seconds=seconds, rounds=rounds, urls=urls)

    def wanted(*names: str) -> bool:
        return not only or any(part in name for part in only for name in names)

    bars: list[Bar] = []
    details: dict[str, Any] = {}
    if wanted(HOT, MISSES, KUTT, YOURLS, LATENCY, INGEST):
        with platform(folder / "data", cpus=bench.server_cpus) as ours:
            bench.prepare(ours)
            if wanted(HOT, KUTT, YOURLS):
                bars += _hot(bench, ours, wanted)
            if wanted(LATENCY):
                ours.warm(bench.codes)
                bars.append(_latency(bench, ours))
            details["resident_memory"] = {name: usage(pids).pss_bytes for name, pids in ours.roles().items()}
    if wanted(MISSES):
        bars.append(_misses(bench))
    if wanted(INGEST):
        bars.append(_ingest(bench))
    if wanted(CREATION):
        bars.append(_creation(bench))
    order = (HOT, MISSES, KUTT, YOURLS, LATENCY, INGEST, CREATION)
    return sorted(bars, key=lambda bar: order.index(bar.measure)), details


def _hot(bench: Bench, ours: Platform, wanted: Callable[..., bool]) -> list[Bar]:
    """Near-cache warm: ours and nginx in turn; then Kutt and YOURLS, each in turn with ours."""
    ours.warm(bench.codes)
    subject = bench.redirects(ours.port, ours.roles)
    bars: list[Bar] = []
    if wanted(HOT):
        with nginx.plain(bench.folder / "nginx", cpus=bench.server_cpus) as (server, port):
            peer = bench.redirects(port, server.pids)
            found = interleaved({"ours": subject, "nginx": peer}, bench.rounds)
        bars.append(_ratio(HOT, "≥ 0.90", "nginx `return 302`", found["ours"], found["nginx"]))
    for name, bar, peer_name, missing, start in (
        (KUTT, "≥ 40", "Kutt (Node, Postgres + Valkey)", kutt.why_not(), _start_kutt),
        (YOURLS, "≥ 250", "YOURLS (php-fpm + MariaDB)", yourls.why_not(), _start_yourls),
    ):
        if not wanted(name):
            continue
        if missing:
            bars.append(Bar(name, "times", bar, peer=peer_name, why=missing))
            continue
        try:
            with ExitStack() as stack:
                peer = start(bench, stack)
                found = interleaved({"ours": subject, "peer": peer}, min(3, bench.rounds))
            bars.append(_ratio(name, bar, peer_name, found["ours"], found["peer"]))
        except NotStartedError as error:
            bars.append(Bar(name, "times", bar, peer=peer_name, why=str(error)))
    return bars


def _start_kutt(bench: Bench, stack: ExitStack) -> Callable[[], dict[str, float]]:
    targets = list(bench.targets(LINKS))
    started = kutt.kutt(bench.folder / "kutt", bench.codes, targets, cpus=bench.server_cpus)
    server, port = stack.enter_context(started)
    return bench.redirects(port, server.pids)


def _start_yourls(bench: Bench, stack: ExitStack) -> Callable[[], dict[str, float]]:
    targets = list(bench.targets(LINKS))
    started = yourls.yourls(bench.folder / "yourls", bench.codes, targets, cpus=bench.server_cpus)
    front, php, port = stack.enter_context(started)
    return bench.redirects(port, lambda: _joined(front, php))


def _misses(bench: Bench) -> Bar:
    """Every request asks Valkey: ours with the near-cache off, nginx with Lua and Redis."""
    targets = list(bench.targets(LINKS))
    try:
        with ExitStack() as stack:
            ours = stack.enter_context(
                platform(
                    bench.folder / "data",
                    cpus=bench.server_cpus,
                    settings=["links.near_cache_entries=0"],
                    name="twelvefold-misses",
                )
            )
            server, valkey, port = stack.enter_context(
                nginx.with_redis(bench.folder / "lua", bench.codes, targets, cpus=bench.server_cpus)
            )
            ours.warm(bench.codes)  # into Valkey: the near-cache is off
            peer = bench.redirects(port, lambda: _joined(server, valkey))
            found = interleaved({"ours": bench.redirects(ours.port, ours.roles), "peer": peer}, bench.rounds)
    except NotStartedError as error:
        return Bar(MISSES, "times", "≥ 2.5", peer="nginx + Lua + Redis", why=str(error))
    return _ratio(MISSES, "≥ 2.5", "nginx + Lua + Redis", found["ours"], found["peer"])


def _latency(bench: Bench, ours: Platform) -> Bar:
    loads: list[Load] = [
        open_loop(
            "127.0.0.1", ours.port, bench.requests, rate=RATE, seconds=bench.seconds, cpus=bench.load_cpus
        )
        for _ in range(bench.rounds)
    ]
    return Bar(
        LATENCY,
        "ms",
        "≤ 2 ms",
        statistics.median(load.p99_ms for load in loads),
        details={
            "p50_ms": statistics.median(load.p50_ms for load in loads),
            "p999_ms": statistics.median(load.p999_ms for load in loads),
            "p99_ms_of_each_run": [load.p99_ms for load in loads],
        },
    )


def _ingest(bench: Bench) -> Bar:
    """Half a million clicks of the mix, put into the log as web processes do, until all are counted.

    In a folder of its own: what the rows before left to be counted and compacted would be paid for here.
    """
    with platform(bench.folder / "ingest", cpus=bench.server_cpus, name="twelvefold-ingest") as ours:
        ours.create(list(bench.targets(LINKS)))
        ids = ours.link_ids(LINKS)
        start = time.time() - 600
        mix = [(start + seconds, ids[rank], context) for seconds, rank, context in clicks(CLICKS)]
        records = [encode(mix[at : at + CLICKS_A_BATCH]) for at in range(0, CLICKS, CLICKS_A_BATCH)]
        people = sum(not _is_program(context.tail) for _, _, context in mix)
        del mix
        before_clicks = ours.counted_clicks()
        roles = ours.roles()
        before = {name: usage(pids).cpu_seconds for name, pids in roles.items()}
        asyncio.run(_publish(runtime.read(ours.data).engine_urls.log, records))
        waited = ours.wait_for_clicks(before_clicks + people, seconds=300)
        took = {name: usage(pids).cpu_seconds - before[name] for name, pids in roles.items()}
    return Bar(
        INGEST,
        "clicks per CPU-second of the worker",
        "≥ 200k",
        CLICKS / took["worker"],
        details={
            "clicks": CLICKS,
            "people": people,
            "seconds_until_all_were_counted": waited,
            **{f"{name}_cpu_seconds": seconds for name, seconds in took.items()},
        },
    )


def _is_program(tail: bytes) -> bool:
    line = next(line for line in tail.split(b"\r\n") if line.startswith(b"User-Agent: "))
    return read_agent(line[12:].decode()).bot


async def _publish(url: str, records: Sequence[bytes]) -> None:
    log = await ValkeyStreams.open(url, deadline_seconds=30)
    try:
        for record in records:
            while True:
                try:
                    await log.publish(TOPIC, [record])
                    break
                except TopicFullError:  # a topic is bounded; web processes spool meanwhile
                    await asyncio.sleep(0.1)
    finally:
        await log.close()


def _creation(bench: Bench) -> Bar:
    """A million links over the bulk API, each acknowledged when PostgreSQL has it on disk."""
    with platform(bench.folder / "bulk", cpus=None, name="twelvefold-bulk") as ours:
        targets = list(bench.targets(BULK_LINKS))
        started = time.monotonic()
        codes = ours.create(targets)
        seconds = time.monotonic() - started
        if len(set(codes)) != BULK_LINKS:
            raise RuntimeError(f"{BULK_LINKS} links got {len(set(codes))} different codes")
        stored = disk_bytes(ours.data)
    return Bar(CREATION, "s", "≤ 30 s", seconds, details={"disk_bytes_per_link": stored / BULK_LINKS})


def _joined(*servers: Server) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for server in servers:
        for name, pids in server.pids().items():
            groups.setdefault(name, []).extend(pids)
    return groups


def _ratio(measure: str, bar: str, peer: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> Bar:
    return Bar(
        measure,
        "times",
        bar,
        ours["per_cpu_second"] / theirs["per_cpu_second"],
        peer,
        theirs["per_cpu_second"],
        details={"ours": ours, "peer": theirs},
    )
