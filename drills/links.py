"""Links under fire: processes die by SIGKILL while links are created and clicked.

The promises: every acknowledged link is there with its target; every answered redirect is counted once (a web
process may lose what it had not yet handed to the log, at most one flush window); while something is down the
answer is 503 with Retry-After or a broken connection, never 500; and all comes back by itself.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.links.platform import Platform, platform

from drills.harness import Audit, DrillError, is_replaced, kill, wait_until
from twelvefold.engines.log import SpoolLimits

LINKS = 200
CREATORS = 2
CLICKERS = 4
TRAFFIC_SECONDS = 3.0
"""Before the first kill, between any two, and after the last."""
RECOVERY_SECONDS = 60.0
COUNTING_SECONDS = 60.0
STANDSTILL_SECONDS = 2.0

LOSS_WINDOW_SECONDS = (SpoolLimits().flush_ms / 1000) + SpoolLimits().publish_seconds
"""What a killed web process may take along: what the current window gathered, and the write that was in flight."""

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


@dataclass
class Traffic:
    """Threads that create and click until told to stop, and what they saw."""

    platform: Platform
    codes: list[str]
    stopping: threading.Event = field(default_factory=threading.Event)
    created: dict[str, str] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)
    unanswered: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    without_retry_after: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> list[threading.Thread]:
        """Start all threads."""
        threads = [threading.Thread(target=self._create, args=(n,)) for n in range(CREATORS)]
        threads += [threading.Thread(target=self._click, args=(n,)) for n in range(CLICKERS)]
        for thread in threads:
            thread.start()
        return threads

    def _create(self, number: int) -> None:
        with _Client(self.platform) as client:
            for n in self._turns():
                target = f"https://example.com/{number}/{n}"
                asked = json.dumps({"url": target}).encode()
                status, body, retry_after = client.ask("POST", "/v1/links", asked)
                self._note("create", status, retry_after)
                if status == 201:
                    with self._lock:
                        self.created[json.loads(body)["code"]] = target

    def _click(self, number: int) -> None:
        with _Client(self.platform) as client:
            for n in self._turns():
                code = self.codes[(number * 7919 + n) % len(self.codes)]
                status, _, retry_after = client.ask("GET", f"/{code}")
                now = time.monotonic()
                self._note("click", status, retry_after)
                with self._lock:
                    if status == 302:
                        self.answered_at.append(now)
                    elif status == 0:
                        self.unanswered += 1

    def _turns(self) -> Iterator[int]:
        n = 0
        while not self.stopping.is_set():
            yield n
            n += 1

    def _note(self, what: str, status: int, retry_after: str | None) -> None:
        with self._lock:
            name = f"{what}: {status or 'broken connection'}"
            self.statuses[name] = self.statuses.get(name, 0) + 1
            if status in (429, 503) and not retry_after:
                self.without_retry_after += 1


class _Client:
    """One keep-alive connection that is made again when it breaks."""

    def __init__(self, ours: Platform) -> None:
        self._port = ours.port
        self._headers = {
            "Authorization": f"Bearer {ours.api_key}",
            "Content-Type": "application/json",
            "User-Agent": BROWSER,
        }
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str | None]:
        """`(status, body, Retry-After)`; status 0 when the connection broke before the answer was whole."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        try:
            self._connection.request(method, path, body, self._headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Retry-After")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            time.sleep(0.01)
            return 0, b"", None


def drill(role: str, folder: Path) -> Audit:
    """Kill one process in an empty folder. Raises `DrillError` when it cannot be carried through."""
    return kill_in_turn(f"links-{role}", (role,), folder)


def kill_in_turn(
    name: str, roles: Sequence[str], folder: Path, *, traffic_seconds: float = TRAFFIC_SECONDS
) -> Audit:
    """Kill processes one after the other, with traffic before, between and after, then count.

    Raises `DrillError` when it cannot be carried through.
    """
    audit = Audit(name)
    web_killed_at: list[float] = []
    with platform(folder / "data", name=name) as ours:
        codes = ours.create([f"https://example.org/{n}" for n in range(LINKS)])
        traffic = Traffic(ours, codes)
        threads = traffic.start()
        try:
            for role in roles:
                _enough(traffic, traffic_seconds)
                killed_at = _kill_and_wait(audit, ours, role, codes[0])
                if role == "web":
                    web_killed_at.append(killed_at)
            _enough(traffic, traffic_seconds)
        finally:
            traffic.stopping.set()
            for thread in threads:
                thread.join(30)
        _audit_links(audit, ours, traffic)
        _audit_clicks(audit, ours, traffic, web_killed_at)
    audit.count("answers", dict(sorted(traffic.statuses.items())))
    server_errors = sum(
        count
        for name, count in traffic.statuses.items()
        if name.split()[-1].startswith("5") and "503" not in name
    )
    audit.check("no answer was a 5xx other than 503", server_errors == 0)
    audit.check("every 429 and 503 said when to come back", traffic.without_retry_after == 0)
    return audit


def _kill_and_wait(audit: Audit, ours: Platform, role: str, code: str) -> float:
    """Kill the process with a role and wait until all is well; gives the moment of the kill."""
    old_pid, killed_at = kill(ours, role)
    wait_until(
        lambda: is_replaced(ours, role, old_pid), f"another {role} process runs", seconds=RECOVERY_SECONDS
    )
    recovered = wait_until(
        lambda: _works(ours, code),
        "creating, redirecting and all engines are well",
        seconds=RECOVERY_SECONDS,
    )
    audit.count(f"{role}: seconds until all was well", round(time.monotonic() - killed_at, 2))
    audit.count(f"{role}: of that, after the process was back", round(recovered, 2))
    return killed_at


def _enough(traffic: Traffic, seconds: float) -> None:
    """Let traffic run for a while, and see that it does run."""
    before = len(traffic.answered_at)
    traffic.stopping.wait(seconds)
    if len(traffic.answered_at) == before:
        raise DrillError(f"no redirect was answered within {seconds:g} s")


def _works(ours: Platform, code: str) -> bool:
    with _Client(ours) as client:
        created, _, _ = client.ask("POST", "/v1/links", b'{"url": "https://example.net/"}')
        shown, _, _ = client.ask("GET", f"/v1/links/{code}")
        status, body, _ = client.ask("GET", "/v1/platform/status")
    if (created, shown, status) != (201, 200, 200):
        return False
    return all(engine["healthy"] for engine in json.loads(body)["engines"])


def _audit_links(audit: Audit, ours: Platform, traffic: Traffic) -> None:
    missing, wrong = [], []
    with _Client(ours) as client:
        for code, target in traffic.created.items():
            status, body, _ = client.ask("GET", f"/v1/links/{code}")
            if status != 200:
                missing.append(code)
            elif json.loads(body)["url"] != target:
                wrong.append(code)
    audit.count("links acknowledged", len(traffic.created))
    audit.count("of these missing", len(missing))
    audit.count("of these with another target", len(wrong))
    audit.check("links were created before and after", len(traffic.created) > 0)
    audit.check("every acknowledged link is there with its target", not missing and not wrong)


def _audit_clicks(audit: Audit, ours: Platform, traffic: Traffic, web_killed_at: Sequence[float]) -> None:
    answered = len(traffic.answered_at)
    may_be_lost = sum(
        killed_at - LOSS_WINDOW_SECONDS <= moment <= killed_at + 0.01
        for killed_at in web_killed_at
        for moment in traffic.answered_at
    )
    counted, waited = _settled(ours.counted_clicks, at_least=answered - may_be_lost)
    audit.count("redirects answered", answered)
    audit.count("redirects asked for whose answer broke", traffic.unanswered)
    audit.count("clicks that a web process may take along", may_be_lost)
    audit.count("clicks counted", counted)
    audit.count("clicks lost", max(0, answered - counted))
    audit.count("seconds until they were counted", round(waited, 1))
    audit.check(
        "no answered redirect is missing, but for what a web process may take along",
        counted >= answered - may_be_lost,
    )
    audit.check("no click is counted twice", counted <= answered + traffic.unanswered)


def _settled(counted: Callable[[], int], *, at_least: int) -> tuple[int, float]:
    """The count once it stands still, and how long that took.

    Below `at_least` only the deadline decides: a batch that a worker held when something died is taken over
    when it has been idle for a while.
    """
    started = time.monotonic()
    last, since = -1, started
    while time.monotonic() < started + COUNTING_SECONDS:
        now = counted()
        if now != last:
            last, since = now, time.monotonic()
        elif now >= at_least and time.monotonic() - since > STANDSTILL_SECONDS:
            break
        time.sleep(0.2)
    return last, since - started
