"""Titles of the pages that links lead to, fetched only when asked for.

Invariant: no request of ours reaches a private address. Names are resolved once, every address is
checked, and the connection goes to the checked address itself, so that a name that changes its mind
(DNS rebinding) gains nothing; each redirect is checked the same way.
"""

import asyncio
import html
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin

import can_ada

from twelvefold.systems.links.rules.targets import is_public_address

_MAX_BYTES = 256 * 1024
_MAX_REDIRECTS = 3
_DEADLINE_SECONDS = 4.0
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(r"charset=[\"']?([\w-]+)", re.IGNORECASE)

_NO_PAGE = (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve_addresses(host: str, port: int) -> list[str]:
    """All IP addresses of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]).partition("%")[0] for entry in found]


class TitleFetcher:
    """Fetches titles.

    Args:
        resolve: host and port to IP addresses.
        allowed: whether an address may be connected to.
    """

    def __init__(
        self, resolve: Resolve = resolve_addresses, allowed: Callable[[str], bool] = is_public_address
    ) -> None:
        self._resolve = resolve
        self._allowed = allowed

    async def fetch(self, url: str) -> str:
        """The page's title in at most 200 characters; empty when there is none or it may not be fetched."""
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                for _ in range(_MAX_REDIRECTS + 1):
                    head, body = await self._get(url)
                    location = _field(head, "location")
                    if not (_status(head) in (301, 302, 303, 307, 308) and location):
                        return _title(head, body)
                    url = urljoin(url, location)
        except _NO_PAGE:
            return ""
        return ""

    async def _get(self, url: str) -> tuple[str, bytes]:
        parsed = can_ada.parse(url)
        if parsed.protocol not in ("http:", "https:"):
            raise ValueError(url)
        secure = parsed.protocol == "https:"
        port = int(parsed.port or (443 if secure else 80))
        name = parsed.hostname.strip("[]")
        addresses = await self._resolve(name, port)
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise ValueError(f"{name} is not public")
        reader, writer = await asyncio.open_connection(
            addresses[0],
            port,
            ssl=ssl.create_default_context() if secure else None,
            server_hostname=name if secure else None,
            limit=_MAX_BYTES,
        )
        try:
            target = (parsed.pathname or "/") + parsed.search
            writer.write(
                f"GET {target} HTTP/1.0\r\nHost: {parsed.host}\r\nAccept: text/html\r\n"
                "User-Agent: twelvefold-links\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            head = await reader.readuntil(b"\r\n\r\n")
            body = b""
            while len(body) < _MAX_BYTES and b"</title" not in body.lower():
                piece = await reader.read(16_384)
                if not piece:
                    break
                body += piece
        finally:
            writer.close()
        return head.decode("latin-1"), body


def _status(head: str) -> int:
    """Raises `ValueError` for what is no HTTP."""
    _, _, rest = head.partition(" ")
    return int(rest[:3])


def _field(head: str, name: str) -> str:
    for line in head.split("\r\n")[1:]:
        field, _, value = line.partition(":")
        if field.strip().lower() == name:
            return value.strip()
    return ""


def _title(head: str, body: bytes) -> str:
    found = _TITLE.search(body)
    if not found or "html" not in _field(head, "content-type"):
        return ""
    charset = _CHARSET.search(_field(head, "content-type"))
    try:
        text = found.group(1).decode(charset.group(1) if charset else "utf-8", "replace")
    except LookupError:
        text = found.group(1).decode("utf-8", "replace")
    return " ".join(html.unescape(text).replace("\x00", "").split())[:200]
