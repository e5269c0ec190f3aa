"""Apple's push service: HTTP/2 with a provider token (ES256), one connection for all devices."""

import asyncio
import contextlib
import ssl
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import ConfigurationError
from twelvefold.systems.chat.contracts import PushKeys
from twelvefold.systems.chat.push.contract import Gone, Notification, Refused, Retry, Wake, WokenUp
from twelvefold.systems.chat.push.signing import es256

DEADLINE_SECONDS = 10.0
TOKEN_SECONDS = 2400
"""Apple wants a new one between 20 and 60 minutes."""

GONE_REASONS = frozenset({"Unregistered", "BadDeviceToken", "DeviceTokenNotForTopic", "ExpiredToken"})


def read_key(path: str) -> ec.EllipticCurvePrivateKey:
    """The key of a .p8 file. Raises `ConfigurationError`."""
    try:
        key = load_pem_private_key(Path(path).read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"chat.apns_key: {path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"chat.apns_key: {path}: not an elliptic-curve key")
    return key


class Apns:
    """See `PushService`. The address is the device token in hexadecimal."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, clock: Clock, *, url: str, key_id: str, team_id: str, topic: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._key = key
        self._clock = clock
        self._parts = urlsplit(url)
        self._key_id = key_id
        self._team_id = team_id
        self._topic = topic
        self._tls = tls
        self._token = ("", 0)
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()

    async def send(self, address: str, keys: PushKeys | None, notification: Notification) -> Wake:
        """See `PushService.send`."""
        del keys
        if not address.isalnum():
            return Gone()
        body = msgspec.json.encode(
            {
                "aps": {
                    "alert": {"title": notification.title, "body": notification.body},
                    "sound": "default",
                },
                "conversation": notification.conversation_id,
                "seq": notification.seq,
            }
        )
        # The id is made from the message, so that Apple and the device know a repeated one.
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{address} {notification.message_id}"))
        headers = [
            (":method", "POST"), (":scheme", self._parts.scheme), (":authority", self._parts.netloc),
            (":path", f"/3/device/{address}"), ("authorization", f"bearer {self._provider_token()}"),
            ("apns-topic", self._topic), ("apns-push-type", "alert"), ("apns-priority", "10"),
            ("apns-id", request_id), ("apns-collapse-id", notification.collapse),
        ]  # fmt: skip
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                status, answer = await (await self._open()).request(headers, body)
        except (OSError, h2.exceptions.ProtocolError) as error:
            return Retry(5, f"{type(error).__name__}: {error}")
        return self._judged(status, answer)

    async def close(self) -> None:
        """See `PushService.close`."""
        if self._connection is not None:
            await self._connection.close()

    def _judged(self, status: int, answer: bytes) -> Wake:
        if status == 200:
            return WokenUp()
        try:
            reason = str(msgspec.json.decode(answer).get("reason", "")) if answer else ""
        except (msgspec.DecodeError, AttributeError):
            reason = ""
        if status == 410 or reason in GONE_REASONS:
            return Gone()
        if reason == "ExpiredProviderToken":
            self._token = ("", 0)
            return Retry(1, reason)
        return (
            Retry(30, f"{status} {reason}")
            if status == 429 or status >= 500
            else Refused(f"{status} {reason}")
        )

    def _provider_token(self) -> str:
        now = self._clock.now_ms() // 1000
        if now - self._token[1] > TOKEN_SECONDS:
            self._token = (es256(self._key, {"iss": self._team_id, "iat": now}, kid=self._key_id), now)
        return self._token[0]

    async def _open(self) -> "_Connection":
        async with self._opening:
            if self._connection is None or self._connection.closed:
                secure = self._parts.scheme == "https"
                tls = self._tls or (_http2_tls() if secure else None)
                host = self._parts.hostname or ""
                reader, writer = await asyncio.open_connection(
                    host, self._parts.port or (443 if secure else 80), ssl=tls if secure else None
                )
                self._connection = _Connection(reader, writer)
            return self._connection


class _Connection:
    """Requests side by side on one HTTP/2 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self._h2.initiate_connection()
        self._flush()
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._status: dict[int, int] = {}
        self._bodies: dict[int, bytearray] = {}
        self.closed = False
        self._task = asyncio.get_running_loop().create_task(self._read(), name="chat: APNs")

    async def request(self, headers: list[tuple[str, str]], body: bytes) -> tuple[int, bytes]:
        stream = self._h2.get_next_available_stream_id()
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = answer
        self._h2.send_headers(stream, headers)
        self._h2.send_data(stream, body, end_stream=True)
        self._flush()
        try:
            return await answer
        finally:
            self._waiting.pop(stream, None)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                self._flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.closed = True
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the connection to APNs ended"))

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self._status[event.stream_id] = int(
                next(value for name, value in event.headers if name in (":status", b":status"))
            )
        elif isinstance(event, h2.events.DataReceived):
            self._bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            status, body = (
                self._status.pop(event.stream_id, 500),
                bytes(self._bodies.pop(event.stream_id, b"")),
            )
            answer = self._waiting.get(event.stream_id)
            if answer is not None and not answer.done():
                answer.set_result((status, body))
        elif isinstance(event, h2.events.StreamReset):
            answer = self._waiting.get(event.stream_id)
            if answer is not None and not answer.done():
                answer.set_exception(ConnectionError("APNs reset the request"))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._writer.close()


def _http2_tls() -> ssl.SSLContext:
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["h2"])
    return tls
