"""One request and its response on an HTTP connection: uvicorn's, with five corrections.

A response to a client that has gone ends with an error instead of going on for ever (ASGI 2.4: `send`
raises OSError). An application that listens hears of a client's end of sending; one that does not can
still answer it. HTTP/1.0 clients, who do not know chunks, get a body that ends with the connection. A
failing application is logged by us, in our form. Head and body of a response leave in one write: the
second would cost as much as all of the server's own work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_UNTIL_THE_END: Final = 1 << 62
"""The length of a body that ends with its connection, as far as uvicorn's counting goes."""

_MAX_JOINED_BYTES: Final = 64 * 1024
"""A larger body is not copied for the sake of a system call."""

log = structlog.get_logger("web")


class ClientGoneError(OSError):
    """The client has closed the connection; nobody will read this response."""


class _Joined:
    """A transport that keeps the head of a response until the beginning of its body comes."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
        elif self._head:
            head, self._head = self._head, b""
            if len(data) <= _MAX_JOINED_BYTES:
                self._transport.write(head + data)
            else:
                self._transport.write(head)
                self._transport.write(data)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Cycle(RequestResponseCycle):
    """See the module."""

    @classmethod
    def on(cls, connection: HttpToolsProtocol, *, keep_alive: bool) -> Self:
        """The cycle of the request whose head `connection` has just read."""
        return cls(
            scope=connection.scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=connection.expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )

    _has_all = False
    _was_told = False

    async def run_asgi(self, app: Callable[..., Awaitable[Any]]) -> None:
        """Run the application; whatever it does, the connection is left in a definite state."""
        try:
            await app(self.scope, self.receive, self.send)
        except ClientGoneError:
            pass
        except asyncio.CancelledError:
            self.transport.close()
            raise
        except Exception:
            if not self.disconnected:
                log.exception("web.application.failed", path=self.scope["path"])
                await self._give_up()
        else:
            if self._was_told and not self.response_started:
                self.transport.close()
            elif not self.response_complete and not self.disconnected:
                log.error("web.application.unfinished", path=self.scope["path"])
                await self._give_up()
        finally:
            self.on_response = _nothing

    async def receive(self) -> Any:
        """ASGI's `receive`."""
        message = await super().receive()
        if message["type"] == "http.request":
            if self._has_all:  # woken once more: the client has said its last word
                message = {"type": "http.disconnect"}
            else:
                self._has_all = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            self._was_told = True
        return message

    async def send(self, message: Any) -> None:
        """ASGI's `send`. Raises `ClientGoneError`."""
        if self.scope["http_version"] == "1.0":
            self._end_with_connection(message)
        if message["type"] == "http.response.start" and not self.response_started:
            self.transport = _Joined(self.transport)  # type: ignore[assignment]  # as far as uvicorn uses one
            await super().send(message)
        else:
            transport: Any = self.transport
            if self.scope["method"] == "HEAD" and isinstance(transport, _Joined):
                transport.flush()  # no body will come to join it
            await super().send(message)
        if self.disconnected:
            raise ClientGoneError

    async def _give_up(self) -> None:
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    def _end_with_connection(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"content-length" for name, _ in headers):
                self.chunked_encoding = False
                self.expected_content_length = _UNTIL_THE_END
                message["headers"] = [*headers, (b"connection", b"close")]
        elif self.expected_content_length > _UNTIL_THE_END // 2 and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))


def _nothing() -> None:
    """Nobody waits for this response any more."""
