"""Chat, wired: stores on engines, services on stores, doors on services."""

import os
import secrets
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any, Self

from twelvefold.engines.blobs import Blobs
from twelvefold.engines.database import Database, migrate
from twelvefold.engines.timeline import Capability, PostgresTimeline, require
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.ids import SnowflakeGenerator
from twelvefold.systems.chat import workers
from twelvefold.systems.chat.blueprint import BLUEPRINT
from twelvefold.systems.chat.compat.centrifugo.door import CentrifugoDoor
from twelvefold.systems.chat.compat.centrifugo.server_api import ServerApi
from twelvefold.systems.chat.push import PushService
from twelvefold.systems.chat.push.http import HttpClient
from twelvefold.systems.chat.push.signing import b64, key_from_secret, public_point
from twelvefold.systems.chat.push.webpush import WebPush
from twelvefold.systems.chat.routes.api import conversation_routes, message_routes, receipt_routes
from twelvefold.systems.chat.routes.caller import Callers
from twelvefold.systems.chat.routes.connection import Services
from twelvefold.systems.chat.routes.live import LiveSockets
from twelvefold.systems.chat.routes.more import media_routes, reading_routes, user_routes
from twelvefold.systems.chat.routes.socket import SocketDoor
from twelvefold.systems.chat.routes.stream import stream_routes
from twelvefold.systems.chat.service import Chat
from twelvefold.systems.chat.service.delivery import Delivery
from twelvefold.systems.chat.service.media import MediaLibrary
from twelvefold.systems.chat.service.pace import Pace
from twelvefold.systems.chat.service.presence import PresenceService
from twelvefold.systems.chat.service.progress import Progress
from twelvefold.systems.chat.service.rooms import Rooms
from twelvefold.systems.chat.service.subscriptions import PushSubscriptions
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.bus import Bus
from twelvefold.systems.chat.store.conversations import ConversationStore
from twelvefold.systems.chat.store.media import MediaStore
from twelvefold.systems.chat.store.messages import MessageStore
from twelvefold.systems.chat.store.presence import PresenceStore
from twelvefold.systems.chat.store.progress import ProgressStore
from twelvefold.systems.chat.store.push import PushStore
from twelvefold.systems.chat.store.sequencer import Sequencer
from twelvefold.systems.chat.store.words import WordStore
from twelvefold.web.guard import ForeignDoor, Verifier
from twelvefold.web.hub import Hub
from twelvefold.web.mount import Mount

SPACE = "chat"
BODY_LIMITS_BYTES = 2 << 20


class ChatSystem(Chat):
    """The chat service of one process, with its parts and its doors. Made by `open`."""

    blueprint = BLUEPRINT

    progress: Progress
    presence: PresenceService
    tokens: Tokens
    media: MediaLibrary
    delivery: Delivery
    subscriptions: PushSubscriptions
    mount: Mount
    _stack: AsyncExitStack

    @classmethod
    async def open(
        cls,
        *,
        database: Database,
        valkey: Valkey,
        blobs: Blobs,
        ids: SnowflakeGenerator,
        settings: ChatSettings,
        clock: Clock,
        secret: bytes,
        hub: Hub,
        verifier: Verifier,
        door: ForeignDoor,
        server: str,
    ) -> Self:
        """Migrate, wire and start what runs beside the requests. `server` names the process in the route table."""
        timeline = await _timeline(database)
        await migrate(database, "chat", files("twelvefold.systems.chat") / "schema")
        async with AsyncExitStack() as stack:
            sequencer = Sequencer(timeline, clock)
            messages = MessageStore(database, timeline, sequencer)
            conversations = ConversationStore(database, timeline)
            rooms = Rooms(conversations)
            presence_store, progress_store = (
                PresenceStore(valkey, clock.now_ms),
                ProgressStore(database, timeline),
            )
            media = MediaLibrary(
                store=MediaStore(database, blobs),
                rooms=rooms,
                ids=ids,
                clock=clock,
                settings=settings,
                secret=secret,
            )
            self = cls(
                conversations=conversations,
                messages=messages,
                rooms=rooms,
                media=media,
                pace=Pace(settings.user_messages_per_second, presence_store, clock),
                ids=ids,
                clock=clock,
                settings=settings,
                random_bytes=secrets.token_bytes,
            )
            self.media = media
            self.delivery = Delivery(
                messages,
                lambda **callbacks: Bus(valkey, **callbacks),
                members_of=rooms.members_of,
                large_from=settings.large_from,
                on_change=rooms.stale,
            )
            self.on_seated = self.delivery.tell_seated
            await self.delivery.start()
            stack.push_async_callback(self.delivery.close)
            stack.push_async_callback(sequencer.close)
            self.progress = Progress(progress_store, messages, rooms, self.delivery.tell)
            stack.push_async_callback(self.progress.close)
            self.presence = PresenceService(presence_store, clock, self.delivery.tell, server=server)
            await self.presence.start()
            stack.push_async_callback(self.presence.close)
            self.tokens = Tokens(progress_store, clock, secret, default_minutes=settings.token_minutes)
            self.subscriptions = PushSubscriptions(
                PushStore(database),
                ids,
                vapid_public_key=b64(public_point(key_from_secret(secret))),
                private_endpoints=settings.push_private_endpoints,
                services=configured_push(settings),
            )
            self.mount = self._doors(hub, verifier, door, settings, messages)
            self._stack = stack.pop_all()
            return self
        raise AssertionError("unreachable")

    async def listen(self) -> None:
        """Nothing to open: its sockets are the web server's."""

    async def close(self) -> None:
        """Store what was taken, and let go."""
        await self._stack.aclose()

    def _doors(
        self, hub: Hub, verifier: Verifier, door: ForeignDoor, settings: ChatSettings, messages: MessageStore
    ) -> Mount:
        live, callers = LiveSockets(hub, self.delivery, self), Callers(self.tokens)
        services = Services(
            chat=self,
            live=live,
            delivery=self.delivery,
            progress=self.progress,
            presence=self.presence,
            tokens=self.tokens,
        )
        ours = SocketDoor(services, settings)
        centrifugo = CentrifugoDoor(
            chat=self,
            live=live,
            delivery=self.delivery,
            presence=self.presence,
            tokens=self.tokens,
            settings=settings,
        )
        return Mount(
            name="chat",
            routers=(
                conversation_routes(self, callers),
                message_routes(self, self.progress, callers),
                receipt_routes(self.progress, callers),
                user_routes(
                    self.tokens, self.presence, self.progress, self.delivery, self.subscriptions, callers
                ),
                reading_routes(self, self.presence, callers),
                stream_routes(self, self.delivery, self.presence, callers),
                media_routes(self.media, callers),
            ),
            sockets=(ours.route(), centrifugo.route()),
            root=ServerApi(
                chat=self,
                delivery=self.delivery,
                presence=self.presence,
                tokens=self.tokens,
                verifier=verifier,
                door=door,
            ),
            root_prefixes=("/api",),
            body_limits={
                "/v1/chat/conversations": max(BODY_LIMITS_BYTES, settings.media_max_bytes + 1),
                "/api": BODY_LIMITS_BYTES,
            },
            queue_depth=lambda: messages.waiting,
            on_drain=self.delivery.release,
        )


async def work(
    *, database: Database, valkey: Valkey, blobs: Blobs, settings: ChatSettings, clock: Clock, secret: bytes
) -> None:
    """Run the system's workers until cancelled."""
    timeline = await _timeline(database)
    await migrate(database, "chat", files("twelvefold.systems.chat") / "schema")
    messages = MessageStore(database, timeline, Sequencer(timeline, clock))
    services = push_services(settings, clock, secret)
    try:
        await workers.run_all(
            make_workers(database, valkey, blobs, messages, services, settings=settings, clock=clock)
        )
    finally:
        for service in services.values():
            await service.close()


def make_workers(
    database: Database,
    valkey: Valkey,
    blobs: Blobs,
    messages: MessageStore,
    services: dict[str, PushService],
    *,
    settings: ChatSettings,
    clock: Clock,
) -> dict[str, Any]:
    """The workers, by name."""
    words, push = WordStore(database), PushStore(database)
    return {
        "news": workers.NewsWorker(
            database=database,
            messages=messages,
            words=words,
            push=push,
            presence=PresenceStore(valkey, clock.now_ms),
            clock=clock,
        ),
        "push": workers.PushWorker(push=push, messages=messages, words=words, services=services, clock=clock),
        "retention": workers.RetentionWorker(
            messages=messages, words=words, media=MediaStore(database, blobs), clock=clock, settings=settings
        ),
    }


def configured_push(settings: ChatSettings) -> frozenset[str]:
    """The names of `push_services`."""
    wanted = {"webpush": True, "fcm": bool(settings.fcm_service_account), "apns": bool(settings.apns_key)}
    return frozenset(name for name, there in wanted.items() if there)


def push_services(settings: ChatSettings, clock: Clock, secret: bytes) -> dict[str, PushService]:
    """The services that the configuration has keys for; WebPush needs none."""
    http = HttpClient(private=settings.push_private_endpoints)
    made: dict[str, PushService] = {
        "webpush": WebPush(
            http, key_from_secret(secret), clock, contact=settings.push_contact, random_bytes=os.urandom
        )
    }
    if settings.fcm_service_account:
        from twelvefold.systems.chat.push.fcm import Fcm, ServiceAccount  # noqa: PLC0415 - for those who use it

        made["fcm"] = Fcm(
            http, ServiceAccount.read(settings.fcm_service_account), clock, url=settings.fcm_url
        )
    if settings.apns_key:
        # HTTP/2 is 70 ms of every start, for those who use it.
        from twelvefold.systems.chat.push.apns import Apns, read_key  # noqa: PLC0415

        made["apns"] = Apns(
            read_key(settings.apns_key),
            clock,
            url=settings.apns_url,
            key_id=settings.apns_key_id,
            team_id=settings.apns_team_id,
            topic=settings.apns_topic,
        )
    return made


async def _timeline(database: Database) -> PostgresTimeline:
    timeline = await PostgresTimeline.open(database, SPACE)
    require(timeline, Capability.TRANSACTIONAL, Capability.NEWS)
    return timeline


__all__ = ["ChatSystem", "make_workers", "push_services", "work"]
