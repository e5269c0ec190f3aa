"""An application that is slow, loud or deaf as the request's path says, and the bounds it is served with."""

import asyncio
import json

from twelvefold.web.limits import Limits

SMALL = Limits(
    max_header_bytes=2000,
    max_body_bytes=5000,
    drain_seconds=0.5,
    body_bytes_by_prefix={"/big": 300_000, "/b": 10},
)

GET = b"GET /%s HTTP/1.1\r\nHost: s\r\n\r\n"


class App:
    """Answers with what it got; can be told to wait, to stream, or not to read."""

    def __init__(self):
        self.bodies = []
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.calls = []

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        self.calls.append(path)
        self.started.set()
        if path == "/refuse":
            await self.answer(send, 403, b"no")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        if path == "/wait":
            await self.go.wait()
        elif path == "/gone":
            assert (await receive())["type"] == "http.disconnect"
            self.disconnected.set()
            return
        elif path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        elif path == "/boom":
            raise RuntimeError("boom")
        await self.answer(send, 200, b"%s:%d" % (path.encode(), len(body)))

    async def answer(self, send, status, body):
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def only(server):
    """The server's only connection; None before it is there."""
    return next(iter(server.hall.connections), None)


async def code_of(client):
    """Status and problem code of the answer, which must be the last."""
    status, headers, body = await client.response()
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert await client.rest() == b""
    told = json.loads(body)
    assert told["status"] == status
    assert told["request_id"] == headers["x-request-id"]
    return status, told["code"]
