"""The bars are judged and written as promised; processes are found, weighed and ended by their own ids."""

import asyncio
import os
import subprocess
import sys

import pytest
import uvloop
from bench.open_loop import run
from bench.processes import NotStartedError, free_port, listening, running, tree, usage
from bench.table import Bar, interleaved, lines, result


@pytest.mark.parametrize(
    ("bar", "value", "holds"),
    [
        ("≥ 0.90", 0.9, True),
        ("≥ 0.90", 0.89, False),
        ("≤ 2 ms", 2.0, True),
        ("≤ 2 ms", 2.1, False),
        ("≥ 200k", 199_999.0, False),
        ("≥ 200k", 200_000.0, True),
        ("≥ 1,000", 999.0, False),
        ("≥ 40", None, None),
    ],
)
def test_a_bar_holds_when_its_value_is_on_the_right_side(bar, value, holds):
    assert Bar("m", "u", bar, value).holds is holds


def test_a_result_has_each_bar_in_the_agreed_form():
    bars = [
        Bar("a ÷ b", "times", "≥ 2.5", 2.61234, "b", 1234.5678, details={"ours": {"x": 1.0}}),
        Bar("c", "times", "≥ 40", peer="Kutt", why="BENCH_KUTT names no checkout"),
    ]
    content = result("links", bars)
    assert content["bars"] == [
        {
            "measure": "a ÷ b",
            "value": 2.612,
            "unit": "times",
            "bar": "≥ 2.5",
            "holds": True,
            "peer": "b",
            "peer_value": 1235.0,
        },
        {
            "measure": "c",
            "value": None,
            "unit": "times",
            "bar": "≥ 40",
            "holds": None,
            "peer": "Kutt",
            "peer_value": None,
            "why": "BENCH_KUTT names no checkout",
        },
    ]
    assert content["details"] == {"a ÷ b": {"ours": {"x": 1.0}}}
    assert {"cpu", "cores", "kernel", "python", "packages", "programs"} <= content["machine"].keys()
    assert os.uname().nodename not in str(content["machine"])


def test_a_missing_peer_is_named_in_the_printed_table():
    text = lines([Bar("÷ Kutt", "times", "≥ 40", peer="Kutt", why="no checkout")])
    assert "no checkout" in text
    assert "?" in text


def test_subjects_take_turns_and_each_figure_is_a_median():
    order = []

    def subject(name, values):
        def measure():
            order.append(name)
            return {"x": values.pop(0)}

        return measure

    found = interleaved({"a": subject("a", [1.0, 9.0, 2.0]), "b": subject("b", [5.0, 3.0, 4.0])}, 3)
    assert order == ["a", "b"] * 3
    assert found == {"a": {"x": 2.0}, "b": {"x": 4.0}}


SERVER = """
import subprocess, sys, socket
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()[0].close()
"""


def test_a_server_is_weighed_with_its_children_and_ended_with_them(tmp_path):
    port = free_port()
    words = [sys.executable, "-c", SERVER, str(port)]
    with running(words, name="server", folder=tmp_path, ready=listening(port)) as server:
        pids = tree(server.pid)
        assert len(pids) == 2
        assert server.pids() == {"server": pids, "engines": []}
        assert server.pids(lambda words: "child" if "time.sleep" in words[-2] else "parent") == {
            "server": [],
            "engines": [],
            "parent": [server.pid],
            "child": [pids[1]],
        }
        together, alone = usage(pids), usage([server.pid])
        assert together.rss_bytes > alone.rss_bytes > together.pss_bytes / 4 > 0
        assert together.cpu_seconds >= alone.cpu_seconds > 0
    assert [tree(pid) for pid in pids] == [[], []]


def test_processes_of_others_live_on(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as mine:
        with running([sys.executable, "-c", "input()"], name="x", folder=tmp_path):
            pass
        assert mine.poll() is None
        mine.communicate(b"\n")


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path):
    words = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with (
        pytest.raises(NotStartedError, match="no such thing"),
        running(words, name="x", folder=tmp_path, ready=lambda: False),
    ):
        pass


class Redirecting(asyncio.Protocol):
    """Answers each request with a redirect; or, if told, with something else."""

    answer = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\nok"

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(self.answer[:30])
            self.transport.write(self.answer[30:])


async def measured(answer=Redirecting.answer, **rate):
    loop = asyncio.get_running_loop()
    protocol = type("Answering", (Redirecting,), {"answer": answer})
    async with await loop.create_server(protocol, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await run("127.0.0.1", port, [b"GET /x HTTP/1.1\r\n\r\n"], **rate)


def test_the_open_loop_sends_what_is_due_and_waits_for_all_answers():
    found = uvloop.run(measured(rate=500, seconds=0.5))
    assert found["requests"] == 250
    assert found["failed"] == 0
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"]


def test_an_answer_that_is_no_redirect_fails_the_run():
    with pytest.raises(RuntimeError, match="no redirect"):
        uvloop.run(
            measured(
                b"HTTP/1.1 503 Sorry\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", rate=100, seconds=0.1
            )
        )
