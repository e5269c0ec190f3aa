"""The console's built pages: pre-compressed, immutable where hashed, under a strict policy.

Only files that were there when the folder was read can be served, so no path can climb out of it.
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_NOT_BUILT: Final = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Twelvefold</title>"
    b"<h1>The console is not built</h1>"
    b"<p>This is a source checkout. Build the console's pages once, then reload:</p><pre>make console</pre>"
    b"<p>The API runs without it: <a href=/docs>its reference</a>.</p></html>"
)
_ENCODINGS: Final = ((b"br", ".br"), (b"gzip", ".gz"))


class _File(msgspec.Struct, frozen=True):
    path: Path
    media_type: bytes
    etag: bytes
    immutable: bool
    encoded: Mapping[bytes, Path]


class StaticFiles:
    """An ASGI app over one folder. Unknown paths without a suffix get `index.html` (the page routes them).

    Args:
        folder: the build's output; it may be missing, then a page says how to build it.
        prefix: the address it is served under, `/console/`.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._files: dict[str, _File] = {}

    async def __call__(self, scope: Mapping[str, Any], _receive: Any, send: Any) -> None:
        """Answer GET and HEAD."""
        if "index.html" not in self._files:
            self._files = _scan(self._folder)
        name = scope["path"].removeprefix(self._prefix)
        file = self._files.get(name)
        if file is None and "." not in name.rpartition("/")[2]:
            file = self._files.get("index.html")
        if file is not None:
            await _send_file(file, scope, send)
        elif self._files:
            await _send(send, 404, b"not found\n", [(b"content-type", b"text/plain; charset=utf-8")], scope)
        else:
            await _send(send, 503, _NOT_BUILT, [(b"content-type", b"text/html; charset=utf-8")], scope)


def _scan(folder: Path) -> dict[str, _File]:
    files: dict[str, _File] = {}
    if not (folder / "index.html").is_file():
        return files
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix in (".br", ".gz"):
            continue
        name = path.relative_to(folder).as_posix()
        encoded = {
            coding: twin
            for coding, suffix in _ENCODINGS
            if (twin := path.with_name(path.name + suffix)).is_file()
        }
        files[name] = _File(
            path=path,
            media_type=_media_type(name),
            etag=b'"%s"' % hashlib.sha256(path.read_bytes()).hexdigest()[:24].encode(),
            immutable=name.startswith("assets/"),
            encoded=encoded,
        )
    return files


def _media_type(name: str) -> bytes:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind in ("application/javascript", "application/json", "image/svg+xml"):
        kind += "; charset=utf-8"
    return kind.encode()


async def _send_file(file: _File, scope: Mapping[str, Any], send: Any) -> None:
    accepted, known = b"", b""
    for name, value in scope["headers"]:
        if name == b"accept-encoding":
            accepted = value
        elif name == b"if-none-match":
            known = value
    headers = [
        (b"etag", file.etag),
        (b"vary", b"accept-encoding"),
        (b"cache-control", b"public, max-age=31536000, immutable" if file.immutable else b"no-cache"),
    ]
    if file.etag in known:
        await _send(send, 304, b"", headers, scope)
        return
    headers.append((b"content-type", file.media_type))
    path = file.path
    for coding, twin in file.encoded.items():
        if _accepts(accepted, coding):
            headers.append((b"content-encoding", coding))
            path = twin
            break
    await _send(send, 200, path.read_bytes(), headers, scope)


def _accepts(header: bytes, coding: bytes) -> bool:
    for item in header.split(b","):
        name, _, weight = item.partition(b";")
        if name.strip().lower() == coding:
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def _send(
    send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]], scope: Mapping[str, Any]
) -> None:
    headers += [*SECURITY_HEADERS, (b"content-security-policy", POLICY.encode())]
    if status != 304:  # HTTP's own number
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
