"""A pipeline that stays connected: dials, shakes hands, and dials again with backoff when the server goes.

While there is no connection calls are refused at once instead of being queued: a queue would only turn
an outage into a burst of stale commands at its end. A server that merely dropped us is back within
about a millisecond, because the first attempt is immediate; later ones spread out up to half a second.
"""

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import structlog

from twelvefold.engines.valkey.address import Address
from twelvefold.engines.valkey.errors import ReplyError, ServerStateError
from twelvefold.engines.valkey.flight import resolve
from twelvefold.engines.valkey.pipeline import Pipeline, Transport
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError, TwelvefoldError
from twelvefold.kernel.retry import Backoff

RECONNECT = Backoff(first_seconds=0.02, cap_seconds=0.5)
_MIN_DIAL_SECONDS = 1.0
"""A caller in a hurry still gives the server time to accept and to let it in."""

_STEADY_SECONDS = 1.0
"""A connection that lived this long had a working server; its end restarts the backoff."""

_log = structlog.get_logger("valkey")


class _Endpoint(asyncio.Protocol):
    """One dialled transport; after it is replaced, its events reach nobody."""

    def __init__(self, owner: "Connection") -> None:
        self._owner = owner
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if self._owner.endpoint is self:
            self._owner.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._owner.endpoint is self:
            self._owner.detach(f"connection lost: {exc}" if exc else "the server closed the connection")
        resolve(self.lost, None)


class Connection(Pipeline):
    """One server, reached again whenever it can be. See `Pipeline` for sending.

    Args:
        address: where, and how to enter.
        name: of the engine; also the connection's name on the server.
        deadline_seconds: for each command; dialling with its handshake has it too, and at least a second.
    """

    def __init__(self, address: Address, *, name: str, deadline_seconds: float, **limits: int) -> None:
        super().__init__(name, deadline_seconds=deadline_seconds, **limits)
        self.address = address
        self.dial_seconds = max(deadline_seconds, _MIN_DIAL_SECONDS)
        self.endpoint: _Endpoint | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Connect now, and keep connected from then on.

        Raises:
            EngineUnavailableError: the server cannot be reached in `dial_seconds`.
            ConfigurationError: it was reached and does not let us in, or is too old.
        """
        await self._dial()
        self.start()

    def start(self) -> None:
        """Keep connected in the background, beginning now."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"{self.name}: keep connected")

    async def wait_connected(self, deadline_seconds: float) -> None:
        """Wait until calls are taken. Raises `EngineUnavailableError` after the deadline."""
        if self.connected:
            return
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(deadline_seconds):
                await waiter
        except TimeoutError:
            raise EngineUnavailableError(self.name, self._fault) from None
        finally:
            self._waiters.discard(waiter)

    async def close(self) -> None:
        """Wait for what is in flight, at most the deadline, and disconnect. Later calls are refused."""
        if self.connected:
            with contextlib.suppress(TwelvefoldError):
                await self.call("PING")
        await self.abort()

    async def abort(self) -> None:
        """Disconnect without waiting; what is in flight gets an error."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        endpoint = self.endpoint
        self.broken("closed")
        if endpoint is not None:
            await endpoint.lost

    def ready(self) -> None:
        """See `Pipeline.ready`."""
        super().ready()
        for waiter in self._waiters:
            resolve(waiter, None)

    def detach(self, reason: str) -> None:
        """See `Pipeline.detach`."""
        self.endpoint = None
        super().detach(reason)

    async def on_ready(self) -> None:
        """Called after each handshake, before calls are taken."""

    async def _keep(self) -> None:
        delays = RECONNECT.delays()
        while True:
            if self.endpoint is not None:
                began = self._loop.time()
                await asyncio.shield(self.endpoint.lost)
                _log.warning("valkey.connection.lost", engine=self.name, reason=self._fault)
                if self._loop.time() - began >= _STEADY_SECONDS:
                    delays = RECONNECT.delays()
                else:
                    await asyncio.sleep(next(delays))
            try:
                await self._dial()
            except Exception as error:  # noqa: BLE001 the keeper outlives whatever a server or a resolver does
                if not isinstance(error, EngineUnavailableError):
                    _log.warning("valkey.connection.refused", engine=self.name, reason=str(error))
                await asyncio.sleep(next(delays))
            else:
                _log.info("valkey.connection.opened", engine=self.name, address=str(self.address))

    async def _dial(self) -> None:
        try:
            async with asyncio.timeout(self.dial_seconds):
                transport, endpoint = await self._connect()
                self.endpoint = endpoint
                self.attach(transport)
                await self._shake_hands()
                await self.on_ready()
        except TimeoutError:
            self.broken(f"{self.address} did not answer in {self.dial_seconds:g} s")
            raise EngineUnavailableError(self.name, self._fault) from None
        except OSError as error:
            self.broken(f"{self.address}: {error.strerror or error}")
            raise EngineUnavailableError(self.name, self._fault) from None
        except BaseException as error:
            self.broken(_reason(error, self._fault))
            raise
        if self.endpoint is not endpoint:
            raise EngineUnavailableError(self.name, self._fault)
        self.ready()

    async def _connect(self) -> tuple[Transport, _Endpoint]:
        address = self.address
        if address.path:
            return await self._loop.create_unix_connection(lambda: _Endpoint(self), address.path)
        tls = ssl.create_default_context() if address.tls else None
        transport, endpoint = await self._loop.create_connection(
            lambda: _Endpoint(self), address.host, address.port, ssl=tls
        )
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return transport, endpoint

    async def _shake_hands(self) -> None:
        address = self.address
        entry = ("AUTH", address.user or "default", address.password) if address.password else ()
        name = "".join(letter if letter.isalnum() else "-" for letter in self.name)
        hello = ("HELLO", 3, *entry, "SETNAME", name)
        commands: list[tuple[str | int, ...]] = [
            hello,
            ("CLIENT", "SETINFO", "LIB-NAME", "twelvefold"),
            ("PING",),
        ]
        if address.database:
            commands.insert(1, ("SELECT", address.database))
        futures = [self._loop.create_future() for _ in commands]
        self.write_now(commands, futures)
        answers: list[Any] = await asyncio.gather(*futures, return_exceptions=True)
        greeting = answers[0]
        if isinstance(greeting, ReplyError):
            raise ConfigurationError(f"{self.name} at {address} does not let us in: {greeting}")
        answers.pop(-2)  # older servers do not know CLIENT SETINFO, and do not need to
        for answer in answers:
            if isinstance(answer, ReplyError) and answer.reply_code != "NOPERM":
                raise ConfigurationError(f"{self.name} at {address} cannot be used: {answer}")
            if isinstance(answer, Exception) and not isinstance(answer, ReplyError):
                raise answer


def _reason(error: BaseException, fault: str) -> str:
    """What to tell callers until the next attempt."""
    if isinstance(error, ServerStateError):
        return f"{error.reply_code} {error.reply}"
    return fault if isinstance(error, EngineUnavailableError) else str(error) or type(error).__name__
