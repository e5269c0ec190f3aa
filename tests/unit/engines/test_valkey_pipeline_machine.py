"""The pipeline as a state machine: whatever happens in whatever order, each gets its own answer, once."""

import asyncio
import re
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from twelvefold.engines.valkey.pipeline import Pipeline
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError

DEADLINE_SECONDS = 1.0
MAX_IN_FLIGHT = 12
COMMAND = re.compile(rb"\*1\r\n\$4\r\n(PING)\r\n|\*2\r\n\$3\r\nGET\r\n\$\d+\r\n(\d+)\r\n")


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop whose time moves only when told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def turn(self, count: int = 3) -> None:
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()


class Server:
    """Answers each command with its own key, in order, when told."""

    def __init__(self) -> None:
        self.owed: deque[bytes] = deque()
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        position = 0
        for match in COMMAND.finditer(data):
            assert match.start() == position, "the bytes are whole commands and nothing else"
            position = match.end()
            self.owed.append(b"+PONG\r\n" if match[1] else b":%b\r\n" % match[2])
        assert position == len(data)

    def abort(self) -> None:
        self.is_aborted = True


class PipelineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.logs = capture_logs()  # printing tracebacks would take most of the time
        self.logs.__enter__()
        self.loop = ManualLoop()
        self.answers: dict[int, list[Any]] = {}
        self.futures: dict[int, asyncio.Future[Any]] = {}
        self.cancelled: set[int] = set()
        self.deadlines: dict[int, float] = {}
        self.pipeline = self.loop.run_until_complete(self.made())
        self.server = Server()
        self.reconnect()

    async def made(self) -> Pipeline:
        return Pipeline("valkey", deadline_seconds=DEADLINE_SECONDS, max_in_flight=MAX_IN_FLIGHT)

    @rule(
        kinds=st.lists(
            st.sampled_from(["future", "callback", "at once", "raising callback"]), min_size=1, max_size=5
        )
    )
    def send(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.send_one(kind)

    def send_one(self, kind: str) -> None:
        number = len(self.answers)
        self.answers[number] = []

        def callback(reply: Any) -> None:
            self.answers[number].append(reply)
            if kind == "raising callback":
                raise RuntimeError("a bug of this caller")

        key = b"%d" % number
        try:
            if kind == "future":
                self.futures[number] = self.pipeline.send("GET", key)
            elif kind == "at once":
                self.pipeline.send_now_with(callback, "GET", key)
            else:
                self.pipeline.send_with(callback, "GET", key)
        except (EngineUnavailableError, OverloadedError) as error:
            self.answers[number].append(error)
        else:
            assert self.pipeline.connected
        self.deadlines[number] = self.loop.now + DEADLINE_SECONDS

    @rule()
    def turn(self) -> None:
        self.loop.turn()

    @rule(count=st.integers(1, 20), cut=st.integers(0, 100))
    def reply(self, count: int, cut: int) -> None:
        self.loop.turn()
        if not self.server.owed:
            return
        data = b"".join(self.server.owed.popleft() for _ in range(min(count, len(self.server.owed))))
        cut %= len(data)
        for part in (data[:cut], data[cut:]):
            if part:
                self.pipeline.feed(part)
        self.loop.turn()

    @precondition(lambda self: self.futures)
    @rule(choice=st.randoms(use_true_random=False))
    def cancel(self, choice: Any) -> None:
        number = choice.choice(sorted(self.futures))
        if self.futures[number].cancel():
            self.cancelled.add(number)

    @rule(seconds=st.sampled_from([0.1, 0.2, 1.1]))
    def wait(self, seconds: float) -> None:
        self.loop.turn()
        self.loop.now += seconds
        self.loop.turn()
        if self.server.is_aborted:  # it gave the connection up
            self.reconnect()

    @rule()
    def lose_and_reconnect(self) -> None:
        self.pipeline.detach("connection lost")
        self.loop.turn()
        self.reconnect()

    def reconnect(self) -> None:
        self.server = Server()
        self.pipeline.attach(self.server)
        self.pipeline.ready()

    def collect(self) -> None:
        for number, future in list(self.futures.items()):
            if future.done():
                del self.futures[number]
                if number not in self.cancelled:
                    self.answers[number].append(future.exception() or future.result())

    @invariant()
    def every_answer_is_ones_own_and_comes_once(self) -> None:
        self.collect()
        for number, answers in self.answers.items():
            assert len(answers) <= 1
            for answer in answers:
                assert isinstance(answer, EngineUnavailableError | OverloadedError) or answer == number

    @invariant()
    def nobody_waits_past_the_deadline(self) -> None:
        for number, deadline in self.deadlines.items():
            if self.loop.now > deadline + DEADLINE_SECONDS and number not in self.cancelled:
                assert self.answers[number], f"{number} still waits"

    @invariant()
    def what_is_in_flight_is_bounded(self) -> None:
        assert self.pipeline.in_flight <= MAX_IN_FLIGHT + 1, "the bound, and one probe"
        assert self.server.owed or self.pipeline.in_flight == 0

    @invariant()
    def it_is_never_out_of_step(self) -> None:
        assert not self.server.is_aborted

    def teardown(self) -> None:
        while self.server.owed:
            self.reply(20, 0)
        self.loop.turn()
        while self.server.owed:
            self.reply(20, 0)
        assert self.pipeline.connected, "a server that has answered everything is taken back"
        self.pipeline.detach("the end")
        self.loop.turn()
        self.collect()
        for number, answers in self.answers.items():
            assert len(answers) == 1 or number in self.cancelled
        self.loop.close()
        self.logs.__exit__(None, None, None)


TestPipelineMachine = PipelineMachine.TestCase
TestPipelineMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
