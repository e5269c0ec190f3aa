"""Two web processes on one port: what one changes, the other serves."""

import contextlib
import http.client
import time

import httpx2
import pytest
from tests.conftest import start_server, stop_server

DEADLINE_SECONDS = 10.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    process, running = start_server(tmp_path_factory.mktemp("pair") / "data", "-X", "server.processes=2")
    yield running
    assert stop_server(process) == 0


@pytest.fixture
def connections(pair):
    """Enough connections that the kernel has given some to each process."""
    host, port = pair.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)))
            for _ in range(24)
        ]


def locations(connections, code):
    found = []
    for connection in connections:
        connection.request("GET", f"/{code}")
        answer = connection.getresponse()
        answer.read()
        found.append(answer.headers.get("Location") if answer.status == 302 else answer.status)
    return found


def settles(connections, code, wanted):
    """All connections see it, and none falls back afterwards."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while set(locations(connections, code)) != {wanted}:
        assert time.monotonic() < deadline
    for _ in range(5):
        assert set(locations(connections, code)) == {wanted}


def test_both_processes_answer(pair, connections):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:  # each tells the others of itself once a second
        page = httpx2.get(f"{pair.url}/metrics").text
        if 'process="web-0"' in page and 'process="web-1"' in page:
            return
        assert time.monotonic() < deadline


def test_an_edit_an_end_and_a_return_reach_every_process(pair, connections):
    with httpx2.Client(base_url=pair.url, headers=pair.headers) as api:
        code = api.post("/v1/links", json={"url": "https://first.example/"}).json()["code"]
        for _ in range(3):
            assert set(locations(connections, code)) == {"https://first.example/"}
        for number in range(10):
            url = f"https://edit-{number}.example/"
            api.patch(f"/v1/links/{code}", json={"url": url}).raise_for_status()
            settles(connections, code, url)
        api.delete(f"/v1/links/{code}").raise_for_status()
        settles(connections, code, 410)
        api.post(f"/v1/links/{code}/restore").raise_for_status()
        settles(connections, code, url)


def test_a_creation_beats_the_absence_that_the_other_process_remembers(pair, connections):
    with httpx2.Client(base_url=pair.url, headers=pair.headers) as api:
        for number in range(5):
            alias = f"later-{number}"
            assert set(locations(connections, alias)) == {404}
            api.post("/v1/links", json={"url": "https://now.example/", "alias": alias}).raise_for_status()
            settles(connections, alias, "https://now.example/")


def test_two_processes_never_give_one_code_or_id_twice(pair):
    codes, ids = [], []
    for _ in range(30):
        with httpx2.Client(base_url=pair.url, headers=pair.headers) as api:  # a new connection each time
            links = api.post("/v1/links/bulk", json=[{"url": "https://a.example/"}] * 50).json()["results"]
            codes += [link["code"] for link in links]
            ids += api.post("/v1/ids", params={"count": 50}).json()["ids"]
    assert len(set(codes)) == len(codes) == 1500
    assert len(set(ids)) == len(ids) == 1500
