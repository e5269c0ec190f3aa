"""Channels of a process: one write a turn, in order, and a slow reader costs nobody else."""

import asyncio
import contextlib
import os

import pytest
from tests.unit.web.sockets.endpoints import (
    masked,
    opened,
)
from websockets.asyncio.client import connect as ws_connect

from twelvefold.web.frames import PING, TEXT, encode
from twelvefold.web.hub import RING_FROM, Hub
from twelvefold.web.ring import SendRing


async def test_all_messages_of_a_turn_leave_in_one_write_in_order(url, hub, eventually):
    async with ws_connect(f"{url}/listen?in=a,b") as client:
        await eventually(lambda: hub.listeners("b") == 1)
        before = hub.counts
        for index in range(5):
            hub.publish("a", b"%d" % index)
        hub.publish("b", b"5")
        assert [await client.recv() for _ in range(6)] == ["0", "1", "2", "3", "4", "5"]
        assert hub.counts.deliveries - before.deliveries == 6
        assert hub.counts.writes - before.writes == 1


async def test_who_joins_later_gets_nothing_earlier_and_who_leaves_gets_all_before(connect, server, hub):
    first = await opened(connect, server, "/listen?in=a")
    socket = next(iter(server.hall.connections))
    second = await opened(connect, server, "/listen?in=b")
    other = next(c for c in server.hall.connections if c is not socket)
    hub.publish("a", b"1")
    hub.join(other, "a")
    hub.publish("a", b"2")
    hub.leave(socket, "a")
    hub.publish("a", b"3")
    await asyncio.sleep(0)
    socket.close()
    other.close()
    assert (await first.reader.readuntil(b"\x88"))[:-1] == encode(TEXT, b"1") + encode(TEXT, b"2")
    assert (await second.reader.readuntil(b"\x88"))[:-1] == encode(TEXT, b"2") + encode(TEXT, b"3")


async def test_first_and_last_listeners_are_reported(connect, serve, app, log):
    hub = Hub(asyncio.get_running_loop(), on_first=lambda n: log.append(("first", n)),
              on_last=lambda n: log.append(("last", n)))  # fmt: skip

    class Nobody:
        fd, transport = -1, None
        writer = staticmethod(lambda data: None)
        channels = ()

    one, two = Nobody(), Nobody()
    hub.join(one, "a")
    hub.join(one, "a")
    hub.join(two, "a")
    hub.leave(one, "a")
    hub.drop(two)
    hub.drop(two)
    assert log == [("first", "a"), ("last", "a")]
    assert hub.publish("a", b"1") == 0
    assert hub.counts.channels == 0


async def test_channels_of_one_connection_are_bounded(hub):
    class Nobody:
        fd, transport = -1, None
        writer = staticmethod(lambda data: None)
        channels = ()

    nobody = Nobody()
    for index in range(1000):
        hub.join(nobody, str(index))
    with pytest.raises(Exception, match="1000"):
        hub.join(nobody, "one too many")


async def test_a_slow_reader_is_cut_and_nobody_else_notices(connect, server, hub, eventually):
    slow = await opened(connect, server, "/listen?in=a")
    slow_socket = next(iter(server.hall.connections))
    slow.writer.transport.pause_reading()
    quick = await opened(connect, server, "/listen?in=a")
    got = 0
    count = 0

    async def read():
        nonlocal got
        decoder_bytes = b""
        while True:
            decoder_bytes += await quick.reader.read(1 << 20)
            while len(decoder_bytes) >= 4 + 50_000:
                decoder_bytes = decoder_bytes[4 + 50_000 :]
                got += 1

    reading = asyncio.ensure_future(read())
    while slow_socket.channels:
        hub.publish("a", b"x" * 50_000)
        count += 1
        await eventually(lambda: got == count)  # noqa: B023  # awaited in this very turn
        assert slow_socket.transport.get_write_buffer_size() <= 200_000 + 50_004
    assert hub.listeners("a") == 1
    hub.publish("a", b"x" * 50_000)
    await eventually(lambda: got == count + 1)
    reading.cancel()
    slow.writer.transport.resume_reading()
    said = b""
    async with asyncio.timeout(5):
        while not said.endswith(b"connect again and catch up"):
            said = (said + await slow.reader.read(1 << 20))[-200:]
    assert int.from_bytes(said[said.rfind(b"\x88") + 2 :][:2]) == 1013


async def test_a_flood_of_pings_from_a_client_that_reads_no_answer_costs_no_memory(
    connect, server, eventually
):
    client = await opened(connect, server)
    (socket,) = server.hall.connections
    client.writer.transport.pause_reading()
    flood = masked(PING, b"x" * 125) * 1_000
    waiting = 0
    for _ in range(100):  # 13 MB of answers, if they were all kept
        await client.send(flood)
        waiting = max(waiting, socket.transport.get_write_buffer_size())
    assert waiting < 1_000_000
    quick = await opened(connect, server)
    await quick.send(masked(PING, b"me"))
    assert await quick.reader.readexactly(4) == encode(0xA, b"me")


async def test_nothing_is_written_to_whoever_got_the_number_of_a_closed_socket(connect, server, hub):
    await opened(connect, server, "/listen?in=a")
    (socket,) = server.hall.connections
    reading, writing = os.pipe()
    hub.publish("a", b"for somebody else")
    socket.transport.abort()
    os.dup2(writing, socket.fd)  # as the next connection would get it
    await asyncio.sleep(0)
    os.close(writing)
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):  # as long as the transport keeps it open
        assert os.read(reading, 100) == b""
    os.close(reading)


@pytest.mark.parametrize("hub", [SendRing.open, None], ids=["ring", "one-by-one"], indirect=True)
async def test_a_crowd_gets_all_of_it_once_and_in_order_though_one_of_it_does_not_read(connect, server, hub):
    crowd = [
        await opened(connect, server, f"/listen?in=all,{'odd' if number % 2 else 'even'}")
        for number in range(RING_FROM + 20)
    ]
    crowd[3].writer.transport.pause_reading()
    big = b"x" * 60_000  # three of them are less than what may wait for one who does not read
    for turn in range(3):
        hub.publish("all", b"%d" % turn)
        hub.publish("all", big)
        await asyncio.sleep(0)
        hub.publish("odd", b"odd %d" % turn)
        hub.publish("even", b"even %d" % turn)
        await asyncio.sleep(0)

    async def heard(number):
        kind = b"odd" if number % 2 else b"even"
        wanted = b"".join(
            encode(TEXT, b"%d" % turn) + encode(TEXT, big) + encode(TEXT, b"%s %d" % (kind, turn))
            for turn in range(3)
        )
        return await crowd[number].reader.readexactly(len(wanted)) == wanted

    async with asyncio.timeout(30):
        others = [number for number in range(len(crowd)) if number != 3]
        assert all(await asyncio.gather(*map(heard, others)))
        crowd[3].writer.transport.resume_reading()
        assert await heard(3)


@pytest.mark.parametrize("hub", [SendRing.open, None], ids=["ring", "one-by-one"], indirect=True)
async def test_whoever_leaves_or_joins_a_crowd_does_so_between_two_messages(connect, server, hub):
    crowd = [await opened(connect, server, "/listen?in=all") for _ in range(RING_FROM + 2)]
    (leaving,) = [
        one
        for one in server.hall.connections
        if one.transport.get_extra_info("peername") == (crowd[0].writer.get_extra_info("sockname"))
    ]
    hub.publish("all", b"first")
    await asyncio.sleep(0)
    hub.leave(leaving, "all")
    crowd[1].writer.transport.abort()
    hub.publish("all", b"second")
    late = await opened(connect, server, "/listen?in=all")
    hub.publish("all", b"third")
    leaving.send_text(b"end")
    first, second, third = (encode(TEXT, text) for text in (b"first", b"second", b"third"))
    async with asyncio.timeout(10):
        wanted = first + encode(TEXT, b"end")
        assert await crowd[0].reader.readexactly(len(wanted)) == wanted
        for one in crowd[2:]:
            assert await one.reader.readexactly(len(first + second + third)) == first + second + third
        assert await late.reader.readexactly(len(third)) == third
    assert hub.listeners("all") == RING_FROM + 1


async def test_a_reader_that_catches_up_stays(connect, server, hub, eventually):
    client = await opened(connect, server, "/listen?in=a")
    socket = next(iter(server.hall.connections))
    client.writer.transport.pause_reading()
    published = 0
    while socket.writer == socket.transport.write:
        hub.publish("a", b"x" * 50_000)
        published += 1
        await asyncio.sleep(0)
    client.writer.transport.resume_reading()
    await client.reader.readexactly(published * 50_004)
    await eventually(lambda: socket.writer == socket.transport.write)
    hub.publish("a", b"again")
    assert await client.reader.readexactly(7) == encode(TEXT, b"again")
