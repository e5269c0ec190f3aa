"""The fast lane: hot requests answered between the socket's read and its write.

A redirect must not pay for a web framework. On a keep-alive connection all that follows the target
of a request (its *tail*: version and headers) repeats byte for byte, so it is read and judged once;
from then on a request is two comparisons, one lookup and one write. Whatever is not exactly a
bodiless `GET /segment HTTP/1.1` takes the ordinary path, on the same socket, in order. Invariant: the
client gets the same bytes from both paths, however its packets are cut, and in the order it asked.
"""

import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final, Protocol

import structlog

from twelvefold.web.connection import BETWEEN, HttpConnection
from twelvefold.web.hall import Hall
from twelvefold.web.heads import host_of_tail, length_of_head
from twelvefold.web.histogram import LaneTimings, bucket_of
from twelvefold.web.problem import RequestTimeoutError

log = structlog.get_logger("web")

Done = Callable[[bytes | None], None]

MAX_PARTIAL_BYTES: Final = 2 * 1024
"""An unfinished head up to this size waits for its rest here; the parser takes longer ones."""

MAX_CONTEXTS: Final = 4096
"""Judged tails that a process remembers, at most a few MB."""

_GET: Final = b"GET /"
_HEAD_END: Final = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_SEGMENT = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")


class LaneContext(Protocol):
    """What a lane knows about one tail: the host, the client and its headers, read once."""

    def answer(self, segment: bytes, /) -> bytes | None:
        """The whole response for `GET /segment`, or None. Synchronous, at most a few microseconds.

        `segment` is unchecked: anything may stand in it. Answer only what you know by exact match, and
        count it: what you return is written at once. None: `start` is asked.
        """

    def start(self, segment: bytes, done: Done, /) -> bool:
        """Begin to make the answer for a well-formed `segment`; False sends it down the ordinary path.

        After True, call `done` exactly once, with the response or with None for the ordinary path. It
        may be called at any time, also before `start` returns and after the client has gone; it never
        raises. Bound the wait yourself: the connection answers nothing else meanwhile.
        """


class Lane(Protocol):
    """A system's hot requests: `GET` of one path segment at the root."""

    def context(self, host: bytes, tail: bytes, client: str) -> LaneContext | None:
        """Judge a new `tail`; None sends its requests down the ordinary path.

        `host` is the Host header as sent, `tail` everything from the space before `HTTP/1.1` to the
        empty line, `client` the peer's address without port ("" on a unix socket).
        """


class BodyLane(Protocol):
    """A system's hot request with a body, registered for one exact method and path."""

    def answer(self, head: bytes, body: bytes, client: str, /) -> bytes | None:
        """The whole response, or None for `start`. `head` ends with the empty line; `body` is complete."""

    def start(self, head: bytes, body: bytes, client: str, done: Done, /) -> bool:
        """As `LaneContext.start`."""


class FastHall(Hall):
    """A hall with lanes.

    Args:
        lane: who answers `GET /segment`.
        timings: gets how long that takes.
        body_lanes: by request line as sent, `b"POST /v1/limiter/check HTTP/1.1"`.
    """

    __slots__ = ("_contexts", "body_lanes", "lane", "timings")

    def __init__(
        self,
        *args: Any,
        lane: Lane | None = None,
        body_lanes: Mapping[bytes, BodyLane] | None = None,
        timings: LaneTimings | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.lane = lane
        self.body_lanes = dict(body_lanes or {})
        self.timings = timings or LaneTimings()
        self._contexts: dict[tuple[str, bytes], LaneContext | None] = {}

    def context_of(self, client: str, tail: bytes) -> LaneContext | None:
        """Judge a tail, or remember how it was judged: a proxy's connection carries many clients' heads in turn."""
        key = client, tail
        if key in self._contexts:
            return self._contexts[key]
        context = None
        if self.lane is not None and (host := host_of_tail(tail)) is not None:
            context = self.lane.context(host, tail, client)
        if len(self._contexts) >= MAX_CONTEXTS:
            self._contexts.clear()
        self._contexts[key] = context
        return context


class _Waiting:
    """An answer that is being made. It outlives the connection safely: whoever is late writes nowhere."""

    __slots__ = ("began", "connection", "early", "request")

    def __init__(self, connection: "FastLaneProtocol", request: bytes) -> None:
        self.connection: FastLaneProtocol | None = connection
        self.request = request
        self.began = perf_counter()
        self.early: bytes | None = None

    def done(self, response: bytes | None) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if connection.waiting is not self:  # `start` has not returned yet
            self.early = response
            return
        connection.waiting = None
        connection.hall.timings.awaited[bucket_of(perf_counter() - self.began)] += 1
        try:
            connection.answered(response, self.request)
        except Exception:
            # The caller is often a shared engine connection, which must not suffer for one client.
            log.exception("web.fast_lane.failed")
            connection.transport.abort()


class FastLaneProtocol(HttpConnection):
    """See the module."""

    __slots__ = (
        "_answer", "_client", "_context", "_known_head", "_known_length", "_known_tail", "_overhead", "_partial",
        "_tail", "_write", "waiting",
    )  # fmt: skip

    hall: FastHall

    def __init__(self, hall: FastHall) -> None:
        super().__init__(hall)
        self.waiting: _Waiting | None = None
        self._partial = b""
        self._context: LaneContext | None = None
        self._known_tail = b""
        self._known_head = b""
        self._known_length = -1
        self._client = ""
        self._tail = b""
        self._overhead = -1
        self._answer: Callable[[bytes], bytes | None] = _nothing
        self._write: Callable[[bytes], None] = _nowhere

    def data_received(self, data: bytes) -> None:
        """Answer from the armed context, or look closer.

        Armed means: nothing is in flight, and `_overhead` is the length of `GET /` plus the known tail,
        so the difference proves both ends. Disarmed it is -1, which no difference of lengths can be.
        """
        segment = data.removeprefix(_GET).removesuffix(self._tail)
        if len(data) - len(segment) == self._overhead:
            response = self._answer(segment)
            if response is not None:
                self._write(response)
                self.heard = True
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
        if self.waiting is not None:
            self.waiting.connection = None
            self.waiting = None
        super().connection_lost(exc)

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
        if self.waiting is not None:
            self._ended = True
            return True
        return super().eof_received()

    def _nothing_in_flight(self) -> bool:
        return self.waiting is None and super()._nothing_in_flight()

    def time_next(self) -> bool:
        """Time the next hot answer, from its look-up to its last byte; False if none is to be expected."""
        if self._overhead < 0:
            return False
        answer, write, timings = self._answer, self._write, self.hall.timings

        def timed(segment: bytes) -> bytes | None:
            began = perf_counter()
            response = answer(segment)
            if response is not None:
                self._answer = answer
                self._write = finish(began)
            return response

        def finish(began: float) -> Callable[[bytes], None]:
            def timed_write(data: bytes) -> None:
                self._write = write
                write(data)
                timings.sampled[bucket_of(perf_counter() - began)] += 1

            return timed_write

        self._answer = timed
        return True

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
        if self._held or self.waiting is not None or self._deaf:
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
        return self.waiting is None and not self._partial and not self.flow.write_paused

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
        waiting = _Waiting(self, data[start:end])
        return self._wait_for(waiting) if context.start(segment, waiting.done) else None

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
        waiting = _Waiting(self, data[start:body_end])
        started = lane.start(head, body, self._client, waiting.done)
        return (self._wait_for(waiting) if started else None), body_end

    def _wait_for(self, waiting: _Waiting) -> bytes | None:
        if waiting.connection is None:
            return waiting.early
        self.waiting = waiting
        self._disarm()
        return b""

    def answered(self, response: bytes | None, request: bytes) -> None:
        """The answer that was being made is here: write it, then go on with what was held back."""
        if self._lost or self.transport.is_closing():
            return
        if response is None:
            self._feed(request)
        else:
            self._write(response)
        self._go_on()

    def _context_for(self, tail: bytes) -> LaneContext | None:
        if tail == self._known_tail:
            return self._context
        self._known_tail = tail
        self._context = self.hall.context_of(self._client, tail)
        return self._context

    def _arm(self) -> None:
        assert self._context is not None
        self._tail = self._known_tail
        self._overhead = len(_GET) + len(self._tail)
        self._answer = self._context.answer

    def _disarm(self) -> None:
        self._overhead = -1


def _nothing(_: bytes) -> bytes | None:
    return None


def _nowhere(_: bytes) -> None:
    return None
