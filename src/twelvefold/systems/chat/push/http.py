"""A small HTTP/1.1 client for push services: POST, a deadline, bounded answers, and no way into our own network.

Invariant: the address that was checked is the address that is connected to; a name that resolves to a
private address is refused, unless the operator allows it.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

DEADLINE_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024


class HttpAnswer(msgspec.Struct, frozen=True):
    """A response. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class AddressRefusedError(Exception):
    """This address leads into a private network."""


async def resolve(host: str, port: int, *, private: bool) -> str:
    """A public IP address of `host`. Raises `AddressRefusedError`, `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        ip = ipaddress.ip_address(address[0])
        if private or (ip.is_global and not ip.is_multicast):
            return str(ip)
    raise AddressRefusedError(host)


class HttpClient:
    """One connection a request: push services are called seldom, and by far the most time is theirs."""

    def __init__(self, *, private: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._private = private
        self._tls = tls or ssl.create_default_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """POST. Raises `AddressRefusedError`, `OSError` (also for the deadline), `ValueError` for a bad URL or answer."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not parts.hostname or (not secure and not self._private):
            raise ValueError(f"not an address to post to: {parts.scheme}://{parts.hostname}")
        port = parts.port or (443 if secure else 80)
        async with asyncio.timeout(DEADLINE_SECONDS):
            ip = await resolve(parts.hostname, port, private=self._private)
            reader, writer = await asyncio.open_connection(
                ip,
                port,
                ssl=self._tls if secure else None,
                server_hostname=parts.hostname if secure else None,
            )
            try:
                target = parts.path or "/"
                lines = [
                    f"POST {target}{'?' + parts.query if parts.query else ''} HTTP/1.1",
                    f"host: {parts.netloc.rpartition('@')[2]}",
                    f"content-length: {len(body)}",
                    "connection: close",
                    *(f"{name}: {value}" for name, value in headers.items()),
                ]
                head = "\r\n".join(lines)
                if "\n" in head.replace("\r\n", ""):
                    raise ValueError("a header with a line break")
                writer.write(head.encode("ascii") + b"\r\n\r\n" + body)
                await writer.drain()
                return await _read(reader)
            finally:
                writer.close()


async def _read(reader: asyncio.StreamReader) -> HttpAnswer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("no whole answer") from error
    status_line, *lines = head.decode("latin-1").split("\r\n")
    status = int(status_line.split(" ", 2)[1])
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if "content-length" in headers:
        body = await reader.readexactly(min(int(headers["content-length"]), MAX_ANSWER_BYTES))
    else:
        body = await reader.read(MAX_ANSWER_BYTES) if status not in (204, 304) else b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _dechunked(body)
    return HttpAnswer(status, headers, body)


def _dechunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if not length:
            break
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)
