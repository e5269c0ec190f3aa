"""A log on Valkey Streams: a topic is a stream, a group is a consumer group.

Durable means fsynced: all publishes of one turn of the event loop leave in one write that ends with one
WAITAOF, and are acknowledged when it says so. Bounds refuse: a topic that is full takes nothing more
until its readers commit, and nothing unread is ever trimmed. What all groups have committed is erased.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from twelvefold.engines.log.contract import BatchId, Capability, DeadLetter, TopicFullError
from twelvefold.engines.log.topic import TopicLimits, script_source, topic_keys
from twelvefold.engines.log.valkey_consumer import StreamConsumer
from twelvefold.engines.valkey import ReplyError, Valkey
from twelvefold.engines.valkey.connection import Connection
from twelvefold.engines.valkey.flight import resolve
from twelvefold.kernel.errors import (
    EngineUnavailableError,
    OverloadedError,
    RefusedError,
    TooLargeError,
    TwelvefoldError,
)

_MAX_TRIES = 5


class _Publish:
    """One call of `publish` on its way."""

    __slots__ = ("args", "future", "is_durable", "reply", "sends_source", "stream", "tries")

    def __init__(
        self, stream: bytes, args: tuple[Any, ...], future: asyncio.Future[list[str]], *, is_durable: bool
    ) -> None:
        self.stream = stream
        self.args = args
        self.future = future
        self.is_durable = is_durable
        self.reply: Any = None
        self.sends_source = False
        self.tries = 0

    def take(self, reply: Any) -> None:
        self.reply = reply

    def settle(self, outcome: Any) -> None:
        if isinstance(outcome, list):
            outcome = [position.decode() for position in outcome]
        resolve(self.future, outcome)


class ValkeyStreams:
    """See `contract.Log`. `open` makes it."""

    def __init__(
        self, valkey: Valkey, url: str, limits: TopicLimits, capabilities: frozenset[Capability]
    ) -> None:
        self._valkey = valkey
        self._url = url
        self._limits = limits
        self._capabilities = capabilities
        self._loop = asyncio.get_running_loop()
        self._source = script_source("publish")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()
        self._turn: list[_Publish] = []
        self._consumers: WeakSet[StreamConsumer] = WeakSet()
        # Half the deadline: a slow disk is then told apart from a server that does not answer.
        self._fsync_ms = max(1, int(valkey.deadline_seconds * 500))

    @classmethod
    async def open(
        cls, url: str, *, name: str = "log", deadline_seconds: float = 2.0, limits: TopicLimits | None = None
    ) -> "ValkeyStreams":
        """Connect, and find out what the server is set up for. Raises like `Valkey.open`."""
        valkey = await Valkey.open(url, name=name, deadline_seconds=deadline_seconds)
        try:
            capabilities = await _capabilities(valkey)
            await valkey.call("SCRIPT", "LOAD", script_source("publish"))
        except BaseException:
            await valkey.close()
            raise
        return cls(valkey, url, limits or TopicLimits(), capabilities)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `contract.Log.capabilities`."""
        return self._capabilities

    @property
    def max_record_bytes(self) -> int:
        """See `contract.Log.max_record_bytes`."""
        return self._limits.max_record_bytes

    @property
    def connected(self) -> bool:
        """Whether publishing can work now."""
        return self._valkey.connected

    async def publish(
        self, topic: str, records: Sequence[bytes], *, durable: bool = True, batch: BatchId | None = None
    ) -> list[str]:
        """See `contract.Log.publish`."""
        limits = self._limits
        if durable and Capability.DURABLE not in self._capabilities:
            raise RefusedError(f"this log does not {Capability.DURABLE.value}")
        if batch is not None and batch.sequence < 1:
            raise ValueError(f"the sequence of a batch is 1 or more, not {batch.sequence}")
        if not records:
            return []
        largest = max(map(len, records))
        if largest > limits.max_record_bytes:
            raise TooLargeError(f"a record has at most {limits.max_record_bytes} bytes, not {largest}")
        keys = topic_keys(topic)
        publisher = keys.publisher(batch.publisher) if batch else keys.size
        bounds = (limits.max_records, limits.max_bytes)
        sequence = batch.sequence if batch else ""
        args = (
            3,
            keys.stream,
            keys.size,
            publisher,
            *bounds,
            sequence,
            limits.remember_batches_seconds,
            *records,
        )
        publish = _Publish(keys.stream, args, self._loop.create_future(), is_durable=durable)
        if not self._turn:
            self._loop.call_soon(self._send_turn)
        self._turn.append(publish)
        return await publish.future

    def consumer(self, topic: str, group: str, name: str) -> StreamConsumer:
        """See `contract.Log.consumer`."""
        keys = topic_keys(topic)
        consumer = StreamConsumer(self._valkey, self._url, keys, group=group, name=name, limits=self._limits)
        self._consumers.add(consumer)
        return consumer

    async def dead_letters(self, topic: str, max_records: int = 100) -> list[DeadLetter]:
        """See `contract.Log.dead_letters`."""
        found = await self._valkey.call("XRANGE", topic_keys(topic).dead, "-", "+", "COUNT", max_records)
        letters = []
        for position, pairs in found:
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
            letters.append(
                DeadLetter(
                    position.decode(),
                    fields[b"d"],
                    fields[b"g"].decode(),
                    fields[b"o"].decode(),
                    int(fields[b"n"]),
                )
            )
        return letters

    async def discard_dead_letters(self, topic: str, letters: Iterable[DeadLetter]) -> None:
        """See `contract.Log.discard_dead_letters`."""
        positions = [letter.position for letter in letters]
        if positions:
            await self._valkey.call("XDEL", topic_keys(topic).dead, *positions)

    async def ping(self) -> float:
        """Seconds that a round trip takes now. Raises `EngineUnavailableError`."""
        return await self._valkey.ping()

    async def close(self) -> None:
        """Wait for what is in flight, and disconnect; consumers too."""
        for consumer in tuple(self._consumers):
            await consumer.close()
        await self._valkey.close()

    def _send_turn(self) -> None:
        turn, self._turn = self._turn, []
        self._send(turn)

    def _send(self, publishes: Iterable[_Publish]) -> None:
        """To each server one write, which ends with one WAITAOF; the replies come in that order."""
        by_node: dict[Connection, list[_Publish]] = {}
        for publish in publishes:
            try:
                node = self._valkey.node_of(publish.stream)
                node.send_with(publish.take, *self._command(publish))
            except Exception as error:  # noqa: BLE001 refused: each caller gets its own
                publish.settle(error)
            else:
                by_node.setdefault(node, []).append(publish)
        for node, sent in by_node.items():
            fence: tuple[str | int, ...] = ("PING",)
            if any(publish.is_durable for publish in sent):
                fence = ("WAITAOF", 1, 0, self._fsync_ms)
            try:
                node.send_with(partial(self._settle, node, sent), *fence)
            except TwelvefoldError as error:
                for publish in sent:
                    publish.settle(_not_fsynced(self._valkey.name, error))

    def _command(self, publish: _Publish) -> tuple[Any, ...]:
        script = ("EVAL", self._source) if publish.sends_source else ("EVALSHA", self._sha)
        return (*script, *publish.args)

    def _settle(self, node: Connection, publishes: list[_Publish], fence: Any) -> None:
        again = [publish for publish in publishes if self._did_not_run(node, publish)]
        for publish in publishes:
            reply = publish.reply
            if publish in again:
                continue
            if isinstance(reply, ReplyError) and reply.reply_code == "TOPICFULL":
                publish.settle(TopicFullError(f"the topic is full: {reply.message}", retry_after_seconds=1.0))
            elif isinstance(reply, Exception):
                publish.settle(reply)
            elif publish.is_durable and (problem := _not_fsynced(self._valkey.name, fence)):
                publish.settle(problem)
            else:
                publish.settle(reply)
        if again:
            self._send(again)

    def _did_not_run(self, node: Connection, publish: _Publish) -> bool:
        """Whether the server said so, and it is worth another try there or elsewhere."""
        reply = publish.reply
        if not isinstance(reply, ReplyError) or publish.tries >= _MAX_TRIES:
            return False
        publish.tries += 1
        if reply.reply_code == "NOSCRIPT":
            publish.sends_source = True
            return True
        return self._valkey.moved(reply, node)


def _not_fsynced(engine: str, fence: Any) -> EngineUnavailableError | None:
    """Why a durable publish may not be acknowledged, judging by the reply to WAITAOF."""
    if isinstance(fence, EngineUnavailableError | OverloadedError):
        return EngineUnavailableError(engine, f"{fence.message}; the records may not be kept")
    if isinstance(fence, Exception):
        return EngineUnavailableError(engine, f"it cannot fsync: {fence}")
    if fence[0] < 1:
        return EngineUnavailableError(engine, "the append-only file was not fsynced in time")
    return None


async def _capabilities(valkey: Valkey) -> frozenset[Capability]:
    """What every server of it can do."""
    capabilities = frozenset(Capability)
    for node in valkey.nodes:
        info: bytes = await node.call("INFO", "persistence", "memory")
        facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        if facts.get("aof_enabled") != "1":
            capabilities -= {Capability.DURABLE}
        if facts.get("maxmemory_policy", "noeviction") != "noeviction" and facts.get("maxmemory") != "0":
            capabilities -= {Capability.RETAINS}
    return capabilities
