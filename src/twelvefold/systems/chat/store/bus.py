"""The bus between processes: sharded channels of Valkey that carry what was stored. The log is the truth.

A conversation's channel carries entries as they stand in the timeline, and notices that are never stored
(typing, receipts). Invariant: losing any message here loses nothing; receivers see the gap in the sequence,
or are told of it by `on_gap`, and read the timeline.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from twelvefold.engines.valkey import ReplyError, Valkey
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError
from twelvefold.systems.chat.store.messages import Stored

log = structlog.get_logger("chat")

PREFIX = b"chat:c:"
USERS = b"chat:u:"
RETRY_SECONDS = 0.2


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """What a channel carries: entries, or only the sequence up to which there is something; or a notice."""

    upto: int = 0
    entries: Sequence[Stored] = ()
    notice: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parcel).decode


class Bus:
    """See the module. `on_parcel(conversation_id, parcel)`, `on_notice(user_key, notice)`, `on_gap()`."""

    def __init__(
        self,
        valkey: Valkey,
        *,
        on_parcel: Callable[[int, Parcel], None],
        on_notice: Callable[[str, bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._valkey = valkey
        self._on_parcel = on_parcel
        self._on_notice = on_notice
        self._on_gap = on_gap
        self._subscription: Any = None
        self._wanted: set[bytes] = set()
        self._added: set[bytes] = set()
        self._changed = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect."""
        self._subscription = await self._valkey.subscribe(
            [], self._received, on_gap=self._reconnected, sharded=True
        )
        self._task = asyncio.get_running_loop().create_task(self._keep_up(), name="chat: channels")

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._subscription is not None:
            await self._subscription.close()

    def publish(self, conversation_id: int, parcel: Parcel) -> None:
        """Send; what cannot be sent now is read from the log by those who miss it."""
        with contextlib.suppress(EngineUnavailableError, OverloadedError):
            self._valkey.send_with(_ignore, "SPUBLISH", PREFIX + b"%d" % conversation_id, _encode(parcel))

    def publish_to_user(self, key: str, notice: bytes) -> None:
        """Tell all processes that have sockets of a user."""
        with contextlib.suppress(EngineUnavailableError, OverloadedError):
            self._valkey.send_with(_ignore, "SPUBLISH", USERS + key.encode(), _encode(Parcel(notice=notice)))

    async def listen(self, conversation_id: int) -> None:
        """Hear a conversation. Returns when it is heard, or after a moment if the bus is away."""
        await self._want(PREFIX + b"%d" % conversation_id)

    def unlisten(self, conversation_id: int) -> None:
        """Hear it no longer."""
        self._unwant(PREFIX + b"%d" % conversation_id)

    async def listen_to_user(self, key: str) -> None:
        """Hear what is told to a user."""
        await self._want(USERS + key.encode())

    def unlisten_to_user(self, key: str) -> None:
        """Hear it no longer."""
        self._unwant(USERS + key.encode())

    async def _want(self, channel: bytes) -> None:
        self._wanted.add(channel)
        if channel in self._added:
            return
        settled = asyncio.get_running_loop().create_future()
        self._settled.append(settled)
        self._changed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await settled

    def _unwant(self, channel: bytes) -> None:
        self._wanted.discard(channel)
        self._changed.set()

    async def _keep_up(self) -> None:
        """Bring the subscriptions in line with what is wanted: all changes of a moment in one command."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            settled, self._settled = self._settled, []
            fresh, stale = self._wanted - self._added, self._added - self._wanted
            try:
                if fresh:
                    await self._subscription.add(*fresh)
                    self._added |= fresh
                if stale:
                    self._subscription.remove(*stale)
                    self._added -= stale
            except (EngineUnavailableError, ReplyError) as error:
                log.warning("chat.channels.delayed", reason=str(error))
                self._settled += settled
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for waiter in settled:
                if not waiter.done():
                    waiter.set_result(None)

    def _reconnected(self) -> None:
        self._on_gap()

    def _received(self, channel: bytes, payload: bytes) -> None:
        parcel = _decode(payload)
        if channel.startswith(PREFIX):
            self._on_parcel(int(channel[len(PREFIX) :]), parcel)
        else:
            self._on_notice(channel[len(USERS) :].decode(), parcel.notice)


def _ignore(reply: Any) -> None:
    del reply
