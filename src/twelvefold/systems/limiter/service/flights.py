"""A single check on its way to the shared state: what happens when its numbers, or an error, come back."""

import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from twelvefold.systems.limiter.contracts import Decision, Outcome, Verdict
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.service.decisions import verdict_of

Done = Callable[[Verdict], None]
OneDone = Callable[[Outcome | Decision], None]
Ending = TypeVar("Ending")


class Settling(Protocol):
    """What a limiter does with the end of a check."""

    def remember_refusal(self, bound: Bound, key: bytes, cost: int, outcome: Outcome) -> None:
        """Answer the same from memory for a while."""

    def settle(self, bound: Bound, key: bytes, cost: int, outcome: Outcome, now_us: int) -> Decision:
        """Count an outcome and make it a decision."""

    def count(self, bound: Bound, key: bytes, cost: int, outcome: Outcome, now_us: int) -> None:
        """Only count it."""

    def degrade(self, bound: Bound, key: bytes, cost: int, error: Exception) -> Decision:
        """The failure policy speaks."""


class _Single(Generic[Ending]):
    """What a check takes with it. Its ends are written out below: they run for every check."""

    __slots__ = ("_bound", "_cost", "_done", "_key", "_limiter")

    def __init__(
        self, limiter: Settling, bound: Bound, key: bytes, cost: int, done: Callable[[Ending], None]
    ) -> None:
        self._limiter = limiter
        self._bound = bound
        self._key = key
        self._cost = cost
        self._done = done


class Flight(_Single[Verdict]):
    """A single check on its way to the shared state."""

    __slots__ = ()

    def answer(self, now_us: int, numbers: Sequence[int], at: int) -> None:
        """See `store.shared_state.Answer`."""
        outcome = Outcome(numbers[at] == 1, numbers[at + 1], numbers[at + 2], numbers[at + 3])
        if not outcome.allowed and self._cost:
            self._limiter.remember_refusal(self._bound, self._key, self._cost, outcome)
        self._done(verdict_of((self._limiter.settle(self._bound, self._key, self._cost, outcome, now_us),)))

    def fault(self, error: Exception) -> None:
        """See `store.shared_state.Fault`."""
        self._done(verdict_of((self._limiter.degrade(self._bound, self._key, self._cost, error),)))


class BareFlight(_Single[Outcome | Decision]):
    """As `Flight`, for `ask_one`."""

    __slots__ = ()

    def answer(self, now_us: int, numbers: Sequence[int], at: int) -> None:
        """See `store.shared_state.Answer`."""
        outcome = Outcome(numbers[at] == 1, numbers[at + 1], numbers[at + 2], numbers[at + 3])
        if not outcome.allowed and self._cost:
            self._limiter.remember_refusal(self._bound, self._key, self._cost, outcome)
        self._limiter.count(self._bound, self._key, self._cost, outcome, now_us)
        self._done(outcome)

    def fault(self, error: Exception) -> None:
        """See `store.shared_state.Fault`."""
        self._done(self._limiter.degrade(self._bound, self._key, self._cost, error))


class LeaseWait(_Single[Decision]):
    """A decision of a leased rule that waits for the next lease."""

    __slots__ = ()

    def __call__(self, outcome: Outcome | Exception) -> None:
        """See `service.leased.Waiter`."""
        if isinstance(outcome, Exception):
            self._done(self._limiter.degrade(self._bound, self._key, self._cost, outcome))
        else:
            now_us = time.time_ns() // 1000
            self._done(self._limiter.settle(self._bound, self._key, self._cost, outcome, now_us))
