"""Behind the conversations: words for search, threads, push notifications, retention.

Invariant: each appended entry is dealt with exactly once: its news is taken in the transaction that writes
what follows from it. A notification is made from the message as it is when it is sent, so what was edited or
deleted meanwhile is never told; the service is told the same name for it every time, so a retry is no second one.
"""

import asyncio
import hashlib
from collections.abc import Mapping

import structlog

from twelvefold.engines.database import Database, Transaction
from twelvefold.kernel.clock import Clock
from twelvefold.kernel.errors import TwelvefoldError
from twelvefold.kernel.ids import EPOCH_MS
from twelvefold.kernel.retry import Backoff
from twelvefold.systems.chat.push import Gone, Notification, PushService, Refused, Retry, WokenUp
from twelvefold.systems.chat.push.signing import b64
from twelvefold.systems.chat.rules.bodies import KINDS, Body
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.chat.store.media import MediaStore
from twelvefold.systems.chat.store.messages import MessageStore, Stored
from twelvefold.systems.chat.store.presence import PresenceStore
from twelvefold.systems.chat.store.push import PushJob, PushStore
from twelvefold.systems.chat.store.words import WordStore

log = structlog.get_logger("chat")

TAKE_APPENDS = 50
IDLE_SECONDS = 0.25
PUSH_LEASE_MS = 60_000
PUSH_AT_ONCE = 32
MAX_ATTEMPTS = 8
SHOWN_CHARACTERS = 500
RETENTION_SECONDS = 3600.0
DAY_MS = 86_400_000


class NewsWorker:
    """Takes news of what was appended."""

    def __init__(
        self, *, database: Database, messages: MessageStore, words: WordStore, push: PushStore, presence: PresenceStore,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._database = database
        self._messages = messages
        self._words = words
        self._push = push
        self._presence = presence
        self._clock = clock
        self.seen = 0

    async def turn(self) -> int:
        """Deal with some news; returns how many entries."""
        async with self._database.transaction() as transaction:
            news = await self._messages.take_news(transaction, TAKE_APPENDS)
            for conversation_id, seq in news:
                found = await self._messages.body(conversation_id, seq)
                if found is not None:
                    await self._deal(transaction, *found)
        self.seen += len(news)
        return len(news)

    async def _deal(self, transaction: Transaction, stored: Stored, body: Body) -> None:
        if stored.kind == KINDS["message"]:
            if body.deleted:
                return
            await self._words.put(transaction, stored, body.text)
            if body.thread is not None:
                await self._words.answer(transaction, stored.conversation_id, body.thread, stored.seq)
            await self._wake(transaction, stored)
        elif body.target is not None and stored.kind in (KINDS["edited"], KINDS["deleted"]):
            target = await self._messages.body(stored.conversation_id, body.target)
            if target is not None:
                now, what = target
                await self._words.put(transaction, now, "" if what.deleted else what.text)

    async def _wake(self, transaction: Transaction, stored: Stored) -> None:
        candidates = await self._push.candidates(transaction, stored.conversation_id, stored.author)
        if not candidates:
            return
        counts = await self._presence.online([f"{tenant}:{user}" for _, tenant, user in candidates])
        away = [one[0] for one, count in zip(candidates, counts, strict=True) if not count]
        if away:
            await self._push.enqueue(
                transaction, away, stored.conversation_id, stored.seq, self._clock.now_ms()
            )


class PushWorker:
    """Sends what is due."""

    def __init__(
        self,
        *,
        push: PushStore,
        messages: MessageStore,
        words: WordStore,
        services: Mapping[str, PushService],
        clock: Clock,
    ) -> None:
        self._push = push
        self._messages = messages
        self._words = words
        self._services = services
        self._clock = clock
        self.sent = 0

    async def turn(self) -> int:
        """Send some; returns how many were due."""
        jobs = await self._push.take(self._clock.now_ms(), PUSH_LEASE_MS, PUSH_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(self._send(job))
        return len(jobs)

    async def _send(self, job: PushJob) -> None:
        service = self._services.get(job.service)
        notification = await self._notification(job)
        if service is None or notification is None or job.attempts > MAX_ATTEMPTS:
            await self._push.done(job)
            return
        outcome = await service.send(job.address, job.keys, notification)
        if isinstance(outcome, WokenUp):
            self.sent += 1
            await self._push.done(job)
        elif isinstance(outcome, Gone):
            await self._push.remove_by_id(job.subscription_id)
        elif isinstance(outcome, Retry):
            wait = max(outcome.after_seconds, 2.0**job.attempts)
            await self._push.later(job, self._clock.now_ms() + int(wait * 1000))
        elif isinstance(outcome, Refused):
            log.warning("chat.push.refused", service=job.service, reason=outcome.reason)
            await self._push.done(job)

    async def _notification(self, job: PushJob) -> Notification | None:
        """The message as it is now, if it is still there and still theirs to see."""
        found = await self._messages.body(job.conversation_id, job.seq)
        if (
            found is None
            or found[1].deleted
            or not await self._words.may_see(job.tenant_id, job.user, job.conversation_id, job.seq)
        ):
            return None
        stored, body = found
        text = body.text or ("a file" if body.attachments else "a message")
        name = hashlib.sha256(f"{job.conversation_id} {job.seq}".encode()).digest()[:24]
        return Notification(
            conversation_id=str(job.conversation_id),
            seq=job.seq,
            message_id=str(stored.id),
            title=stored.author,
            body=text[:SHOWN_CHARACTERS],
            collapse=b64(name),
        )


class RetentionWorker:
    """Drops what is older than is kept, and the bytes of deleted files."""

    def __init__(
        self,
        *,
        messages: MessageStore,
        words: WordStore,
        media: MediaStore,
        clock: Clock,
        settings: ChatSettings,
    ) -> None:
        self._messages = messages
        self._words = words
        self._media = media
        self._clock = clock
        self._keep_ms = settings.retention_days * DAY_MS
        self._next = 0.0

    async def turn(self) -> int:
        """Remove deleted files' bytes; once an hour, drop what is too old."""
        removed = await self._media.sweep()
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + RETENTION_SECONDS
            await self.retain()
        return removed

    async def retain(self) -> int:
        """Drop whole buckets; returns how many."""
        since = self._clock.now_ms() - self._keep_ms
        dropped = await self._messages.retain(since)
        if dropped and since > EPOCH_MS:
            await self._words.forget_before((since - EPOCH_MS) << 22)
            await self._media.expire((since - EPOCH_MS) << 22)
        return dropped


async def run_all(workers: Mapping[str, NewsWorker | PushWorker | RetentionWorker]) -> None:
    """Work until cancelled; trouble is waited out, never skipped over."""
    async with asyncio.TaskGroup() as group:
        for name, worker in workers.items():
            group.create_task(_run(name, worker))


async def _run(name: str, worker: NewsWorker | PushWorker | RetentionWorker) -> None:
    delays = Backoff().delays()
    while True:
        try:
            done = await worker.turn()
            delays = Backoff().delays()
            if not done:
                await asyncio.sleep(IDLE_SECONDS)
        except* TwelvefoldError as errors:
            log.warning("chat.work.delayed", worker=name, reason=str(errors.exceptions[0]))
            await asyncio.sleep(next(delays))
