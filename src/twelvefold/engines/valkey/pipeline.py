"""Many callers, one connection: gathers, writes once a turn, matches replies in order, keeps deadlines.

All commands of one turn of the event loop leave in one write; the server answers in order, so a reply
belongs to the oldest entry. Invariants: what a caller does (raise in a callback, cancel a future, close
the client from inside) never disturbs another's reply; a command that the server may have run is never
sent again; every entry is answered exactly once, with a reply or an error, within its deadline.

A command past its deadline trips a breaker: from then on calls are refused at once, while one PING
waits behind the late commands. Its answer proves that the server is back and in step, and ends it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from twelvefold.engines.valkey.errors import reply_error_factory
from twelvefold.engines.valkey.flight import NEVER, Batch, Entry, FailureReport, Timed, answer, drop, late
from twelvefold.engines.valkey.wire import CRLF, HEADS, NOT_YET, Push, Value, encode, encode_into, make_reader
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError, TooLargeError, TwelvefoldError

DEFAULT_MAX_IN_FLIGHT = 65_536
DEFAULT_MAX_IN_FLIGHT_BYTES = 64 << 20
_MIN_ABANDON_SECONDS = 3.0

_log = structlog.get_logger("valkey")


class Transport(Protocol):
    """What a pipeline needs of an `asyncio.WriteTransport`."""

    def write(self, data: bytes) -> None:
        """Send, or keep until it can be sent."""

    def abort(self) -> None:
        """Close at once; the pipeline has been detached before."""


class Pipeline:
    """The commands in flight on one connection. Belongs to one event loop; starts without a connection.

    Args:
        name: of the engine, in errors and logs.
        deadline_seconds: how long a command may take from its write to its reply.
        max_in_flight: commands waiting for replies; the next is refused with `OverloadedError`.
        max_in_flight_bytes: likewise, of what was written and is unanswered.
    """

    def __init__(
        self,
        name: str,
        *,
        deadline_seconds: float,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        max_in_flight_bytes: int = DEFAULT_MAX_IN_FLIGHT_BYTES,
    ) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._report = FailureReport(name, self._loop)
        self._future_type = type(self._loop.create_future())
        self._max_in_flight = max_in_flight
        self._max_in_flight_bytes = max_in_flight_bytes
        self._transport: Transport | None = None
        self._reader = make_reader(reply_error_factory(name))
        self._fault = "not connected"
        self._stalled = False
        self._entries: deque[Entry] = deque()
        self._pieces: list[bytes] = []
        self._gathered_bytes = 0
        self._batches: deque[Batch] = deque()
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._room = 0
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._abandon_seconds = max(_MIN_ABANDON_SECONDS, 4 * deadline_seconds)
        self._abandon_timer: asyncio.TimerHandle | None = None
        self._unready = True

    # Sending

    def send_with(self, callback: Entry, *args: Value) -> None:
        """Send a command; `callback` gets its reply, or an exception in its place, later and exactly once.

        A future may stand for the callback. One method for all, as one call more is a tenth of a command.

        Raises at once, and then never calls back: `EngineUnavailableError` while disconnected or
        stalled, `OverloadedError` when too much is in flight, `TypeError`/`ValueError` for bad arguments.
        """
        entries = self._entries
        if len(entries) >= self._room:
            raise self._refusal()
        # `encode_into`, its commonest case written out: this runs for every command.
        if len(args) == 2 and type(key := args[1]) is bytes:
            try:
                self._pieces += (HEADS[args[0]][len(key)], key, CRLF)
            except LookupError:
                self._encode(args)
        else:
            self._encode(args)
        if not entries:
            self._loop.call_soon(self._flush)
        entries.append(callback)

    def send_now_with(self, callback: Entry, *args: Value) -> None:
        """As `send_with`, without waiting for what else this turn brings: for who has gathered already.

        What was gathered before leaves before it, in the same write.
        """
        if len(self._entries) >= self._room:
            raise self._refusal()
        self._encode(args)
        self._entries.append(callback)
        self._flush()

    def send(self, *args: Value) -> asyncio.Future[Any]:
        """Send a command; the future gets its reply or error. Raises at once like `send_with`."""
        future = self._loop.create_future()
        self.send_with(future, *args)
        return future

    async def call(self, *args: Value, deadline_seconds: float | None = None) -> Any:
        """Send a command and wait for its reply, for this connection's deadline or one of its own."""
        if deadline_seconds is None:
            return await self.send(*args)
        future = self._loop.create_future()
        timed = Timed(future, deadline_seconds, self._expire_timed)
        try:
            self.send_with(timed, *args)
        except Exception as error:  # noqa: BLE001 raised by the await below; here it only stops the timer
            timed(error)
        return await future

    def send_asking(self, callback: Entry, *args: Value) -> None:
        """Like `send_with`, right behind an ASKING: to a node that is taking the key's slot over."""
        if len(self._entries) + 1 >= self._room:
            raise self._refusal()
        self._pieces.append(encode(("ASKING",)))
        if not self._entries:
            self._loop.call_soon(self._flush)
        self._entries.append(drop)
        try:
            self.send_with(callback, *args)
        except Exception:
            self._entries.pop()
            self._pieces.pop()
            raise

    def _encode(self, args: tuple[Value, ...]) -> None:
        size_bytes = encode_into(self._pieces, args)
        if size_bytes:
            self._account(size_bytes)

    def _account(self, size_bytes: int) -> None:
        """Count a large command against the bound in bytes; it is the last of the pieces."""
        self._gathered_bytes += size_bytes
        if self._gathered_bytes + self._in_flight_bytes > self._max_in_flight_bytes:
            self._gathered_bytes -= size_bytes
            self._pieces.pop()
            if size_bytes > self._max_in_flight_bytes:
                raise TooLargeError(f"{self.name}: a command has at most {self._max_in_flight_bytes} bytes")
            raise self._refusal()

    def _refusal(self) -> TwelvefoldError:
        if self._fault:
            return EngineUnavailableError(self.name, self._fault)
        return OverloadedError(
            f"{self.name}: {self._in_flight + len(self._entries)} commands are in flight already",
            retry_after_seconds=self.deadline_seconds,
        )

    def _flush(self) -> None:
        entries = self._entries
        if entries and self._transport is not None:
            data = b"".join(self._pieces)
            self._entries = deque()
            self._pieces = []
            self._gathered_bytes = 0
            self._write(entries, data, self._loop.time() + self.deadline_seconds)

    def write_now(self, commands: Sequence[tuple[Value, ...]], entries: Sequence[Entry]) -> None:
        """Write commands at once, whatever the state; for handshakes and subscriptions.

        Args:
            commands: any commands, also those that a caller may not send.
            entries: those of them that are answered, in order; no deadline but the writer's own.
        """
        self._write(deque(entries), b"".join(map(encode, commands)), NEVER)

    def _write(self, entries: deque[Entry], data: bytes, deadline: float) -> None:
        assert self._transport is not None
        if entries:
            self._batches.append(Batch(entries, len(data), deadline))
            self._in_flight += len(entries)
            self._in_flight_bytes += len(data)
            self._make_room()
        if self._deadline_timer is None and deadline != NEVER:
            self._deadline_timer = self._loop.call_at(deadline, self._check_deadlines)
        self._transport.write(data)

    def _make_room(self) -> None:
        is_shut = self._fault or self._in_flight_bytes >= self._max_in_flight_bytes
        self._room = 0 if is_shut else self._max_in_flight - self._in_flight

    # Receiving

    def feed(self, data: bytes) -> None:
        """Take bytes from the server, and give every complete reply to its entry."""
        reader = self._reader
        try:
            reader.feed(data)
            self._drain(reader.gets)
        except Exception as error:  # noqa: BLE001 whatever the parser raises, the stream is unusable
            self.broken(f"malformed reply: {error}")
        batches = self._batches
        if batches and not batches[0].entries:
            self._advance()

    def _drain(self, gets: Callable[[], Any]) -> None:
        popleft = self._advance()
        future_type = self._future_type
        while True:
            reply = gets()
            if reply is NOT_YET:
                return
            if type(reply) is Push:
                answer(self.on_push, reply, self._report)
                continue
            try:
                entry = popleft()
            except IndexError:
                popleft = self._advance()
                entry = popleft()
            # `answer`, written out: this runs for every reply.
            if type(entry) is future_type:
                if not entry.done():
                    if isinstance(reply, Exception):
                        entry.set_exception(reply)
                    else:
                        entry.set_result(reply)
            else:
                try:
                    entry(reply)  # type: ignore[operator] # not a future, so a callback
                except (Exception, asyncio.CancelledError):  # noqa: BLE001 see `answer`
                    self._report()

    def _advance(self) -> Callable[[], Entry]:
        """Leave the batch that is answered; what gives the next entries one by one."""
        batches = self._batches
        if batches and not batches[0].entries:
            done = batches.popleft()
            self._in_flight -= done.count
            self._in_flight_bytes -= done.size_bytes
            self._make_room()
        return batches[0].entries.popleft if batches else self._stray

    def _stray(self) -> Entry:
        return self.on_stray

    def on_push(self, push: list[Any]) -> None:
        """Called with what the server sent by itself; a plain connection asked for nothing."""

    def on_stray(self, reply: Any) -> None:
        """Called with a reply that nobody waits for: this connection is out of step and must go."""
        if self._transport is not None:  # else a callback closed it, and the rest answers nobody
            self.broken(f"a reply to nothing: {reply!r:.80}")

    # Deadlines and the breaker

    def _check_deadlines(self) -> None:
        # Both uvloop and asyncio read sockets before they run timers: a reply that waited in the socket
        # while this process was busy has been taken by now.
        self._deadline_timer = None
        now = self._loop.time()
        due: list[Batch] = []
        for batch in self._batches:
            if batch.deadline > now:
                if batch.deadline != NEVER:
                    self._deadline_timer = self._loop.call_at(batch.deadline, self._check_deadlines)
                    break
            else:
                due.append(batch)
        if due:
            self._stall()
            expired = [entry for batch in due for entry in batch.expire()]
            for entry in expired:
                answer(entry, late(self.name, self.deadline_seconds), self._report)

    def _expire_timed(self, timed: Timed, deadline_seconds: float) -> None:
        """Answer one late command; a caller in more of a hurry than the connection proves nothing."""
        if deadline_seconds >= self.deadline_seconds:
            self._stall()
        timed(late(self.name, deadline_seconds))

    def _stall(self) -> None:
        """Trip the breaker, and send the PING that will close it."""
        if self._stalled or self._transport is None:
            return
        _log.warning("valkey.connection.stalled", engine=self.name, in_flight=self._in_flight)
        self._stalled = True
        self._set_fault("it does not answer in time")
        self._fail_gathered()
        self._abandon_timer = self._loop.call_later(self._abandon_seconds, self.broken, "no reply to a probe")
        self.write_now([("PING",)], [self._recover])

    def _recover(self, reply: Any) -> None:
        if self._stalled and not isinstance(reply, EngineUnavailableError):
            _log.info("valkey.connection.recovered", engine=self.name)
            self._stalled = False
            if self._abandon_timer is not None:
                self._abandon_timer.cancel()
            self.ready()

    # The connection's life

    @property
    def connected(self) -> bool:
        """Whether a command sent now would go out."""
        return not self._fault

    @property
    def in_flight(self) -> int:
        """Commands that the server owes a reply, including those whose callers no longer wait."""
        return self._in_flight

    def attach(self, transport: Transport) -> None:
        """Start on a fresh connection, still refusing calls; `ready` opens it."""
        self._transport = transport
        self._reader = make_reader(reply_error_factory(self.name))

    def ready(self) -> None:
        """The handshake is done, or the server is back in step: take calls."""
        self._set_fault("")

    def broken(self, reason: str) -> None:
        """Give the connection up: detach and abort it."""
        transport = self._transport
        self.detach(reason)
        if transport is not None:
            transport.abort()

    def detach(self, reason: str) -> None:
        """The connection is gone: every entry gets an error, and calls are refused with `reason`."""
        self._transport = None
        self._reader = make_reader(reply_error_factory(self.name))
        self._stalled = False
        self._cancel_timers()
        batches = list(self._batches)
        self._batches.clear()
        self._in_flight = self._in_flight_bytes = 0
        self._set_fault(reason)
        sent = [entry for batch in batches for entry in batch.entries]
        for batch in batches:
            batch.entries.clear()
        self._fail_gathered()
        for entry in sent:
            error = EngineUnavailableError(self.name, f"{reason}; the command may have run")
            answer(entry, error, self._report)

    def _fail_gathered(self) -> None:
        entries, self._entries, self._pieces, self._gathered_bytes = self._entries, deque(), [], 0
        for entry in entries:
            answer(entry, EngineUnavailableError(self.name, f"{self._fault}; nothing was sent"), self._report)

    def _set_fault(self, fault: str) -> None:
        self._fault = fault
        self._make_room()

    def _cancel_timers(self) -> None:
        for timer in (self._deadline_timer, self._abandon_timer):
            if timer is not None:
                timer.cancel()
        self._deadline_timer = self._abandon_timer = None
