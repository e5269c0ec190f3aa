"""Live clicks of a link: server-sent events and a WebSocket, with the same objects.

A link's channel in the hub is `<tenant>:links:<link id>`. While somebody listens to it in this process, the
feed hears the worker's messages and keeps the link watched; with the last listener it stops.
"""

import asyncio
from typing import Any

import msgspec
import structlog
from litestar import Request, Router, get
from litestar.response import Stream

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.links.routes.parameters import Code, OwnHost
from twelvefold.systems.links.service import Links
from twelvefold.systems.links.service.live import RENEW_SECONDS, LiveClicks, Watches
from twelvefold.web.guard import principal_of, require, requires
from twelvefold.web.hub import Hub
from twelvefold.web.moments import rfc3339
from twelvefold.web.socket_routes import Accepted, Handshake, Socket, SocketHandler, SocketRoute
from twelvefold.web.sse import EventStreams

log = structlog.get_logger("links")
_decode = msgspec.json.Decoder(LiveClicks).decode


def channel_name(tenant: TenantId, link_id: int) -> str:
    """The hub's channel of a link."""
    return f"{tenant}:links:{link_id}"


class LiveFeed:
    """Brings the worker's messages into the hub, for the links that somebody listens to here."""

    def __init__(self, hub: Hub, watches: Watches) -> None:
        self._hub = hub
        self._watches = watches
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        """The first listener of a channel came."""
        self._running[name] = asyncio.create_task(self._run(name, int(name.rpartition(":")[2])))

    def stop(self, name: str) -> None:
        """The last listener of a channel has gone."""
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop all."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pass_on(self, name: str, payload: bytes) -> None:
        self._hub.publish(name, shown(payload), event="clicks")

    async def _run(self, name: str, link_id: int) -> None:
        while True:
            try:
                subscriber = await self._watches.listen(link_id, lambda payload: self._pass_on(name, payload))
                try:
                    while True:
                        await self._watches.renew(link_id)
                        await asyncio.sleep(RENEW_SECONDS)
                finally:
                    subscriber.close()
            except TwelvefoldError as error:
                log.info("links.live.delayed", reason=error.message)
                await asyncio.sleep(1)


def live_routes(links: Links, streams: EventStreams) -> Router:
    """The events of one link."""

    @get("/{code:str}/live", guards=[requires("links:read")], summary="Live clicks, as server-sent events")
    async def live(request: Request[Any, Any, Any], code: Code, domain: OwnHost = None) -> Stream:
        tenant = principal_of(request).tenant_id
        link = await links.get(tenant, code, domain)
        return streams.open(channel_name(tenant, link.id)).response()

    return Router("/v1/links", route_handlers=[live], tags=["Links"])


def live_socket(links: Links, hub: Hub) -> SocketRoute:
    """The same, over a WebSocket."""

    async def connect(handshake: Handshake) -> Accepted:
        tenant = require(handshake.principal, "links:read").tenant_id
        link = await links.get(tenant, handshake.params["code"], handshake.query.get("domain"))
        return Accepted(handler=_Listener(hub, channel_name(tenant, link.id)))

    return SocketRoute("/v1/links/{code}/live", connect, scope="links:read")


class _Listener(SocketHandler):
    """Only listens; what the client says is not asked for."""

    __slots__ = ("_hub", "_name")

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self._name = name

    def opened(self, socket: Socket) -> None:
        """Join the link's channel; the hub drops the socket when it ends."""
        self._hub.join(socket, self._name)


def shown(payload: bytes) -> bytes:
    """A worker's message as watchers get it."""
    news = _decode(payload)
    clicks = [
        {
            "at": rfc3339(click.at_ms),
            "country": click.country,
            "referrer": click.referrer,
            "device": click.device,
            "browser": click.browser,
            "os": click.os,
            "bot": click.bot,
        }
        for click in news.clicks
    ]
    body = {"at": rfc3339(news.at_ms), "clicks": clicks, "counted": news.counted, "bots": news.bots}
    return msgspec.json.encode(body)
