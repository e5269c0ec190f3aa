"""Channels across processes, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.engines.valkey_server import ValkeyServer

from twelvefold.engines.realtime import ValkeyPubSub
from twelvefold.engines.valkey import Valkey
from twelvefold.kernel.errors import EngineUnavailableError


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer().start()
    yield await server.answering()
    server.close()


@pytest.fixture
async def valkey(server: ValkeyServer) -> AsyncIterator[Valkey]:
    async with await Valkey.open(server.url, name="realtime") as client:
        yield client


@pytest.fixture(params=["everywhere", "sharded"])
async def realtime(valkey: Valkey, request: pytest.FixtureRequest) -> AsyncIterator[ValkeyPubSub]:
    realtime = await ValkeyPubSub.open(valkey, sharded=request.param == "sharded")
    yield realtime
    await realtime.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 several sources, no common event
            await asyncio.sleep(0.001)


def no_gap() -> None:
    raise AssertionError("nothing was missed")


async def subscribed(valkey: Valkey, channel: str) -> int:
    """How many connections the server delivers this channel to."""
    counts = [await valkey.call("PUBSUB", verb, channel) for verb in ("NUMSUB", "SHARDNUMSUB")]
    return sum(sum(count.values()) if isinstance(count, dict) else count[1] for count in counts)


async def test_messages_arrive_in_order_at_every_subscriber_of_every_process(
    server: ValkeyServer, realtime: ValkeyPubSub
) -> None:
    async with await Valkey.open(server.url) as second:
        other = await ValkeyPubSub.open(second, sharded=realtime._verb == "SPUBLISH")
        inboxes: list[list[bytes]] = [[], [], []]
        await realtime.subscribe(b"room", inboxes[0].append, on_gap=no_gap)
        await realtime.subscribe(b"room", inboxes[1].append, on_gap=no_gap)
        await other.subscribe(b"room", inboxes[2].append, on_gap=no_gap)
        sent = [b"%d" % n for n in range(500)]
        for payload in sent:
            realtime.publish(b"room", payload)
        realtime.publish(b"elsewhere", b"x")
        await until(lambda: all(len(inbox) >= 500 for inbox in inboxes))
        assert inboxes == [sent, sent, sent]
        await other.close()


async def test_many_subscribers_share_one_subscription_which_ends_with_the_last(
    valkey: Valkey, realtime: ValkeyPubSub
) -> None:
    subscribers = await asyncio.gather(
        *(realtime.subscribe(b"room", lambda _: None, on_gap=no_gap) for _ in range(50))
    )
    stats = (await valkey.call("INFO", "commandstats")).decode()
    assert "subscribe:calls=1," in stats
    for subscriber in subscribers[1:]:
        subscriber.close()
        subscriber.close()
    assert await subscribed(valkey, "room") == 1
    subscribers[0].close()
    assert realtime.channels == 0
    async with asyncio.timeout(5):
        while await subscribed(valkey, "room"):  # noqa: ASYNC110 only the server knows
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("times", [1, 20])
async def test_leaving_and_coming_back_in_one_turn_keeps_the_channel_for_good(
    valkey: Valkey, realtime: ValkeyPubSub, times: int
) -> None:
    inbox: list[bytes] = []
    gaps: list[str] = []
    for _ in range(times):
        (await realtime.subscribe(b"room", inbox.append, on_gap=no_gap)).close()
    await realtime.subscribe(b"room", inbox.append, on_gap=lambda: gaps.append("gap"))
    realtime.publish(b"room", b"x")
    await until(lambda: inbox == [b"x"])
    await valkey.call("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: gaps == ["gap"])
    realtime.publish(b"room", b"y")
    await until(lambda: inbox == [b"x", b"y"])


async def test_the_first_to_subscribe_may_give_up_without_harm_to_others(
    valkey: Valkey, realtime: ValkeyPubSub
) -> None:
    inbox: list[bytes] = []
    first = asyncio.create_task(realtime.subscribe(b"room", lambda _: None, on_gap=no_gap))
    second = asyncio.create_task(realtime.subscribe(b"room", inbox.append, on_gap=no_gap))
    alone = asyncio.create_task(realtime.subscribe(b"alone", lambda _: None, on_gap=no_gap))
    await asyncio.sleep(0)
    first.cancel()
    alone.cancel()
    await second
    realtime.publish(b"room", b"x")
    await until(lambda: inbox == [b"x"])
    async with asyncio.timeout(5):
        while await subscribed(valkey, "alone"):  # noqa: ASYNC110 only the server knows
            await asyncio.sleep(0.001)
    assert realtime.channels == 1


async def test_a_subscriber_that_raises_or_leaves_while_called_disturbs_nobody(
    realtime: ValkeyPubSub,
) -> None:
    inbox: list[bytes] = []

    left: list[str] = []

    def bad(_payload: bytes) -> None:
        leaving.close()
        behind.close()
        raise RuntimeError("a bug")

    leaving = await realtime.subscribe(b"room", bad, on_gap=no_gap)
    await realtime.subscribe(b"room", inbox.append, on_gap=no_gap)
    behind = await realtime.subscribe(b"room", lambda _: left.append("heard"), on_gap=no_gap)
    realtime.publish(b"room", b"1")
    realtime.publish(b"room", b"2")
    await until(lambda: inbox == [b"1", b"2"])
    assert left == []


@pytest.mark.drill
async def test_after_the_server_was_killed_every_subscriber_is_told_of_the_gap_once_and_hears_again(
    server: ValkeyServer, valkey: Valkey, realtime: ValkeyPubSub
) -> None:
    inbox: list[bytes] = []
    gaps: list[str] = []
    await realtime.subscribe(b"a", inbox.append, on_gap=lambda: gaps.append("a1"))
    await realtime.subscribe(b"a", inbox.append, on_gap=lambda: gaps.append("a2"))
    await realtime.subscribe(b"b", inbox.append, on_gap=lambda: gaps.append("b"))
    server.kill()
    await until(lambda: not realtime.connected and not valkey.connected)
    with pytest.raises(EngineUnavailableError):
        realtime.publish(b"a", b"lost")
    with pytest.raises(EngineUnavailableError):
        await realtime.subscribe(b"c", inbox.append, on_gap=no_gap)
    await server.start().answering()
    await until(lambda: len(gaps) == 3 and realtime.connected)
    realtime.publish(b"a", b"x")
    realtime.publish(b"b", b"y")
    realtime.publish(b"c", b"nobody")
    await until(lambda: len(inbox) == 3)
    assert (inbox, gaps) == ([b"x", b"x", b"y"], ["a1", "a2", "b"])
    assert realtime.channels == 2


async def test_messages_accepted_and_then_lost_are_counted(
    server: ValkeyServer, realtime: ValkeyPubSub
) -> None:
    for _ in range(3):
        realtime.publish(b"a", b"x")
    server.kill()
    await until(lambda: not realtime.connected and realtime.lost == 3)
