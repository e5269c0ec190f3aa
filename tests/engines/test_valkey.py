"""The Valkey client against a real server, on good days and bad ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.engines.valkey_server import ValkeyServer, free_port

from twelvefold.engines.valkey import ReplyError, ServerStateError, Valkey
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError

DEADLINE_SECONDS = 0.3


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    server = ValkeyServer().start()
    yield await server.answering()
    server.close()


@pytest.fixture
async def valkey(server: ValkeyServer) -> AsyncIterator[Valkey]:
    async with await Valkey.open(server.url, deadline_seconds=DEADLINE_SECONDS) as client:
        yield client


async def until(condition: Callable[[], bool], deadline_seconds: float = 10) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():  # noqa: ASYNC110 several sources, no common event
            await asyncio.sleep(0.002)


async def outcome(call: Any) -> Any:
    try:
        return await call
    except EngineUnavailableError as error:
        return error


# Good days


async def test_replies_come_in_order_to_their_callers(valkey: Valkey) -> None:
    await asyncio.gather(*(valkey.call("SET", f"key:{n}", n) for n in range(500)))
    assert await asyncio.gather(*(valkey.call("GET", b"key:%d" % n) for n in range(500))) == [
        b"%d" % n for n in range(500)
    ]


async def test_an_error_reply_reaches_its_caller_only(valkey: Valkey) -> None:
    await valkey.call("SET", "text", "x")
    bad, good = await asyncio.gather(
        valkey.call("INCR", "text"), valkey.call("GET", "text"), return_exceptions=True
    )
    assert isinstance(bad, ReplyError)
    assert bad.reply_code == "ERR"
    assert good == b"x"


async def test_large_values_arrive_whole(valkey: Valkey) -> None:
    values = [bytes([n]) * (1 << 20) for n in range(8)]
    await asyncio.gather(*(valkey.call("SET", f"big:{n}", value) for n, value in enumerate(values)))
    assert await asyncio.gather(*(valkey.call("GET", f"big:{n}") for n in range(8))) == values


async def test_the_server_sees_the_clients_name_and_protocol(valkey: Valkey) -> None:
    info = await valkey.call("CLIENT", "INFO")
    assert b" name=valkey " in info
    assert b" resp=3 " in info
    assert b" lib-name=twelvefold " in info


async def test_ping_gives_the_round_trip_in_seconds(valkey: Valkey) -> None:
    assert 0 <= await valkey.ping() < DEADLINE_SECONDS


async def test_close_waits_for_what_is_in_flight_and_refuses_what_comes_later(server: ValkeyServer) -> None:
    client = await Valkey.open(server.url)
    written = client.send("SET", "last", "word")
    await client.close()
    assert written.result() == b"OK"
    with pytest.raises(EngineUnavailableError, match="closed"):
        client.send("PING")


# Getting in


async def test_user_password_and_database_of_the_url_are_used() -> None:
    server = ValkeyServer(
        "--user", "ann", "on", ">p@ss", "~*", "&*", "+@all", "--requirepass", "other", port=free_port()
    ).start()  # fmt: skip
    try:
        await server.answering()
        where = f"127.0.0.1:{server.port}"
        async with await Valkey.open(f"valkey://ann:p%40ss@{where}/3") as client:
            info = await client.call("CLIENT", "INFO")
            assert b" db=3 " in info
            assert b" user=ann " in info
        async with await Valkey.open(f"redis://:other@{where}") as client:
            assert await client.call("ACL", "WHOAMI") == b"default"
        for wrong in ("ann:nope@", "", "nobody:p%40ss@"):
            with pytest.raises(ConfigurationError, match="does not let us in") as caught:
                await Valkey.open(f"valkey://{wrong}{where}")
            assert "nope" not in str(caught.value)
    finally:
        server.close()


async def test_a_database_that_does_not_exist_is_a_configuration_error(server: ValkeyServer) -> None:
    with pytest.raises(ConfigurationError, match="DB index"):
        await Valkey.open(f"{server.url}?db=999")


@pytest.mark.parametrize(
    "url", ["unix:///nowhere/v.sock", "valkey://127.0.0.1:{port}", "valkey://name.invalid"]
)
async def test_a_server_that_is_not_there_is_said_so_at_once(url: str) -> None:
    with pytest.raises(EngineUnavailableError, match="valkey does not answer: ") as caught:
        await Valkey.open(url.format(port=free_port()), deadline_seconds=5)
    assert len(str(caught.value).splitlines()) == 1


async def test_a_hung_server_cannot_hold_up_a_start(server: ValkeyServer) -> None:
    server.pause()
    with pytest.raises(EngineUnavailableError, match="did not answer in 1 s"):
        await Valkey.open(server.url, deadline_seconds=0.2)


# Bad days


async def test_a_killed_server_fails_calls_at_once_and_comes_back_by_itself(
    server: ValkeyServer, valkey: Valkey
) -> None:
    server.kill()
    with pytest.raises(EngineUnavailableError):
        await valkey.call("PING")
    assert not valkey.connected
    await server.start().answering()
    await valkey.wait_connected(5)
    assert await valkey.call("PING") == b"PONG"


async def test_kill_9_under_load_runs_nothing_twice_and_loses_nothing_acknowledged() -> None:
    server = ValkeyServer("--appendonly", "yes", "--appendfsync", "always").start()
    try:
        await server.answering()
        async with await Valkey.open(server.url, deadline_seconds=5) as valkey:
            acknowledged = failed = 0
            highest = 0

            async def count() -> None:
                nonlocal acknowledged, failed, highest
                while failed < 50:
                    reply = await outcome(valkey.call("INCR", b"n"))
                    if isinstance(reply, int):
                        acknowledged += 1
                        highest = max(highest, reply)
                    else:
                        failed += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(count())
                await until(lambda: acknowledged > 1000)
                server.kill()
            await server.start().answering()
            await valkey.wait_connected(5)
            kept = int(await valkey.call("GET", b"n"))
            assert highest == acknowledged <= kept <= acknowledged + failed
    finally:
        server.close()


async def test_a_stopped_server_answers_callers_by_the_deadline_and_later_ones_at_once(
    server: ValkeyServer, valkey: Valkey
) -> None:
    loop = asyncio.get_running_loop()
    server.pause()
    began = loop.time()
    first = await asyncio.gather(*(outcome(valkey.call("INCR", b"n")) for _ in range(20)))
    assert all(isinstance(reply, EngineUnavailableError) for reply in first)
    assert DEADLINE_SECONDS <= loop.time() - began < DEADLINE_SECONDS + 0.5
    began = loop.time()
    for _ in range(100):
        with pytest.raises(EngineUnavailableError, match="in time"):
            await valkey.call("GET", b"n")
    assert loop.time() - began < 0.1, "calls after the first miss wait for nothing"
    server.resume()
    await until(lambda: valkey.connected)
    assert await valkey.call("GET", b"n") == b"20", "late, not lost, and not sent again"


async def test_a_server_stopped_for_long_is_dialled_anew(server: ValkeyServer, valkey: Valkey) -> None:
    before = await valkey.call("CLIENT", "ID")
    valkey._connection._abandon_seconds = 0.1
    server.pause()
    await outcome(valkey.call("PING"))
    await until(lambda: valkey._connection.endpoint is None)
    server.resume()
    await valkey.wait_connected(5)
    assert await valkey.call("CLIENT", "ID") > before


async def test_a_loading_server_is_not_connected_until_it_has_loaded() -> None:
    slowly = ("--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024")
    server = ValkeyServer("--appendonly", "yes", *slowly).start()
    try:
        await server.answering()
        async with await Valkey.open(server.url) as valkey:
            await asyncio.gather(*(valkey.call("SET", n, b"x" * 100) for n in range(2_000)))
            server.kill()
            server.start()
            await until(lambda: "LOADING" in valkey._connection._fault)
            with pytest.raises(EngineUnavailableError, match="LOADING"):
                await valkey.call("GET", b"1")
            await valkey.wait_connected(10)
            assert await valkey.call("DBSIZE") == 2_000
    finally:
        server.close()


async def test_a_dropped_client_reconnects_and_its_unanswered_command_is_not_repeated(
    server: ValkeyServer, valkey: Valkey
) -> None:
    own_id = await valkey.call("CLIENT", "ID")
    killed, counted = valkey.send("CLIENT", "KILL", "ID", own_id, "SKIPME", "no"), valkey.send("INCR", b"n")
    assert await outcome(killed) == 1
    assert isinstance(await outcome(counted), EngineUnavailableError)
    await valkey.wait_connected(5)
    assert await valkey.call("INCR", b"n") == 1


async def test_a_server_out_of_memory_is_engine_trouble(server: ValkeyServer, valkey: Valkey) -> None:
    await valkey.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(ServerStateError, match="OOM"):
        await valkey.call("SET", "a", "b")


async def test_a_hundred_tasks_cancelled_at_random_disturb_nobody(valkey: Valkey) -> None:
    await asyncio.gather(*(valkey.call("SET", f"k{n}", n) for n in range(100)))
    tasks = [asyncio.create_task(valkey.call("GET", f"k{n}")) for n in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for n, result in enumerate(results):
        assert isinstance(result, asyncio.CancelledError) if n % 3 == 0 else result == b"%d" % n


# Scripts


async def test_a_script_runs_by_hash_and_survives_a_flush_without_running_twice(valkey: Valkey) -> None:
    script = valkey.script("return redis.call('INCRBY', KEYS[1], ARGV[1])", keys=1)
    assert await script(keys=["n"], args=[2]) == 2
    assert await script(keys=["n"], args=[2]) == 4
    await valkey.call("SCRIPT", "FLUSH")
    assert sorted(await asyncio.gather(*(script(keys=["n"], args=[1]) for _ in range(10)))) == list(
        range(5, 15)
    )
    assert await valkey.call("GET", "n") == b"14"


async def test_a_script_that_fails_raises_and_is_not_repeated(valkey: Valkey) -> None:
    script = valkey.script(
        "redis.call('INCR', KEYS[1]); return redis.error_reply('NOSCRIPT of its own')", keys=1
    )
    with pytest.raises(ReplyError):
        await script(keys=["n"])
    assert await valkey.call("GET", "n") == b"1"


async def test_a_script_called_with_the_wrong_number_of_keys_is_refused(valkey: Valkey) -> None:
    with pytest.raises(ValueError, match="takes 1 keys, not 2"):
        await valkey.script("return 1", keys=1)(keys=["a", "b"])


# Channels


class Inbox:
    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps = 0

    def take(self, channel: bytes, payload: bytes) -> None:
        self.messages.append((channel, payload))
        if payload == b"raise":
            raise RuntimeError("a bug in a handler")

    def gap(self) -> None:
        self.gaps += 1


@pytest.mark.parametrize("sharded", [False, True])
async def test_channels_can_be_added_and_removed(valkey: Valkey, *, sharded: bool) -> None:
    publish = "SPUBLISH" if sharded else "PUBLISH"
    inbox = Inbox()
    subscription = await valkey.subscribe(["a"], inbox.take, on_gap=inbox.gap, sharded=sharded)
    await subscription.add(b"b")
    await asyncio.gather(*(valkey.call(publish, channel, "raise") for channel in "abc"))
    await until(lambda: len(inbox.messages) == 2)
    subscription.remove(b"a")
    await until_unsubscribed(valkey, publish, "a")
    await valkey.call(publish, "b", "2")
    await until(lambda: len(inbox.messages) == 3)
    assert inbox.messages == [(b"a", b"raise"), (b"b", b"raise"), (b"b", b"2")]
    assert inbox.gaps == 0
    await subscription.close()


async def until_unsubscribed(valkey: Valkey, publish: str, channel: str) -> None:
    async with asyncio.timeout(5):
        while await valkey.call(publish, channel, "late"):  # noqa: ASYNC110 only the server knows
            await asyncio.sleep(0.001)


async def test_after_a_restart_channels_are_subscribed_again_before_the_gap_is_told(
    server: ValkeyServer,
) -> None:
    valkey = await Valkey.open(server.url)
    inbox = Inbox()
    subscription = await valkey.subscribe(["a", "b"], inbox.take, on_gap=inbox.gap)
    server.kill()
    await until(lambda: not subscription.connected)
    with pytest.raises(EngineUnavailableError):
        await subscription.add(b"c")
    await server.start().answering()
    await until(lambda: inbox.gaps == 1)
    await valkey.wait_connected(5)
    assert await valkey.call("PUBLISH", "b", "after") == 1
    assert await valkey.call("PUBLISH", "c", "refused") == 0
    await until(lambda: inbox.messages == [(b"b", b"after")])
    await subscription.close()
    await valkey.close()


async def test_a_subscription_the_server_refuses_is_an_error_and_leaves_the_others(
    server: ValkeyServer,
) -> None:
    async with await Valkey.open(server.url) as admin:
        await admin.call("ACL", "SETUSER", "sue", "on", ">pw", "resetchannels", "&open:*", "+@all", "~*")
        async with await Valkey.open(f"unix://sue:pw@{server.path}") as valkey:
            inbox = Inbox()
            subscription = await valkey.subscribe(["open:1"], inbox.take, on_gap=inbox.gap)
            with pytest.raises(ReplyError, match="NOPERM"):
                await subscription.add(b"secret")
            await admin.call("PUBLISH", "open:1", "x")
            await until(lambda: inbox.messages == [(b"open:1", b"x")])
            await subscription.close()
            with pytest.raises(ReplyError, match="NOPERM"):
                await valkey.subscribe(["secret"], inbox.take, on_gap=inbox.gap)


async def test_a_subscription_gone_silent_is_noticed_and_dialled_anew(
    server: ValkeyServer, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twelvefold.engines.valkey.subscription.KEEPALIVE_SECONDS", 0.05)
    inbox = Inbox()
    subscription = await valkey.subscribe(["a"], inbox.take, on_gap=inbox.gap)
    server.pause()
    await until(lambda: not subscription.connected)
    server.resume()
    await until(lambda: inbox.gaps >= 1)
    await until(lambda: valkey.connected)
    await until(lambda: subscription.connected)
    await valkey.call("PUBLISH", "a", "x")
    await until(lambda: (b"a", b"x") in inbox.messages)
    await subscription.close()


async def test_two_callers_of_one_channel_both_wait_for_the_servers_word(valkey: Valkey) -> None:
    inbox = Inbox()
    subscription = await valkey.subscribe([], inbox.take, on_gap=inbox.gap)
    await asyncio.gather(subscription.add(b"a"), subscription.add(b"a", b"b"))
    assert await asyncio.gather(valkey.call("PUBLISH", "a", "1"), valkey.call("PUBLISH", "b", "1")) == [1, 1]
    await subscription.close()
