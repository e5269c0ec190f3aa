"""A Valkey of the drill's own, which it may kill and stop."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.links.nginx import valkey_binary

from drills.harness import DrillError
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import EngineUnavailableError

START_SECONDS = 20.0


class StateServer:
    """One server on a unix socket; what it wrote to its append-only file survives `kill`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "v"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers. Raises `DrillError`."""
        words = [
            valkey_binary(),
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--dir",
            str(self._folder),
        ]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it only forks
            [*words, "--save", "", "--appendonly", "yes"], stdout=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    try:
                        await (await Valkey.open(self.url)).close()
                    except EngineUnavailableError:
                        await asyncio.sleep(0.01)
                    else:
                        return
        except TimeoutError as error:
            raise DrillError("the drill's Valkey does not answer") from error

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Stop it or let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextlib.contextmanager
def state_server(folder: Path) -> Iterator[StateServer]:
    """A server that is gone afterwards; start it first."""
    server = StateServer(folder)
    try:
        yield server
    finally:
        server.kill()
