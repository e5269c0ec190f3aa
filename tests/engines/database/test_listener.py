"""NOTIFY: delivered while connected, and a gap is always told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from twelvefold.engines.database import Database
from twelvefold.engines.database import listener as listener_module
from twelvefold.kernel.errors import EngineUnavailableError

Eventually = Callable[[Callable[[], Any]], Awaitable[None]]

DEADLINE = 10
END_LISTENERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test listen'"
    " AND datname = current_database()"
)


async def test_messages_arrive_in_order_after_the_first_gap(database: Database) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.listen("news", seen.put_nowait, on_gap=lambda: seen.put_nowait("gap"))
    assert listener.connected
    for word in ("one", "two", "ü"):
        await database.execute("SELECT pg_notify('news', $1)", word)
    async with asyncio.timeout(DEADLINE):
        assert [await seen.get() for _ in range(4)] == ["gap", "one", "two", "ü"]
    await listener.close()
    assert not listener.connected


async def test_after_a_lost_connection_there_is_a_gap_and_then_messages_again(database: Database) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.listen("news", seen.put_nowait, on_gap=lambda: seen.put_nowait("gap"))
    async with asyncio.timeout(DEADLINE):
        assert await seen.get() == "gap"
        for _ in range(3):
            await database.execute(END_LISTENERS)
            assert await seen.get() == "gap"
            assert listener.connected
            await database.execute("SELECT pg_notify('news', 'again')")
            assert await seen.get() == "again"


async def test_what_happens_while_it_is_away_is_covered_by_the_gap(database: Database) -> None:
    """A reader that looks up the truth in `on_gap` misses nothing, whenever the connection breaks."""
    await database.execute("CREATE TABLE truth (n int); INSERT INTO truth VALUES (0)")
    known = 0
    changed = asyncio.Event()

    async def look_up() -> None:
        nonlocal known
        known = max(known, int(await database.fetch_value("SELECT n FROM truth")))
        changed.set()

    lookups: set[asyncio.Task[None]] = set()

    def on_gap() -> None:
        lookups.add(asyncio.create_task(look_up()))

    def on_message(payload: str) -> None:
        nonlocal known
        known = max(known, int(payload))
        changed.set()

    await database.listen("truth", on_message, on_gap=on_gap)
    for n in range(1, 40):
        if n % 4 == 0:
            await database.execute(END_LISTENERS)
        async with database.transaction() as tx:
            await tx.execute("UPDATE truth SET n = $1", n)
            await tx.execute("SELECT pg_notify('truth', $1)", str(n))
    async with asyncio.timeout(DEADLINE):
        while known < 39:
            changed.clear()
            await changed.wait()
    await asyncio.gather(*lookups)


async def test_a_callback_that_fails_does_not_end_it(database: Database) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    def on_message(payload: str) -> None:
        if payload == "bad":
            raise ValueError(payload)
        seen.put_nowait(payload)

    await database.listen("news", on_message, on_gap=lambda: None)
    for word in ("bad", "good"):
        await database.execute("SELECT pg_notify('news', $1)", word)
    async with asyncio.timeout(DEADLINE):
        assert await seen.get() == "good"


async def test_a_silent_server_is_noticed_by_the_probe(
    database: Database, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(listener_module, "PROBE_SECONDS", 0.02)
    gaps: asyncio.Queue[None] = asyncio.Queue()
    listener = await database.listen("news", lambda _: None, on_gap=lambda: gaps.put_nowait(None))
    async with asyncio.timeout(DEADLINE):
        await gaps.get()
        monkeypatch.setattr(listener_module, "PROBE_DEADLINE_SECONDS", 0.0)  # no answer is quick enough now
        await eventually(lambda: not listener.connected)
        monkeypatch.setattr(listener_module, "PROBE_DEADLINE_SECONDS", 2.0)
        await gaps.get()


async def test_a_database_that_is_not_there_is_told_at_once(database_url: str) -> None:
    async with await Database.open(database_url, name="test") as database:
        database._url = database_url.replace("/test_", "/absent_")
        with pytest.raises(EngineUnavailableError):
            await database.listen("news", lambda _: None, on_gap=lambda: None)


@pytest.mark.parametrize("channel", ["", "News", "a b", 'x"; DROP TABLE t', "x" * 64])
async def test_odd_channels_are_an_error(database: Database, channel: str) -> None:
    with pytest.raises(ValueError, match="a channel's name"):
        await database.listen(channel, lambda _: None, on_gap=lambda: None)
