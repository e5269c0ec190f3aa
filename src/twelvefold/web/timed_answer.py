"""The time that one hot answer takes, taken now and then.

A clock around every hot answer would cost a tenth of it, so an answer is timed by standing in for what
it is made with, once. Invariant: after the timed answer the connection is as it was before.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol

Answer = Callable[[bytes], bytes | None]


class Tails(Protocol):
    """What the hot path asks for the context of header fields."""

    def get(self, fields: bytes, /) -> "Answering | None":
        """The context, if these fields are known."""


class Answering(Protocol):
    """What the hot path needs of a context."""

    @property
    def answer(self) -> Answer:
        """See `LaneContext.answer`."""


class Connection(Protocol):
    """What is timed."""

    def timed(self, began: float, hot: Tails, answer: Answer) -> None:
        """A timed answer is about to be written."""


class TimedAnswer:
    """Stands in for a connection's known tails, or its answer, for one answer, and takes the time."""

    __slots__ = ("_answer", "_began", "_connection", "_context", "_hot")

    def __init__(self, connection: "Connection", hot: Tails, answer: Answer) -> None:
        self._connection = connection
        self._hot = hot
        self._answer = answer
        self._context: Answering | None = None
        self._began = 0.0

    def get(self, fields: bytes) -> "TimedAnswer | None":
        """Stand in for the tails."""
        self._began = perf_counter()
        self._context = self._hot.get(fields)
        return None if self._context is None else self

    def answer(self, segment: bytes) -> bytes | None:
        """Stand in for the context, or for the answer itself."""
        if self._context is None:
            self._began = perf_counter()
        answer = self._answer if self._context is None else self._context.answer
        response = answer(segment)
        if response is not None:
            self._connection.timed(self._began, self._hot, self._answer)
        return response
