"""Exact state in Valkey: all checks of one turn of the loop, one script call for each tenant's slot.

Invariants: every check is answered within `deadline_seconds`, with a reply or with an error; a check is
sent at most once, because a lost reply may belong to a debit that happened; after trouble one batch goes
out as a probe, and everyone else is refused at once until it has come back, so nothing stampedes.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from twelvefold.engines.valkey import Script, Valkey
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TwelvefoldError
from twelvefold.systems.limiter.rules.bound import Bound
from twelvefold.systems.limiter.store.scripts import source

log = structlog.get_logger("limiter")

DEADLINE_SECONDS: Final = 0.012
_SECOND_LOOK_SECONDS: Final = 0.002
"""A reply may lie in the socket while this process was busy: it is given one more turn to be read."""
_PROBE_SECONDS: Final = 0.05
MAX_KEYS: Final = 2_000
"""In one script call, which takes Valkey about two milliseconds then."""
_MAX_WAITING: Final = 50_000

Answer = Callable[[int, Sequence[int], int], None]
"""Gets the server's time in microseconds, the flat replies, and where its own four numbers a hit begin."""
Fault = Callable[[Exception], None]
AskedHit = tuple[Bound, bytes, int]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


class _Batch:
    """The checks of one script call."""

    __slots__ = ("checks", "definitions", "extras", "keys", "numbers", "waiting")

    def __init__(self) -> None:
        self.keys: dict[bytes, int] = {}
        self.numbers: dict[Bound, int] = {}
        self.definitions: list[tuple[int, ...]] = []
        self.extras: list[list[int]] = []
        self.checks: list[int] = []
        self.waiting: list[tuple[Answer, Fault, int]] = []

    def number_of(self, bound: Bound, now_us: int) -> int:
        number = self.numbers.get(bound)
        if number is None:
            self.definitions.append(bound.definition(now_us))
            number = self.numbers[bound] = len(self.definitions)
        return number

    def key_of(self, key: bytes) -> int:
        place = self.keys.get(key)
        if place is None:
            place = self.keys[key] = len(self.keys) + 1
        return place


class SharedState:
    """See the module.

    Args:
        valkey: of this limiter alone, so that nobody's long command delays a check.
        deadline_seconds: after so long without a reply a check fails; from a batch's write to its reply.
    """

    def __init__(self, valkey: Valkey, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._valkey = valkey
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._batches: dict[int, _Batch] = {}
        self._flights: deque[_Flight] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._scripts: dict[int, Script] = {}
        self._waiting = 0
        self._trouble: str = ""
        self._probing = False
        self._probe_at = 0.0
        self.sent_batches = 0

    @property
    def healthy(self) -> bool:
        """Whether checks go out."""
        return not self._trouble and self._valkey.connected

    def ask(self, tenant: int, hits: Sequence[AskedHit], answer: Answer, fault: Fault) -> None:
        """Send one check; `answer` or `fault` is called later, exactly once.

        Raises at once, and then never calls back: `EngineUnavailableError` while the state cannot be
        reached, `OverloadedError` when too much waits.
        """
        if self._trouble and not self._may_probe():
            raise EngineUnavailableError(self._valkey.name, self._trouble)
        if self._waiting >= _MAX_WAITING:
            raise OverloadedError("too many checks wait for the limiter's state", retry_after_seconds=1)
        batch = self._batches.get(tenant)
        if batch is None:
            batch = self._batches[tenant] = _Batch()
            if len(self._batches) == 1:
                self._loop.call_soon(self._flush)
        self._waiting += 1
        checks = batch.checks
        checks.append(len(hits))
        for bound, suffix, cost in hits:
            key = bound.prefix + suffix
            place = batch.keys.get(key)
            if place is None:
                place = batch.keys[key] = len(batch.keys) + 1
                if bound.previous or bound.rule.penalty_seconds:
                    self._add_extras(batch, bound, suffix, place)
            number = batch.numbers.get(bound) or batch.number_of(bound, time.time_ns() // 1000)
            checks += (place, number, cost)
        batch.waiting.append((answer, fault, len(hits)))
        if len(batch.keys) >= MAX_KEYS:
            del self._batches[tenant]
            self._send(batch)

    def _add_extras(self, batch: _Batch, bound: Bound, suffix: bytes, place: int) -> None:
        now_us = time.time_ns() // 1000
        key = bound.prefix + suffix
        extra = [
            place,
            batch.number_of(bound, now_us),
            batch.key_of(key + b"!") if bound.rule.penalty_seconds else 0,
        ]
        for earlier, until_ms in bound.previous:
            if until_ms * 1000 > now_us:
                extra += (batch.key_of(earlier.prefix + suffix), batch.number_of(earlier, now_us))
        batch.extras.append(extra)

    async def forget(self, keys: Sequence[bytes]) -> int:
        """Delete states: the keys are as if never seen. Returns how many there were."""
        return int(await self._valkey.call("UNLINK", *keys)) if keys else 0

    # -- sending --------------------------------------------------------------------------------

    def _flush(self) -> None:
        batches, self._batches = self._batches, {}
        for batch in batches.values():
            self._send(batch)

    def _send(self, batch: _Batch) -> None:
        keys = list(batch.keys)
        script = self._scripts.get(len(keys))
        if script is None:
            script = self._scripts[len(keys)] = self._valkey.script(source("check"), keys=len(keys))
        flight = _Flight(self, batch, self._loop.time() + self._deadline_seconds)
        body = _encode((batch.definitions, batch.extras, batch.checks))
        try:
            # This turn's checks are gathered: nothing is won by waiting for another turn.
            script.send_with(flight.replied, keys, (body,), at_once=True)
        except TwelvefoldError as error:
            flight.replied(error)
            return
        self.sent_batches += 1
        self._flights.append(flight)
        if self._timer is None:
            self._timer = self._loop.call_at(flight.due, self._look_for_late)

    def _look_for_late(self) -> None:
        """One timer for all flights: most land long before it is due, and arming one for each cost more than a check."""
        self._timer = None
        now = self._loop.time()
        flights = self._flights
        while flights and (flights[0].landed or flights[0].due <= now):
            flights.popleft().late()
        if flights:
            self._timer = self._loop.call_at(flights[0].due, self._look_for_late)

    def settled(self, count: int) -> None:
        """A batch of `count` checks was answered, one way or the other."""
        self._waiting -= count
        flights = self._flights
        while flights and flights[0].landed:
            flights.popleft()

    # -- trouble --------------------------------------------------------------------------------

    def failed(self, error: Exception) -> None:
        """The state did not answer, or not in time."""
        if not self._trouble:
            log.warning("limiter.state.lost", reason=str(error))
        self._trouble = str(error) or type(error).__name__
        self._probing = False
        self._probe_at = self._loop.time() + _PROBE_SECONDS * (0.5 + random.random())  # noqa: S311 - jitter

    def recovered(self) -> None:
        """A reply came: the state is there, and in step."""
        if self._trouble:
            log.info("limiter.state.back")
        self._trouble = ""
        self._probing = False

    def _may_probe(self) -> bool:
        if self._probing or not self._valkey.connected or self._loop.time() < self._probe_at:
            return False
        self._probing = True
        return True


class _Flight:
    """A script call on its way."""

    __slots__ = ("_batch", "_second_look", "_state", "due")

    def __init__(self, state: SharedState, batch: _Batch, due: float) -> None:
        self._state = state
        self._batch: _Batch | None = batch
        self._second_look: asyncio.TimerHandle | None = None
        self.due = due

    @property
    def landed(self) -> bool:
        """Whether its checks were answered, one way or the other."""
        return self._batch is None

    def late(self) -> None:
        """The deadline has passed; look once more after the sockets have been read."""
        if self._batch is not None:
            loop = asyncio.get_running_loop()
            self._second_look = loop.call_later(_SECOND_LOOK_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._second_look = None
        self._fail(EngineUnavailableError("limiter", "no reply in time; the check may have been counted"))

    def replied(self, reply: Any) -> None:
        """Take the reply, or the error in its place; a late one only says that the state is back."""
        if self._second_look is not None:
            self._second_look.cancel()
            self._second_look = None
        if isinstance(reply, Exception):
            self._fail(reply)
            return
        self._state.recovered()
        batch, self._batch = self._batch, None
        if batch is None:
            return
        self._state.settled(len(batch.waiting))
        numbers = _decode(reply)
        now_us = numbers[0]
        at = 1
        for answer, _, hits in batch.waiting:
            answer(now_us, numbers, at)
            at += 4 * hits

    def _fail(self, error: Exception) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            if isinstance(error, EngineUnavailableError):
                return
            self._state.recovered()
            return
        self._state.failed(error)
        if not isinstance(error, EngineUnavailableError):
            log.error("limiter.check.failed", reason=str(error))
        self._state.settled(len(batch.waiting))
        for _, fault, _ in batch.waiting:
            fault(error)
