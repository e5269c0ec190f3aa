"""Who is there: heartbeats of this process's sockets, and news for those who look.

A socket is alive because its server says so every 15 seconds; what a server does not renew is over 30
seconds later, also when the server itself has died. A connection that ends counts for three seconds more,
so that a flap is no news. Nothing of it is ever stored.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.tenancy import TenantId
from twelvefold.systems.chat.contracts import Presence
from twelvefold.systems.chat.store.presence import PresenceStore

log = structlog.get_logger("chat")

HEARTBEAT_SECONDS = 15.0
GRACE_MS = 3_000
LOOK_SECONDS = 1.0
TYPING_SECONDS = 2.0
MAX_LOOKED_AT = 200
"""Users that one socket may look at."""

Told = Callable[[Presence], None]
Tell = Callable[[int, dict[str, Any]], None]


def user_key(tenant: TenantId, user: str) -> str:
    """A user among all tenants' users."""
    return f"{tenant}:{user}"


class PresenceService:
    """See the module. `server` names this process in the routing table."""

    def __init__(self, store: PresenceStore, clock: Clock, tell: Tell, *, server: str) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self.server = server
        self._connections: dict[str, str] = {}
        self._looking: dict[str, dict[Told, None]] = {}
        self._seen: dict[str, int] = {}
        self._typed: dict[tuple[int, str], float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._soon: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to renew and to look."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._renew_all(), name="chat: heartbeat"),
            loop.create_task(self._look_around(), name="chat: presence"),
        ]

    async def close(self) -> None:
        """Take this process's connections out of the table."""
        for task in [*self._tasks, *self._soon]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(TwelvefoldError):
            for connection, user in self._connections.items():
                await self._store.leave(user, connection, grace_ms=GRACE_MS)

    def connected(self, tenant: TenantId, user: str, connection: str, device: str) -> None:
        """A socket of `user` has opened."""
        key, member = user_key(tenant, user), f"{self.server}/{connection}/{device}"
        self._connections[member] = key
        self.later(self._store.renew([(key, member)]))

    def gone(self, tenant: TenantId, user: str, connection: str, device: str) -> None:
        """It has ended, however it did."""
        key, member = user_key(tenant, user), f"{self.server}/{connection}/{device}"
        if self._connections.pop(member, None) is not None:
            self.later(self._store.leave(key, member, grace_ms=GRACE_MS))

    @contextlib.contextmanager
    def waiting(self, tenant: TenantId, user: str) -> Iterator[None]:
        """Somebody without a socket waits for news here; between two waits they count for the grace of a flap."""
        connection = secrets.token_hex(6)
        self.connected(tenant, user, connection, "http")
        try:
            yield
        finally:
            self.gone(tenant, user, connection, "http")

    async def of(self, tenant: TenantId, users: Sequence[str]) -> list[Presence]:
        """Who of them is there."""
        counts = await self._store.online([user_key(tenant, user) for user in users])
        return [
            Presence(user=user, online=count > 0, devices=count)
            for user, count in zip(users, counts, strict=True)
        ]

    async def servers(self, tenant: TenantId, user: str) -> list[str]:
        """Which servers hold sockets of a user."""
        return await self._store.servers(user_key(tenant, user))

    async def look(self, tenant: TenantId, users: Sequence[str], told: Told) -> list[Presence]:
        """Hear of changes of these users from now on; returns how they are."""
        found = await self.of(tenant, users)
        for one in found:
            key = user_key(tenant, one.user)
            self._looking.setdefault(key, {})[told] = None
            self._seen.setdefault(key, one.devices)
        return found

    def look_away(self, tenant: TenantId, users: Sequence[str], told: Told) -> None:
        """Hear of them no longer."""
        for user in users:
            key = user_key(tenant, user)
            lookers = self._looking.get(key)
            if lookers is not None:
                lookers.pop(told, None)
                if not lookers:
                    del self._looking[key]
                    self._seen.pop(key, None)

    def typing(self, conversation_id: int, user: str) -> None:
        """Somebody writes; told at most every two seconds."""
        now = self._clock.monotonic()
        key = (conversation_id, user)
        if now - self._typed.get(key, -TYPING_SECONDS) < TYPING_SECONDS:
            return
        if len(self._typed) > 10_000:
            self._typed = {k: at for k, at in self._typed.items() if now - at < TYPING_SECONDS}
        self._typed[key] = now
        self._tell(conversation_id, {"type": "typing", "user": user, "seconds": 5})

    async def arrive(self, conversation_id: int, client: str, info: bytes) -> None:
        """A client follows a conversation."""
        with contextlib.suppress(TwelvefoldError):
            await self._store.arrive(conversation_id, client, info)

    async def depart(self, conversation_id: int, client: str) -> None:
        """It does so no longer."""
        with contextlib.suppress(TwelvefoldError):
            await self._store.depart(conversation_id, client)

    async def here(self, conversation_id: int) -> dict[str, bytes]:
        """Clients that follow a conversation now."""
        return await self._store.here(conversation_id)

    def counts(self) -> tuple[int, int]:
        """Connections and users of this process."""
        return len(self._connections), len(set(self._connections.values()))

    def later(self, work: Any) -> None:
        """Do it beside what goes on; trouble is logged."""
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            connections = [(user, member) for member, user in self._connections.items()]
            for start in range(0, len(connections), 1000):
                await _quietly(self._store.renew(connections[start : start + 1000]))

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            keys = list(self._looking)
            for start in range(0, len(keys), 1000):
                some = keys[start : start + 1000]
                try:
                    counts = await self._store.online(some)
                except TwelvefoldError as error:
                    # Unknown is not offline: nothing is told until it is known again.
                    log.warning("chat.presence.unknown", reason=error.message)
                    break
                for key, count in zip(some, counts, strict=True):
                    self._compare(key, count)

    def _compare(self, key: str, count: int) -> None:
        before = self._seen.get(key)
        if before is None or (before > 0) == (count > 0):
            if before is not None:
                self._seen[key] = count
            return
        self._seen[key] = count
        presence = Presence(user=key.partition(":")[2], online=count > 0, devices=count)
        for told in list(self._looking.get(key, ())):
            told(presence)


async def _quietly(work: Any) -> None:
    try:
        await work
    except TwelvefoldError as error:
        log.warning("chat.presence.delayed", reason=error.message)
