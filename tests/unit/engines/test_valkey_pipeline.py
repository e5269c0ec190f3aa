"""The pipeline on bytes: what it writes, whom it answers, what misbehaving callers and servers do to it."""

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from twelvefold.engines.valkey.pipeline import Pipeline
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TooLargeError


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        self.is_aborted = True


def connected(**options: Any) -> tuple[Pipeline, Wire]:
    wire = Wire()
    pipeline = Pipeline("valkey", **{"deadline_seconds": 5.0, **options})
    pipeline.attach(wire)
    pipeline.ready()
    return pipeline, wire


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 the pipeline has no event for this
            await asyncio.sleep(0.001)


async def test_the_commands_of_one_turn_leave_in_one_write() -> None:
    pipeline, wire = connected()
    for n in range(3):
        pipeline.send("GET", b"k%d" % n)
    pipeline.send("PING")
    await turn()
    assert wire.writes == [
        b"".join(b"*2\r\n$3\r\nGET\r\n$2\r\nk%d\r\n" % n for n in range(3)) + b"*1\r\n$4\r\nPING\r\n"
    ]


async def test_who_has_gathered_already_does_not_wait_and_overtakes_nobody() -> None:
    pipeline, wire = connected(max_in_flight=3)
    answers: list[Any] = []
    first = pipeline.send("GET", b"a")
    pipeline.send_now_with(answers.append, "GET", b"b")
    last = pipeline.send("GET", b"c")
    assert wire.writes == [b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"]
    await turn()
    assert wire.writes[1:] == [b"*2\r\n$3\r\nGET\r\n$1\r\nc\r\n"]
    with pytest.raises(OverloadedError):
        pipeline.send_now_with(answers.append, "GET", b"d")
    pipeline.feed(b"$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n")
    assert (first.result(), answers, last.result()) == (b"1", [b"2"], b"3")
    pipeline.broken("gone")
    with pytest.raises(EngineUnavailableError):
        pipeline.send_now_with(answers.append, "GET", b"e")


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 7))
def test_replies_reach_their_callers_in_order_wherever_the_bytes_are_cut(turns: list[int], step: int) -> None:
    async def check() -> None:
        pipeline, _ = connected()
        futures, expected = [], []
        for size in turns:
            for _ in range(size):
                expected.append(b"v%d" % len(expected))
                futures.append(pipeline.send("GET", b"key"))
            await turn()
        stream = b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for value in expected)
        for start in range(0, len(stream), step):
            pipeline.feed(stream[start : start + step])
        assert [future.result() for future in futures] == expected
        assert pipeline.in_flight == 0

    asyncio.run(check())


async def test_a_callback_that_raises_disturbs_nobody() -> None:
    pipeline, wire = connected()

    def bad(_reply: Any) -> None:
        raise RuntimeError("a closed transport")

    def cancelled(_reply: Any) -> None:
        raise asyncio.CancelledError

    before = pipeline.send("GET", b"a")
    pipeline.send_with(bad, "GET", b"b")
    pipeline.send_with(cancelled, "GET", b"c")
    after = pipeline.send("GET", b"d")
    await turn()
    pipeline.feed(b":1\r\n:2\r\n:3\r\n:4\r\n")
    assert (before.result(), after.result()) == (1, 4)
    assert pipeline.connected
    assert not wire.is_aborted


async def test_a_bug_that_comes_with_every_reply_is_logged_once_in_a_while() -> None:
    pipeline, _ = connected()

    def bad(_reply: Any) -> None:
        raise RuntimeError("again")

    for _ in range(1000):
        pipeline.send_with(bad, "GET", b"a")
    await turn()
    with capture_logs() as logs:
        pipeline.feed(b":1\r\n" * 1000)
    assert [event["event"] for event in logs] == ["valkey.callback.failed"]


async def test_a_cancelled_caller_disturbs_nobody() -> None:
    pipeline, _ = connected()
    gone, stays = pipeline.send("GET", b"a"), pipeline.send("GET", b"b")
    await turn()
    gone.cancel()
    pipeline.feed(b":1\r\n:2\r\n")
    assert stays.result() == 2


async def test_a_callback_may_send_and_may_close_the_connection() -> None:
    pipeline, _ = connected()
    nested: list[asyncio.Future[Any]] = []
    pipeline.send_with(lambda _reply: nested.append(pipeline.send("GET", b"b")), "GET", b"a")
    pipeline.send_with(lambda _reply: pipeline.broken("closed by a caller"), "GET", b"c")
    lost = pipeline.send("GET", b"d")
    await turn()
    pipeline.feed(b":1\r\n:2\r\n:3\r\n:4\r\n")
    for future in (nested[0], lost):
        with pytest.raises(EngineUnavailableError, match="closed by a caller"):
            future.result()
    assert pipeline.in_flight == 0


async def test_bad_arguments_are_refused_and_leave_no_trace() -> None:
    pipeline, wire = connected()
    with pytest.raises(TypeError):
        pipeline.send("SET", "key", None)  # type: ignore[arg-type] # the refusal is the point
    with pytest.raises(ValueError, match="share"):
        pipeline.send("SUBSCRIBE", b"news")
    good = pipeline.send("GET", b"k")
    await turn()
    assert wire.writes == [b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"]
    pipeline.feed(b":1\r\n")
    assert good.result() == 1


async def test_too_much_in_flight_is_refused_at_once() -> None:
    pipeline, _ = connected(max_in_flight=3)
    waiting = [pipeline.send("GET", b"k") for _ in range(2)]
    await turn()
    waiting.append(pipeline.send("GET", b"k"))
    with pytest.raises(OverloadedError):
        pipeline.send("GET", b"k")
    await turn()
    pipeline.feed(b":1\r\n:2\r\n:3\r\n")
    assert [future.result() for future in waiting] == [1, 2, 3]
    pipeline.send("GET", b"k")


async def test_too_many_bytes_in_flight_are_refused_at_once() -> None:
    pipeline, wire = connected(max_in_flight_bytes=10_000)
    pipeline.send("SET", "a", b"x" * 6000)
    with pytest.raises(OverloadedError):
        pipeline.send("SET", "b", b"x" * 6000)
    with pytest.raises(TooLargeError):
        pipeline.send("SET", "b", b"x" * 20_000)
    await turn()
    with pytest.raises(OverloadedError):
        pipeline.send("SET", "b", b"x" * 6000)
    pipeline.feed(b"+OK\r\n")
    pipeline.send("SET", "b", b"x" * 6000)
    await turn()
    assert len(wire.writes) == 2


async def test_a_lost_connection_answers_everyone_once() -> None:
    pipeline, _ = connected()
    answers: list[Any] = []
    sent = pipeline.send("GET", b"a")
    pipeline.send_with(answers.append, "GET", b"b")
    await turn()
    unsent = pipeline.send("GET", b"c")
    pipeline.detach("connection lost")
    with pytest.raises(EngineUnavailableError, match="may have run"):
        sent.result()
    with pytest.raises(EngineUnavailableError, match="nothing was sent"):
        unsent.result()
    assert [type(answer) for answer in answers] == [EngineUnavailableError]
    with pytest.raises(EngineUnavailableError, match="connection lost"):
        pipeline.send("GET", b"a")


@pytest.mark.parametrize("junk", [b"what\r\n", b"%1\r\n*1\r\n:1\r\n:2\r\n", b":1\r\n:2\r\n:3\r\n"])
def test_a_stream_out_of_step_is_given_up(junk: bytes) -> None:
    async def check() -> None:
        pipeline, wire = connected()
        answered = pipeline.send("GET", b"a")
        await turn()
        pipeline.feed(junk)
        assert wire.is_aborted
        assert not pipeline.connected
        assert answered.done()
        answered.exception()

    asyncio.run(check())


async def test_late_commands_get_an_error_in_time_and_late_replies_are_dropped_in_step() -> None:
    pipeline, wire = connected(deadline_seconds=0.02)
    answers: list[Any] = []
    late = pipeline.send("GET", b"a")
    pipeline.send_with(answers.append, "GET", b"b")
    await turn()
    await until(late.done)
    with pytest.raises(EngineUnavailableError, match=r"no reply in 0\.02 s"):
        late.result()
    with pytest.raises(EngineUnavailableError, match="does not answer in time"):
        pipeline.send("GET", b"c")
    assert wire.writes[1:] == [b"*1\r\n$4\r\nPING\r\n"], "exactly one probe"
    pipeline.feed(b":1\r\n:2\r\n")
    assert not pipeline.connected, "late replies prove nothing about what waits behind them"
    pipeline.feed(b"+PONG\r\n")
    assert pipeline.connected
    fresh = pipeline.send("GET", b"d")
    await turn()
    pipeline.feed(b":3\r\n")
    assert fresh.result() == 3
    assert [type(answer) for answer in answers] == [EngineUnavailableError]


@pytest.mark.parametrize("new_event_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_replies_that_wait_in_the_socket_of_a_busy_process_are_not_late(new_event_loop: Any) -> None:
    async def check() -> None:
        pipeline, _ = connected(deadline_seconds=0.01)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            future = pipeline.send("GET", b"a")
            pipeline._flush()
            theirs.send(b":1\r\n")
            asyncio.get_running_loop().add_reader(ours, lambda: pipeline.feed(ours.recv(100)))
            time.sleep(0.03)  # noqa: ASYNC251 this process is the busy one
            assert await future == 1
            assert pipeline.connected
            asyncio.get_running_loop().remove_reader(ours)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(check())


async def test_a_deadline_of_its_own_is_kept_and_a_short_one_does_not_trip_the_breaker() -> None:
    pipeline, _ = connected(deadline_seconds=5.0)
    with pytest.raises(EngineUnavailableError, match=r"no reply in 0\.01 s"):
        await pipeline.call("GET", b"a", deadline_seconds=0.01)
    assert pipeline.connected


async def test_a_longer_deadline_outlasts_the_common_one() -> None:
    pipeline, _ = connected(deadline_seconds=0.01)
    slow = asyncio.create_task(pipeline.call("WAITAOF", 1, 0, 0, deadline_seconds=5))
    await turn()
    quick = pipeline.send("GET", b"a")
    await until(quick.done)
    assert quick.exception() is not None
    pipeline.feed(b"*2\r\n:1\r\n:0\r\n:5\r\n+PONG\r\n")
    assert await slow == [1, 0]
    assert pipeline.connected
