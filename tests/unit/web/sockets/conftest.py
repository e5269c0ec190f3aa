"""A server with an echo, a listener and guarded endpoints, for the tests of sockets."""

import asyncio

import pytest
from tests.unit.web.sockets.endpoints import (
    Echo,
    Keys,
    Listener,
)

from twelvefold.kernel.clock import ManualClock
from twelvefold.kernel.errors import ForbiddenError
from twelvefold.web.application import Application
from twelvefold.web.guard import Guard
from twelvefold.web.hub import Hub
from twelvefold.web.ring import SendRing
from twelvefold.web.socket_routes import Accepted, SocketRoute


@pytest.fixture
async def log():
    return []


@pytest.fixture
async def hub(request):
    """With a ring, if the machine has one; `parametrize("hub", [...], indirect=True)` for another way."""
    return Hub(asyncio.get_running_loop(), open_ring=getattr(request, "param", SendRing.open))


@pytest.fixture
async def app(log, hub):
    async def echo(handshake):
        chosen = "b" if "b" in handshake.subprotocols else ""
        return Accepted(handler=Echo(log), subprotocol=chosen, max_message_bytes=1000)

    async def listen(handshake):
        return Accepted(handler=Listener(hub, handshake.query["in"].split(",")), max_backlog_bytes=200_000)

    async def never(handshake):
        await asyncio.Event().wait()

    async def forbidden(handshake):
        raise ForbiddenError(f"not {handshake.params['name']}")

    async def broken(handshake):
        raise RuntimeError("secret detail")

    async def room(handshake):
        return Echo([])

    routes = (
        SocketRoute("/echo", echo), SocketRoute("/listen", listen), SocketRoute("/never", never),
        SocketRoute("/no/{name}/live", forbidden), SocketRoute("/broken", broken),
        SocketRoute("/room", room, scope="room:read"),
    )  # fmt: skip
    return Application(sockets=routes, hub=hub, guard=Guard(Keys(), ManualClock()), version="0")


@pytest.fixture
async def server(serve, app, hub):
    return await serve(app, hub=hub)


@pytest.fixture
def url(server):
    return f"ws://127.0.0.1:{server.port}"
