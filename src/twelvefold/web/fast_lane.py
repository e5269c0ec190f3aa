"""The fast lane: hot requests answered between the socket's read and its write.

A redirect must not pay for a web framework. On a keep-alive connection all that follows the target
of a request (its *tail*: version and headers) repeats byte for byte, so it is read and judged once;
from then on a request is two comparisons, one lookup and one write. Whatever is not exactly a
bodiless `GET /segment HTTP/1.1` takes the ordinary path, on the same socket, in order. Invariant: the
client gets the same bytes from both paths, however its packets are cut, and in the order it asked.
"""

import re
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import structlog

from twelvefold.web.connection import BETWEEN, HttpConnection
from twelvefold.web.heads import host_of_tail, length_of_head
from twelvefold.web.histogram import bucket_of
from twelvefold.web.lanes import FastHall, KnownTails, LaneContext
from twelvefold.web.problem import RequestTimeoutError
from twelvefold.web.timed_answer import Answer, Tails, TimedAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("web")

MAX_PARTIAL_BYTES: Final = 2 * 1024
"""An unfinished head up to this size waits for its rest here; the parser takes longer ones."""

_GET: Final = b"GET /"
_VERSION: Final = b" HTTP/1.1\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_SEGMENT = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")

_PROBE = bytes(bytearray(b"probe"))
if _PROBE.removeprefix(b"q") is not _PROBE or _PROBE.removesuffix(b"q") is not _PROBE:
    raise ImportError("the fast lane needs an interpreter whose bytes give themselves back uncut")


class _Early(Enum):
    """Stands for an answer that was not given while `start` ran."""

    NOT_YET = 0


class FastLaneProtocol(HttpConnection):
    """See the module."""

    __slots__ = (
        "_answer", "_began", "_client", "_context", "_contexts", "_done", "_early", "_hot", "_known_head",
        "_known_length", "_known_tail", "_partial", "_tail", "_waiting", "_write",
    )  # fmt: skip

    hall: FastHall

    def __init__(self, hall: FastHall) -> None:
        super().__init__(hall)
        self._waiting: bytes | None = None
        self._began = 0.0
        self._early: bytes | _Early | None = _Early.NOT_YET
        self._done: Callable[[bytes | None], None] = self._take
        self._partial = b""
        self._context: LaneContext | None = None
        self._contexts: KnownTails = _NO_TAILS
        self._hot: Tails = _NO_TAILS
        self._known_tail = b""
        self._known_head = b""
        self._known_length = -1
        self._client = ""
        self._tail = b""
        self._answer: Answer = _nothing
        self._write: Callable[[bytes], None] = _nowhere

    def data_received(self, data: bytes) -> None:
        """Answer from the armed context, or look closer.

        Armed means that nothing is in flight. With one kind of headers it is `_tail`, cut off at the end
        as `GET /` is at the beginning (`bytes` gives back the very object where there is nothing to cut);
        with several it is `_hot`, a dictionary. Disarmed both are empty, and an empty tail cuts nothing.
        """
        # Callables are read before they are called: as `self._write(…)` they would be looked up as
        # methods first, which CPython 3.11 does not specialise for slots (40 ns each).
        hot = self._hot
        if hot:
            head, _, fields = data.partition(_VERSION)
            context = hot.get(fields)
            if context is not None:
                segment = head.removeprefix(_GET)
                if segment is not head:
                    answer = context.answer
                    response = answer(segment)
                    if response is not None:
                        write = self._write
                        write(response)
                        self.heard = True
                        return
        else:
            rest = data.removeprefix(_GET)
            segment = rest.removesuffix(self._tail)
            if segment is not rest and rest is not data:
                answer = self._answer
                response = answer(segment)
                if response is not None:
                    write = self._write
                    write(response)
                    self.heard = True
                    return
                if _SEGMENT.fullmatch(segment) and self._begin(segment, data):
                    return
        self._receive(data)

    def connection_made(self, transport: Any) -> None:
        """Remember what the hot path needs."""
        self._write = transport.write
        super().connection_made(transport)
        self._client = self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever still makes an answer for this client makes it for nobody."""
        self._disarm()
        self._waiting = None
        self._done = _too_late  # it was our own method, which would keep us alive
        super().connection_lost(exc)

    def _hand_over(self, rest: bytes) -> None:
        self._done = _too_late
        super()._hand_over(rest)

    def pause_writing(self) -> None:
        """The client does not read what it asked for; the hot path would fill our memory."""
        self._disarm()
        super().pause_writing()

    def shutdown(self) -> None:
        """Drain: after the answer being made, if there is one."""
        self._disarm()
        super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's signature, not uvicorn's
        """A client that has said its last word still gets the answer being made."""
        if self._waiting is not None:
            self._ended = True
            return True
        return super().eof_received()

    def _nothing_in_flight(self) -> bool:
        return self._waiting is None and super()._nothing_in_flight()

    def time_next(self) -> bool:
        """Time the next hot answer, from its look-up to its last byte; False if none is to be expected."""
        if not self._tail:
            return False
        timed = TimedAnswer(self, self._hot, self._answer)
        if self._hot:
            self._hot = timed
        else:
            self._answer = timed.answer
        return True

    def timed(self, began: float, hot: Tails, answer: Answer) -> None:
        """A timed answer is about to be written: all is as before from the next one on."""
        write, timings = self._write, self.hall.timings

        def timed_write(data: bytes) -> None:
            self._write = write
            write(data)
            timings.sampled[bucket_of(perf_counter() - began)] += 1

        self._write = timed_write
        if self._tail:
            self._hot = hot
            self._answer = answer

    def sweep(self, now: float) -> None:
        """As for every connection; an unfinished head may wait here, too."""
        if self._partial and now - self._stage_since > self.hall.limits.header_seconds:
            self._refuse(RequestTimeoutError("the request's headers did not arrive in time"))
        super().sweep(now)

    # -- the careful path -----------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        if self._held or self._waiting is not None or self._deaf:
            self._hold(data)
            return
        start = 0
        hall = self.hall
        if self._stage == BETWEEN and (hall.lane or hall.body_lanes) and self._nothing_in_flight():
            start = self._walk(data)
        if start < len(data):
            self._disarm()
            super()._receive(data[start:] if start else data)

    def _walk(self, data: bytes) -> int:
        """Answer request after request; returns where the first begins that is not for the fast lane."""
        responses: list[bytes] = []
        start = 0
        while start < len(data):
            end = data.find(_HEAD_END, start)
            if end < 0:
                start = self._keep_partial(data, start)
                break
            end += len(_HEAD_END)
            if data.startswith(_GET, start):
                outcome = self._ask(data, start, end)
            elif self.hall.body_lanes:
                outcome, end = self._ask_body(data, start, end)
            else:
                break
            if outcome is None:
                break
            start = end
            if outcome:
                responses.append(outcome)
                continue
            self._hold(data[end:])
            start = len(data)
        if responses:
            self._write(b"".join(responses))
        if start == len(data) and self._context and self._free():
            self._arm()
        return start

    def _keep_partial(self, data: bytes, start: int) -> int:
        small = len(data) - start <= MAX_PARTIAL_BYTES
        if not (small and data.startswith(_GET, start)) or _BARE_LINE_FEED.search(data, start):
            return start
        self._partial = data[start:]
        self._stage_since = self.hall.now
        self._disarm()
        return len(data)

    def _free(self) -> bool:
        return self._waiting is None and not self._partial and not self.flow.write_paused

    def _ask(self, data: bytes, start: int, end: int) -> bytes | None:
        """The response; b"" while it is being made; None for the ordinary path."""
        space = data.find(b" ", start + 5, end)
        context = self._context_for(data[space:end]) if space > 0 else None
        if context is None:
            return None
        segment = data[start + 5 : space]
        response = context.answer(segment)
        if response is not None or not _SEGMENT.fullmatch(segment):
            return response
        self._began = perf_counter()
        return self._wait_for(data[start:end]) if context.start(segment, self._done) else None

    def _ask_body(self, data: bytes, start: int, end: int) -> tuple[bytes | None, int]:
        """As `_ask`, for a request with a body; also where the request ends."""
        line_end = data.find(b"\r\n", start, end)
        lane = self.hall.body_lanes.get(data[start:line_end])
        if lane is None:
            return None, end
        head = data[line_end:end]
        if head != self._known_head:
            self._known_head, self._known_length = head, length_of_head(head)
        body_end = end + self._known_length
        if self._known_length < 0 or body_end > len(data):
            return None, end
        body = data[end:body_end]
        response = lane.answer(head, body, self._client)
        if response is not None:
            return response, body_end
        self._began = perf_counter()
        started = lane.start(head, body, self._client, self._done)
        return (self._wait_for(data[start:body_end]) if started else None), body_end

    # -- an answer that is being made: one at a time ---------------------------------------------

    def _begin(self, segment: bytes, request: bytes) -> bool:
        """Begin to make what the armed context does not have at hand; `request` is one and whole."""
        assert self._context is not None
        self._began = perf_counter()
        if not self._context.start(segment, self._done):
            return False
        self.heard = True
        response = self._wait_for(request)
        if response is None:
            return False
        if response:
            self._write(response)
        return True

    def _wait_for(self, request: bytes) -> bytes | None:
        """b"" from now on until `_take`; or what `_take` got already."""
        early, self._early = self._early, _Early.NOT_YET
        if not isinstance(early, _Early):
            return early
        self._waiting = request
        self._disarm()
        return b""

    def _take(self, response: bytes | None) -> None:
        """The lane's `done`: write the answer, then go on with what was held back."""
        if self._lost:
            return
        request, self._waiting = self._waiting, None
        if request is None:  # `start` has not returned yet
            self._early = response
            return
        self.hall.timings.awaited[bucket_of(perf_counter() - self._began)] += 1
        try:
            if response is not None and self._may_stay_armed():
                self._write(response)
                self._arm()
            elif not self.transport.is_closing():
                if response is None:
                    self._feed(request)
                else:
                    self._write(response)
                self._go_on()
        except Exception:
            # The caller is often a shared engine connection, which must not suffer for one client.
            log.exception("web.fast_lane.failed")
            self.transport.abort()

    def _may_stay_armed(self) -> bool:
        """Whether nothing came up while the answer was made."""
        return not (
            self._held
            or self._partial
            or self._ended
            or self._deaf
            or self._context is None
            or self.hall.draining
            or self.flow.write_paused
            or self.transport.is_closing()
        )

    def _context_for(self, tail: bytes) -> LaneContext | None:
        if tail == self._known_tail:
            return self._context
        context = self._contexts.get(tail[len(_VERSION) :])
        lane = self.hall.lane
        if context is None and lane is not None and (host := host_of_tail(tail)) is not None:
            context = lane.context(host, tail, self._client)
            if self._known_tail and context is not None:
                # A second kind of headers on one connection: a proxy, or a browser with cookies.
                self._contexts = self.hall.known_tails.add(self._client, tail, context)
        self._known_tail = tail
        self._context = context
        return context

    def _arm(self) -> None:
        assert self._context is not None
        self._hot = self._contexts
        self._tail = self._known_tail
        self._answer = self._context.answer

    def _disarm(self) -> None:
        self._hot = _NO_TAILS
        self._tail = b""


_NO_TAILS: Final = KnownTails()


def _too_late(_: bytes | None) -> None:
    """Takes what nobody waits for any more."""


def _nothing(_: bytes) -> bytes | None:
    return None


def _nowhere(_: bytes) -> None:
    return None
