"""Keeps one server alive.

One thread owns the server's whole life: it waits out what an earlier start left, starts it, waits
until it answers, starts it again after a crash (with backoff), and stops it. Invariant: only that
thread touches the child, so a stop during a restart cannot leave one behind.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from twelvefold.engines.embedded.account import Account
from twelvefold.engines.embedded.leftover import wait_for_earlier
from twelvefold.engines.embedded.process import ChildProcess, trim_log, until
from twelvefold.engines.embedded.server import EmbeddedServer
from twelvefold.kernel.errors import EngineUnavailableError, TwelvefoldError
from twelvefold.kernel.retry import Backoff

START_DEADLINE_SECONDS = 300.0
"""Generous, because crash recovery may have half a gigabyte to replay, and killing it would begin it anew."""

STEADY_SECONDS = 30.0
"""A server that lived this long gets a quick restart again."""

LOG_CHECK_SECONDS = 60.0

STUCK_STOP_SECONDS = 10.0

OnEvent = Callable[[str, str, str], None]
"""Called with the server's name, `exited`, `restarted` or `failed`, and a detail."""

_log = logging.getLogger("twelvefold.embedded")


class Keeper:
    """One server's thread. `begin`, then wait for `first`; later `request_stop` and `join`."""

    def __init__(
        self, server: EmbeddedServer, account: Account | None, *, backoff: Backoff, on_event: OnEvent
    ) -> None:
        self.first: Future[None] = Future()
        """Done when the server answers for the first time; an exception if it could not be started."""
        self._server = server
        self._account = account
        self._backoff = backoff
        self._on_event = on_event
        self._child: ChildProcess | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._stop_by = 0.0
        self._thread = threading.Thread(target=self._live, name=f"keeper {server.name}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The server's process id while it lives."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    def begin(self) -> None:
        """Start the thread, which starts the server."""
        self._thread.start()

    def request_stop(self, *, deadline_seconds: float) -> None:
        """Begin to stop the server; it is killed after the deadline."""
        self._stop_by = time.monotonic() + deadline_seconds
        self._stopping.set()
        self._woken.set()

    def join(self) -> None:
        """Wait for the end, which comes soon after the deadline at the latest."""
        self._thread.join()

    def _live(self) -> None:
        try:
            self._start()
        except Exception as error:  # noqa: BLE001  (handed to whoever waits for the start)
            self.first.set_exception(error)
            return
        self.first.set_result(None)
        try:
            self._watch()
        finally:
            if self._child is not None:
                self._child.stop(deadline_seconds=max(0.0, self._stop_by - time.monotonic()))

    def _watch(self) -> None:
        delays = self._backoff.delays()
        since = time.monotonic()
        while not self._stopping.is_set():
            if not self._woken.wait(LOG_CHECK_SECONDS):
                trim_log(self._server.log)
                continue
            self._woken.clear()
            if self._stopping.is_set() or self._child is None or self._child.alive:
                continue
            self._tell("exited", _how(self._child.returncode))
            if time.monotonic() - since > STEADY_SECONDS:
                delays = self._backoff.delays()
            while not self._stopping.wait(next(delays)):
                try:
                    self._start()
                except (TwelvefoldError, OSError) as error:
                    self._tell("failed", str(error))
                else:
                    self._tell("restarted", f"pid {self._child.pid}")
                    since = time.monotonic()
                    break

    def _start(self) -> None:
        server = self._server
        stopping = self._stopping.is_set
        wait_for_earlier(server.name, server.lock, server.stop_signal, stopping=stopping)
        server.prepare(self._account, stopping)
        if stopping():
            return
        child = server.child(self._account, lambda _: self._woken.set())
        child.start()
        self._child = child
        settled = until(
            lambda: stopping() or not child.alive or server.is_ready(child),
            deadline=time.monotonic() + START_DEADLINE_SECONDS,
        )
        if stopping() or (settled and child.alive):
            return
        if not settled:
            child.stop(deadline_seconds=STUCK_STOP_SECONDS)
        reason = server.explain(child.log_tail()) or _how(child.returncode)
        raise EngineUnavailableError(server.name, f"it did not start: {reason}")

    def _tell(self, what: str, detail: str) -> None:
        try:
            self._on_event(self._server.name, what, detail)
        except Exception:  # noqa: BLE001  (a listener's fault must not end the watch)
            _log.exception("the listener to events of %s failed", self._server.name)


def _how(code: int | None) -> str:
    if code is None:
        return "it does not answer"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
