"""Bad days of a whole platform: the disk fills up while it runs; it is told to end while it is busy.

What was acknowledged is there afterwards, what was refused said why, and no answer was cut off.
"""

import contextlib
import http.client
import json
import subprocess
import threading

import httpx2
import pytest
from tests.conftest import start_server, stop_server, until

DEADLINE_SECONDS = 60.0
DISK = "400m"


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here; run as root with CAP_SYS_ADMIN")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(path):
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\1" * size)
            except OSError:
                continue


@pytest.mark.drill
def test_a_disk_that_fills_up_costs_no_acknowledged_link_and_ends_with_the_shortage(small_disk):
    process, running = start_server(small_disk / "data")
    client = httpx2.Client(base_url=running.url, headers=running.headers, timeout=60)
    acknowledged = {}
    refused = []

    def create(count):
        """One bulk call; False when it was refused."""
        links = [{"url": f"https://example.com/{'x' * 1500}/{len(acknowledged) + n}"} for n in range(count)]
        try:
            answer = client.post("/v1/links/bulk", json=links)
        except httpx2.TransportError as error:  # a web process that lost its engines may be starting again
            refused.append((0, str(error)))
            return False
        if answer.status_code != 200:
            refused.append((answer.status_code, answer.text))
            return False
        told = answer.json()
        for link, result in zip(links, told["results"], strict=True):
            if "code" in result:
                acknowledged[result["code"]] = link["url"]
            else:
                refused.append((result["error"]["status"], json.dumps(result["error"])))
        return told["failed"] == 0

    try:
        assert create(100)
        first = next(iter(acknowledged))
        assert client.get(f"/{first}").status_code == 302
        filler = small_disk / "filler"
        fill(filler)
        while create(1000):
            pass
        # What is known is still served, and what is refused is refused for a while, not as a fault of ours.
        assert client.get(f"/{first}").status_code == 302
        assert {status for status, _ in refused} <= {0, 503}, refused
        assert process.poll() is None
        filler.unlink()
        until(lambda: create(1))
        assert stop_server(process) == 0
        process, running = start_server(small_disk / "data")
        client.close()
        client = httpx2.Client(base_url=running.url, timeout=60)
        lost = [
            code
            for code, url in acknowledged.items()
            if client.get(f"/{code}").headers.get("location") != url
        ]
        assert lost == []
    finally:
        client.close()
        assert stop_server(process) == 0


class Customer(threading.Thread):
    """Makes links on one connection, one after the other, until it is closed."""

    def __init__(self, running, number):
        super().__init__()
        self._running = running
        self._number = number
        self.is_busy = threading.Event()
        self.acknowledged = []
        self.cut = []

    def run(self):
        port = int(self._running.url.rpartition(":")[2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            n = 0
            while self._create(connection, f"https://example.com/{self._number}/{n}"):
                n += 1
                if n == 20:
                    self.is_busy.set()

    def _create(self, connection, url):
        try:
            connection.request("POST", "/v1/links", json.dumps({"url": url}), self._running.headers)
            answer = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            return False  # closed between two requests, before any byte of an answer
        try:
            told = json.loads(answer.read())
        except (http.client.HTTPException, ValueError, OSError) as error:
            self.cut.append(error)
            return False
        if answer.status != 201:
            self.cut.append((answer.status, told))
            return False
        self.acknowledged.append((told["code"], url))
        return True


def test_told_to_end_while_busy_it_cuts_no_answer_and_keeps_what_it_acknowledged(tmp_path):
    process, running = start_server(tmp_path / "data")
    customers = [Customer(running, number) for number in range(8)]
    for customer in customers:
        customer.start()
    assert all(customer.is_busy.wait(DEADLINE_SECONDS) for customer in customers)
    assert stop_server(process) == 0
    for customer in customers:
        customer.join(DEADLINE_SECONDS)
    assert [cut for customer in customers for cut in customer.cut] == []
    process, running = start_server(tmp_path / "data")
    try:
        with httpx2.Client(base_url=running.url) as client:
            for code, url in [made for customer in customers for made in customer.acknowledged]:
                assert client.get(f"/{code}").headers.get("location") == url
    finally:
        assert stop_server(process) == 0
