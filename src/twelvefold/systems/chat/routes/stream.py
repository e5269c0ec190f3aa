"""A conversation's events where WebSockets are blocked: server-sent events, and a long poll.

Both read the log at the client's own pace and only wait for the news that there is more, so nothing is held
for a slow reader and nothing can be missed: the sequence is the event's id, and whoever comes back names the
last one. A stream ends after five minutes, so that its client's credentials are looked at again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter
from litestar.response import Stream

from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.systems.chat.routes.api import Ask, Id
from twelvefold.systems.chat.routes.caller import Caller, Callers
from twelvefold.systems.chat.routes.requests import number
from twelvefold.systems.chat.routes.views import EventList, EventView, event_json
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.presence import PresenceService
from twelvefold.web.hub import event_block

POLL_SECONDS = 25.0
STREAM_SECONDS = 300.0
HEARTBEAT_SECONDS = 15.0
"""Below what proxies and home routers take for a dead connection."""

PAGE = 200
_HEARTBEAT = b": still here\n\n"
_RETRY = b"retry: 1000\n\n"
After = Annotated[int, QueryParameter(ge=0, le=1 << 62)]


def stream_routes(chat: Chat, delivery: Delivery, presence: PresenceService, callers: Callers) -> Router:
    """Events as a stream, or a page at a time."""

    @get(
        "/conversations/{conversation:str}/events",
        summary="Events after a sequence, then live, as server-sent events; Last-Event-ID goes on",
        media_type="text/event-stream",
    )
    async def events(request: Ask, conversation: Id, after: After = 0) -> Stream:
        caller, place = await callers.of(request, "chat:read"), number(conversation, "conversation")
        await chat.check_reader(caller.tenant, caller.user, place)
        last = request.headers.get("Last-Event-ID", "")
        start = number(last, "Last-Event-ID") if last else after
        return Stream(
            _blocks(request, caller, place, start),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _blocks(request: Ask, caller: Caller, place: int, position: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + STREAM_SECONDS
        room = await delivery.follow(place)
        try:
            with presence.waiting(caller.tenant, caller.user):
                yield _RETRY
                while loop.time() < end and not delivery.released:
                    caller = await callers.of(request, "chat:read")
                    upto = room.position  # before the look: what comes during it is for the next one
                    found = await chat.history(caller.tenant, caller.user, place, after=position, limit=PAGE)
                    if found:
                        position = found[-1].seq
                        yield b"".join(event_block(event_json(one), event_id=str(one.seq)) for one in found)
                    elif upto > position:
                        position = upto  # what there was is not for this one to see
                    elif not await delivery.moved(room, position, min(end, loop.time() + HEARTBEAT_SECONDS)):
                        yield _HEARTBEAT
        except TwelvefoldError:
            return  # put out, or the token has expired, or an engine is away: the next request is told which
        finally:
            delivery.unfollow(room)

    @get(
        "/conversations/{conversation:str}/poll",
        summary="Events after a sequence; waits up to 25 seconds for one",
    )
    async def poll(
        request: Ask, conversation: Id, after: After,
        wait: Annotated[float, QueryParameter(ge=0, le=POLL_SECONDS)] = POLL_SECONDS,
    ) -> EventList:  # fmt: skip
        caller, place = await callers.of(request, "chat:read"), number(conversation, "conversation")
        await chat.check_reader(caller.tenant, caller.user, place)
        room = await delivery.follow(place)
        try:
            deadline = asyncio.get_running_loop().time() + wait
            while True:
                upto = room.position
                found = await chat.history(caller.tenant, caller.user, place, after=after, limit=500)
                if found:
                    return EventList([EventView.of(event) for event in found], str(found[-1].seq))
                after = max(after, upto)
                with presence.waiting(caller.tenant, caller.user):
                    moved = await delivery.moved(room, after, deadline)
                if not moved:
                    return EventList([], str(after))
                caller = await callers.of(request, "chat:read")  # who waits for long may have lost it
        finally:
            delivery.unfollow(room)

    return Router("/v1/chat", route_handlers=[events, poll], tags=["Chat"])
