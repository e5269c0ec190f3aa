"""One HTTP/1.1 connection: uvicorn's httptools protocol, made safe for the open network.

Invariants: responses leave in the order of their requests, refusals included; every wait of a client
has an end (headers, body, an unread response, silence); every size has a bound; a request that is
framed in two ways, or in a way that another server would read differently, is refused and the
connection closed (RFC 9112 §6.3, "HTTP Desync Attacks", Kettle 2019). One sweep a second watches all
connections of a process, so that no request pays for a timer.
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from twelvefold.kernel.errors import MalformedRequestError, OverloadedError, TwelvefoldError
from twelvefold.web.cycle import Cycle
from twelvefold.web.hall import Hall, Reading
from twelvefold.web.heads import body_too_large, finish_scope, judge, refusal_of
from twelvefold.web.ports import ends_of
from twelvefold.web.problem import (
    HeadersTooLargeError,
    RequestTimeoutError,
    problem_response,
    render_response,
    request_id_from,
)
from twelvefold.web.sockets import WebSocket

BETWEEN: Final = 0
HEAD: Final = 1
BODY: Final = 2
"""Where the parser stands: between two messages, inside a head, inside a body."""

SLICE_BYTES: Final = 8 * 1024
"""How much is parsed at once; it bounds how many pipelined requests can be waiting, at about 200."""

MAX_HELD_BYTES: Final = 64 * 1024
"""What may wait behind a request under way before we stop reading."""

LINGER_SECONDS: Final = 2.0
"""After a refusal we go on reading (and drop what comes) for this long, so that a client still busy
sending reads our answer instead of a reset."""


class HttpConnection(HttpToolsProtocol):
    """See the module. Subclassed by the fast lane."""

    flow: Reading

    # uvicorn's attributes live in a dict; ours are slots, which is smaller and on the hot path quicker.
    __slots__ = (
        "_body_limit", "_deaf", "_ended", "_farewell", "_fresh", "_held", "_last", "_lingering_since", "_lost",
        "_quiet_since", "_running", "_size", "_stage", "_stage_since", "_upgraded_at", "_write_paused_since",
        "hall", "heard",
    )  # fmt: skip

    def __init__(self, hall: Hall) -> None:
        super().__init__(hall.config, hall.server_state, hall.app_state, hall.loop)
        # Bytes after `Connection: close` are an error to the parser; we drop them with the connection.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.hall = hall
        self.heard = True
        self._quiet_since = hall.now
        self._stage = BETWEEN
        self._stage_since = hall.now
        self._size = 0
        self._fresh = False
        self._body_limit = 0
        self._held = bytearray()
        self._running: Cycle | None = None
        self._last = False
        self._deaf = False
        self._ended = False
        self._upgraded_at: int | None = None
        self._farewell: bytes | None = None
        self._lingering_since = 0.0
        self._write_paused_since = 0.0
        self._lost = False

    # -- the transport's callbacks --------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Admit the connection, or say at once why not."""
        self.connections.add(self)
        self.transport = transport
        self.server, self.client = ends_of(transport)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.flow = Reading(transport)
        self._quiet_since = self._stage_since = self.hall.now
        if len(self.connections) > self.hall.limits.max_connections:
            self.hall.refused_connections += 1
            self._refuse(OverloadedError("this server has as many connections as it takes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever is still working for this client."""
        self._lost = True
        self._held.clear()
        self.pipeline.clear()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's signature, not uvicorn's
        """The client said its last word; an answer that is due is still given, then the connection ends."""
        running = self._running
        if self._nothing_in_flight() or (running is not None and self._is_cut_short(running)):
            return False
        self._ended = True
        if running is not None:
            running.message_event.set()
        return True

    def _is_cut_short(self, cycle: Cycle) -> bool:
        """Whether the rest of its body will never come, or it streams to somebody who has probably gone."""
        is_incomplete = self._stage == BODY and cycle is self.cycle and not self._held
        return is_incomplete or bool(cycle.response_started and cycle.chunked_encoding)

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it, too."""
        super().pause_writing()
        self._write_paused_since = self.hall.now
        self.flow.hold()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._write_paused_since = 0.0
        self.flow.release()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.heard = True
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._held or self.pipeline:
            self._hold(data)
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parse slice by slice, until a request has to wait for the one before it."""
        view = memoryview(data)
        for start in range(0, len(data), SLICE_BYTES):
            if self.pipeline:
                self._hold(data[start:])
                return
            if not self._deaf:
                self._parse(view[start : start + SLICE_BYTES])
                if self._upgraded_at is not None:
                    self._hand_over(data[start + self._upgraded_at :])
                    return

    def _parse(self, data: memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._deaf = True
            if self._should_upgrade():
                self._upgraded_at = pause.args[0]
            # else the request is answered as if it had not asked; then the connection ends
        except httptools.HttpParserError as fault:
            if self._last and self._stage == BETWEEN:
                self._deaf = True
            else:
                if self._stage == BODY:
                    self._abandon_cycle()
                self._refuse(refusal_of(fault))
        else:
            if self._stage == HEAD:
                # How much of the slice in which a head began belongs to it is unknown; later ones do.
                self._size += 0 if self._fresh else len(data)
                self._fresh = False
                if self._size > self.hall.limits.max_header_bytes:
                    self._refuse(HeadersTooLargeError())

    def _hold(self, data: bytes) -> None:
        """Keep bytes until what is under way is done; beyond a bound, stop reading."""
        if not self._deaf:
            self._held += data
            if len(self._held) > MAX_HELD_BYTES:
                self.flow.hold()

    def _go_on(self) -> None:
        """Nothing stands in the way of the bytes that were held back any more."""
        if self._held:
            held = bytes(self._held)
            self._held.clear()
            self._receive(held)
        if len(self._held) <= MAX_HELD_BYTES and not self.flow.write_paused:
            self.flow.release()
        self._end_if_last()

    # -- the parser's callbacks -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._last:
            raise MalformedRequestError("the connection was to end with the request before")
        super().on_message_begin()
        self._fresh = True
        self._stage = HEAD
        self._stage_since = self.hall.now
        self._size = 0

    def on_headers_complete(self) -> None:
        """Check the head, then start (or queue) the application."""
        http_version = self.parser.get_http_version()
        finish_scope(self.scope, self.url, self.parser.get_method(), http_version)
        self._judge(http_version)
        self._size = 0
        if self.parser.should_upgrade():
            if self._should_upgrade():
                return
            self._last = True
        keep_alive = http_version == "1.1" and self.parser.should_keep_alive() and not self._last
        self._last = not keep_alive
        app: Any = self.app
        if len(self.tasks) >= self.hall.limits.max_concurrency:
            self.scope["state"]["request_id"] = request_id_from(self.headers)
            app = problem_response(OverloadedError(retry_after_seconds=1), self.scope)
        self._admit(app, keep_alive=keep_alive)
        self._stage = BODY
        self._stage_since = self.hall.now

    def on_body(self, body: bytes) -> None:
        """Bound the body; only a chunked one can still exceed here."""
        self._size += len(body)
        if self._size > self._body_limit:
            raise body_too_large(self._body_limit)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all here."""
        self._stage = BETWEEN
        super().on_message_complete()
        if self._nothing_in_flight() and not self.parser.should_upgrade():
            self._forget_request()

    def on_response_complete(self) -> None:
        """Go on with what is queued: the next request, a refusal, or the end of the connection."""
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            return
        if self._stage == BETWEEN and not self.pipeline:
            self._forget_request()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        if self._farewell is None:
            if not self.pipeline:
                self._go_on()
        elif self._nothing_in_flight():
            self._leave()

    # -- refusals and endings -------------------------------------------------------------------

    def shutdown(self) -> None:
        """The server drains: close when nothing is in flight, else after the response under way."""
        self._end_if_last()

    def sweep(self, now: float) -> None:
        """Called once a second: end what takes too long."""
        limits = self.hall.limits
        if self.heard or not self._nothing_in_flight():
            self.heard = False
            self._quiet_since = now  # or it is we who keep the client waiting
        if self._lingering_since:
            self._abort_after(LINGER_SECONDS, self._lingering_since, now)
        elif self._write_paused_since:
            self._abort_after(limits.send_seconds, self._write_paused_since, now)
        elif self._stage == HEAD:
            if now - self._stage_since > limits.header_seconds:
                self._refuse(RequestTimeoutError("the request's headers did not arrive in time"))
        elif self._stage == BODY:
            self._sweep_body(now)
        elif now - self._quiet_since > limits.keep_alive_seconds:
            self.transport.close()

    def _abort_after(self, seconds: float, since: float, now: float) -> None:
        if now - since > seconds:
            self.transport.abort()

    def _sweep_body(self, now: float) -> None:
        limits = self.hall.limits
        if self.flow.read_paused:  # it is the application that does not take it
            self._stage_since = max(self._stage_since, now - limits.body_seconds)
        # The allowance grows with what has come, so that only a client that dribbles is cut.
        allowed = limits.body_seconds + self._size / limits.min_body_bytes_per_second
        if now - self._stage_since > allowed:
            self._abandon_cycle()
            self._refuse(RequestTimeoutError("the request's body did not arrive in time"))

    def _nothing_in_flight(self) -> bool:
        return self._running is None and not self.pipeline

    def _end_if_last(self) -> None:
        """Close where nothing more may come: the server drains, or the client said its last word."""
        last = (self._ended and not self._held) or (self.hall.draining and self._stage == BETWEEN)
        if last and self._nothing_in_flight() and not self._lingering_since:
            self.transport.close()

    def _forget_request(self) -> None:
        """An idle connection keeps nothing of its last request: 2.5 of its 7.4 KB."""
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]  # set when the next begins

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        assert isinstance(cycle, Cycle)
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, error: TwelvefoldError) -> None:
        """Answer with `error` once all earlier responses have left, then close. Deaf from here on."""
        self._deaf = True
        self._stage = BETWEEN
        if self._farewell is None and not self._lost:
            self._farewell = render_response(error, getattr(self, "headers", None) or [])
            if self._nothing_in_flight():
                self._leave()

    def _leave(self) -> None:
        if self._farewell and not self.transport.is_closing():
            self.flow.resume_reading()
            self.flow.release()
            self.transport.write(self._farewell)
            self.transport.write_eof()
            self._lingering_since = self.hall.now or self.loop.time()

    def _abandon_cycle(self) -> None:
        """The request under way will never be complete: whoever reads it sees a disconnect."""
        cycle = self.cycle
        if cycle.response_started:  # a refusal can not follow on it
            self.transport.close()
        if cycle is self._running:
            self._running = None
        elif self.pipeline:
            self.pipeline.popleft()
        cycle.disconnected = True
        cycle.message_event.set()

    # -- the head -------------------------------------------------------------------------------

    def _judge(self, http_version: str) -> None:
        """Raise what is wrong with this head, if anything; sets the body's limit."""
        framing = judge(self.url, self.headers, http_version, self.hall.limits)
        if isinstance(framing, TwelvefoldError):
            raise framing
        self._body_limit = framing.limit_bytes
        if self.parser.should_upgrade():
            if framing.length or framing.chunked:
                raise MalformedRequestError("a request that asks for an upgrade cannot carry a body here")
            if self._should_upgrade() and not self._nothing_in_flight():
                raise MalformedRequestError("an upgrade cannot be pipelined behind another request")

    def _should_upgrade(self) -> bool:
        return (
            self.hall.doorkeeper is not None
            and self.scope["method"] == "GET"
            and self.scope["http_version"] == "1.1"
            and self._get_upgrade() == b"websocket"
        )

    def _hand_over(self, rest: bytes) -> None:
        """A WebSocket takes the transport; `rest` came behind its handshake."""
        scope: dict[str, Any] = {**self.scope, "type": "websocket"}
        scope["scheme"] = "wss" if self.scheme == "https" else "ws"
        transport = self.transport
        self._stage = BETWEEN
        self.hall.connections.discard(self)
        socket = WebSocket(self.hall, transport, scope)
        self.hall.connections.add(socket)
        transport.set_protocol(socket)
        self.flow.resume_reading()
        self.flow.release()
        # The parser holds our methods: without it we are gone at once, not at the next collection.
        self.parser = None  # type: ignore[assignment]  # as in uvicorn's own connection_lost
        if rest:
            socket.data_received(rest)

    def _admit(self, app: Any, *, keep_alive: bool) -> None:
        self.cycle = Cycle.on(self, keep_alive=keep_alive)
        if self._nothing_in_flight():
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))
