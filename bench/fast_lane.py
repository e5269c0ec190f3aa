"""The fast lane alone, beside nginx `return 302` and a bare asyncio protocol: `python -m bench.fast_lane`.

What a redirect costs before any system: the answer looked up in a dict, a click (time, segment,
context) appended to a list. Requests a server CPU-second, in short interleaved rounds on one core, so
that a busy machine hits all alike; the ratio is the median of the rounds' ratios.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import uvloop

from bench.links import nginx
from bench.load import Requests, wrk
from bench.processes import Server as Process
from bench.processes import cores, free_port, listening, running, usage
from twelvefold.web.application import Application
from twelvefold.web.ports import bind
from twelvefold.web.server import Server, tune_collector

CODE = "abc1234"
RESPONSE = (
    b"HTTP/1.1 302 Found\r\nlocation: https://example.com/\r\n"
    b"cache-control: private, max-age=0\r\ncontent-length: 0\r\n\r\n"
)
AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{100 + n}.0.0.0 Safari/537.36"
    for n in range(512)
]


class Context:
    """One connection's look-ups, and its clicks."""

    __slots__ = ("answer",)

    def __init__(self, table: dict[bytes, bytes], record: Callable[[Any], None]) -> None:
        find = table.get

        def answer(segment: bytes) -> bytes | None:
            response = find(segment)
            if response is not None:
                record((time(), segment, self))
            return response

        self.answer = answer

    def start(self, _segment: bytes, _done: Callable[[bytes | None], None]) -> bool:
        return False


class Lane:
    def __init__(self, clicks: list[Any]) -> None:
        self.table = {CODE.encode(): RESPONSE}
        self.clicks = clicks

    def context(self, host: bytes, tail: bytes, client: str) -> Context:  # noqa: ARG002  # a lane's signature
        return Context(self.table, self.clicks.append)


class Bare(asyncio.Protocol):
    """What asyncio itself costs: the same bytes whatever was asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, _data: bytes) -> None:
        self.write(RESPONSE)


async def serve(kind: str, port: int) -> None:
    """One of the two servers of our own, until it is ended."""
    clicks: list[Any] = []
    if kind == "bare":
        loop = asyncio.get_running_loop()
        await loop.create_server(Bare, "127.0.0.1", port)
        gc.freeze()
    else:
        server = Server(Application(version="0"), sockets=[bind("127.0.0.1", port)], lane=Lane(clicks))
        await server.start()
        tune_collector()
    while True:
        await asyncio.sleep(0.05)
        clicks.clear()


@contextlib.contextmanager
def ours(folder: Path, kind: str, cpus: str | None) -> Any:
    port = free_port()
    words = [sys.executable, "-m", "bench.fast_lane", "--serve", kind, "--port", str(port)]
    root = Path(__file__).parent.parent
    with running(words, name=kind, folder=folder, cpus=cpus, ready=listening(port), cwd=root) as server:
        yield server, port


def measure(
    subjects: dict[str, tuple[Process, int]], requests: Requests, seconds: float, cpus: str | None
) -> Any:
    """Requests a CPU-second of each, once."""
    found = {}
    for name, (server, port) in subjects.items():
        pids = server.pids()["server"]
        before = usage(pids).cpu_seconds
        load = wrk(f"http://127.0.0.1:{port}", requests, seconds=seconds, cpus=cpus)
        found[name] = load.requests / (usage(pids).cpu_seconds - before)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--serve", choices=("bare", "lane"))
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.port))
        return
    server_cpus, load_cpus = cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        subjects = {
            "nginx return 302": stack.enter_context(nginx.plain(folder / "nginx", cpus=server_cpus)),
            "bare protocol": stack.enter_context(ours(folder, "bare", server_cpus)),
            "fast lane": stack.enter_context(ours(folder, "lane", server_cpus)),
        }
        for kind, agents in (("one kind of headers", AGENTS[:1]), ("512 kinds of headers", AGENTS)):
            heads = [(agent, "en") for agent in agents]
            requests = Requests.write(folder / f"load-{len(agents)}", [f"/{CODE}"] * 512, heads)
            rounds = [
                measure(subjects, requests, arguments.seconds, load_cpus) for _ in range(arguments.rounds)
            ]
            print(kind)
            for subject in subjects:
                rates = sorted(found[subject] for found in rounds)
                ratio = statistics.median(found[subject] / found["nginx return 302"] for found in rounds)
                rate = statistics.median(rates)
                spread = [round(rates[len(rates) // 4] / 1000), round(rates[-len(rates) // 4] / 1000)]
                print(
                    f"  {subject:18} {rate / 1000:6.1f} k/CPU-s {1e6 / rate:6.2f} µs  {ratio:5.2f} of nginx  {spread}"
                )
            print(json.dumps(rounds), file=sys.stderr)


if __name__ == "__main__":
    main()
