"""Our side: `twelvefold up` in a folder of its own, filled with links over its HTTP API."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import NotStartedError, Server, running

BULK = 10_000
PAGE = 500
PIPELINED = 50
WARMERS = 16


def executable() -> str:
    """`BENCH_TWELVEFOLD`, or the command beside this Python. Raises `NotStartedError`."""
    beside = str(Path(sys.executable).with_name("twelvefold"))
    found = os.environ.get("BENCH_TWELVEFOLD") or shutil.which("twelvefold") or shutil.which(beside)
    if not found:
        raise NotStartedError("there is no `twelvefold` command beside this Python: run `make setup`")
    return found


@dataclass
class Platform:
    """A running platform. Methods raise `RuntimeError` for an answer that is no success."""

    server: Server
    url: str
    api_key: str
    data: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def roles(self) -> dict[str, list[int]]:
        """Processes: `server` (supervisor and web), `worker`, `engines`."""
        return self.server.pids(lambda words: "worker" if "work" in words else "server")

    def call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """One call of the API; gives the decoded answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            return _call(connection, self.api_key, method, path, body)
        finally:
            connection.close()

    def create(self, targets: Sequence[str], *, connections: int = 4) -> list[str]:
        """Create a link for each target in bulk calls on a few connections; gives the codes, in order."""

        def one(part: Sequence[str]) -> list[str]:
            answer = self.call("POST", "/v1/links/bulk", json.dumps([{"url": url} for url in part]).encode())
            if answer["failed"]:
                raise RuntimeError(f"{answer['failed']} links were refused: {answer['results'][0]}")
            return [result["code"] for result in answer["results"]]

        parts = [targets[at : at + BULK] for at in range(0, len(targets), BULK)]
        with ThreadPoolExecutor(connections) as pool:
            return [code for codes in pool.map(one, parts) for code in codes]

    def warm(self, codes: Sequence[str]) -> None:
        """Ask for every code once, so that what is measured afterwards is hot. Raises `RuntimeError`."""
        parts = [codes[at : at + PIPELINED] for at in range(0, len(codes), PIPELINED)]
        with ThreadPoolExecutor(WARMERS) as pool:
            list(pool.map(self._warm, [parts[n::WARMERS] for n in range(WARMERS)]))

    def _warm(self, parts: Sequence[Sequence[str]]) -> None:
        request = "GET /{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUser-Agent: warm/1\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            for part in parts:
                connection.sendall("".join(request.format(code, self.port) for code in part).encode())
                answers = b""
                while answers.count(b"\r\n\r\n") < len(part):
                    received = connection.recv(1 << 20)
                    if not received:
                        raise RuntimeError("the server closed a connection that was in use")
                    answers += received
                if answers.count(b"HTTP/1.1 302") != len(part):
                    at = next(m.start() for m in re.finditer(rb"HTTP/1.1 (?!302)", answers))
                    raise RuntimeError(f"not all codes are redirected: {answers[at : at + 400]!r}")

    def link_ids(self, count: int) -> list[int]:
        """The ids of `count` links."""
        ids: list[int] = []
        cursor = ""
        while len(ids) < count:
            page = self.call("GET", f"/v1/links?limit={PAGE}{cursor}")
            ids += [int(link["id"]) for link in page["items"]]
            if not page["next_cursor"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        return ids[:count]

    def counted_clicks(self) -> int:
        """People's clicks that statistics know of."""
        return int(self.call("GET", "/v1/links/stats")["clicks"])

    def wait_for_clicks(self, expected: int, *, seconds: float) -> float:
        """Wait until as many clicks are counted; gives how long it took. Raises `RuntimeError` when late."""
        started = time.monotonic()
        while (counted := self.counted_clicks()) < expected:
            if time.monotonic() - started > seconds:
                raise RuntimeError(f"{counted} of {expected} clicks are counted after {seconds:g} s")
            time.sleep(0.1)
        return time.monotonic() - started


@contextlib.contextmanager
def platform(
    folder: Path, *, cpus: str | None = None, settings: Sequence[str] = (), name: str = "twelvefold"
) -> Iterator[Platform]:
    """Run `twelvefold up` on `folder`, pinned; a folder used before keeps its links."""
    answer = folder.with_name(f"{folder.name}-{name}.json")
    words = [executable(), "up", "--json", "--data", str(folder), "--port", "0"]
    words += [word for setting in settings for word in ("-X", setting)]
    with (
        answer.open("wb") as out,
        running(
            words,
            name=name,
            folder=folder.parent,
            cpus=cpus,
            stdout=out.fileno(),
            ready=lambda: answer.read_bytes().endswith(b"\n"),
        ) as server,
    ):
        said = json.loads(answer.read_bytes())
        yield Platform(server, said["url"], said["api_key"], folder)


def _call(
    connection: http.client.HTTPConnection, api_key: str, method: str, path: str, body: bytes | None
) -> Any:
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
    return json.loads(content) if content else None
