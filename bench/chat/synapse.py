"""Synapse as a peer: eight users who send messages one after the other, each into rooms of their own.

A wheel from PyPI in a virtual environment of its own, made when the bench runs (or `BENCH_SYNAPSE`, a Python
that has it); its default database, SQLite; rate limits and presence off. What it answers is stored.
"""

import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import free_port, listening, running, usage

PACKAGE = "matrix-synapse==1.163.2"
SENDERS = 8
ROOMS_EACH = 5
INSTALL_SECONDS = 300
_SECRET = "bench"  # of a server on loopback that lives for a minute


@dataclass(frozen=True)
class Measured:
    """Messages a second on the wall, and a CPU-second of the server; or why there are none."""

    per_second: float | None = None
    per_cpu_second: float | None = None
    why: str | None = None


def measure(folder: Path, cpus: str, seconds: float, text: str) -> Measured:
    """Install, start, register, send for some seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        python = _python(folder)
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return Measured(why=f"pip install {PACKAGE}: {said[-200:]}")
    port = free_port()
    config = _configure(folder, port)
    words = [python, "-m", "synapse.app.homeserver", "--config-path", str(config)]
    subprocess.run([*words, "--generate-keys"], check=True, capture_output=True, timeout=60)
    with running(words, name="synapse", folder=folder, ready=listening(port), cpus=cpus) as server:
        senders = [_Sender(port, f"user{number}") for number in range(SENDERS)]
        before, began = usage([server.pid]).cpu_seconds, time.monotonic()
        threads = [threading.Thread(target=one.send_until, args=(began + seconds, text)) for one in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, sent = time.monotonic() - began, sum(one.sent for one in senders)
        cpu = usage([server.pid]).cpu_seconds - before
    return Measured(sent / took, sent / cpu)


def _python(folder: Path) -> str:
    if given := os.environ.get("BENCH_SYNAPSE"):
        return given
    place = folder / "synapse-venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, timeout=60)
    subprocess.run(
        [str(place / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGE],
        check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS,
    )  # fmt: skip
    return str(place / "bin/python")


def _configure(folder: Path, port: int) -> Path:
    often = {"per_second": 1e6, "burst_count": 1_000_000}
    content = {
        "server_name": "bench",
        "report_stats": False,
        "signing_key_path": str(folder / "signing.key"),
        "media_store_path": str(folder / "media"),
        "registration_shared_secret": _SECRET,
        "trusted_key_servers": [],
        "presence": {"enabled": False},
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "listeners": [
            {
                "port": port,
                "type": "http",
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client"]}],
            }
        ],
        "rc_message": often,
        "rc_registration": often,
        "rc_room_creation": often,
    }
    config = folder / "homeserver.yaml"
    config.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return config


class _Sender:
    """A registered user with rooms."""

    def __init__(self, port: int, name: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._token = ""
        self.sent = 0
        place = "/_synapse/admin/v1/register"
        nonce = self._ask("GET", place)["nonce"]
        said = f"{nonce}\0{name}\0password\0notadmin"
        mac = hmac.new(_SECRET.encode(), said.encode(), hashlib.sha1).hexdigest()
        wanted = {"nonce": nonce, "username": name, "password": "password", "mac": mac}
        self._token = self._ask("POST", place, wanted)["access_token"]
        self._rooms = [
            self._ask("POST", "/_matrix/client/v3/createRoom", {})["room_id"] for _ in range(ROOMS_EACH)
        ]

    def send_until(self, end: float, text: str) -> None:
        """One message after the other, each acknowledged."""
        body = {"msgtype": "m.text", "body": text}
        while time.monotonic() < end:
            room = self._rooms[self.sent % ROOMS_EACH]
            self._ask("PUT", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{self.sent}", body)
            self.sent += 1

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:200]!r}")
        return json.loads(data)
