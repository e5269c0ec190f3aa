"""Envoy's rate-limit service with grpcio, and with frames that no good client sends."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Self

import grpc
import pytest
from hpack import Encoder
from tests.systems.limiter.house import House

from twelvefold.systems.limiter.compat.grpc.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    frame,
)
from twelvefold.systems.limiter.compat.grpc.messages import _fields, varint

pytestmark = pytest.mark.wire

PATH = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CONFIG = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 3}
  - key: user
    value: vip*
    rate_limit: {unit: hour, requests_per_unit: 5}
  - key: user
    value: vip-gold
    rate_limit: {unlimited: true}
  - key: path
    descriptors:
      - key: method
        value: POST
        rate_limit: {unit: minute, requests_per_unit: 1, name: posts}
      - key: method
        value: GET
        rate_limit: {unit: minute, requests_per_unit: 100, replaces: [{name: posts}]}
  - key: watched
    shadow_mode: true
    rate_limit: {unit: hour, requests_per_unit: 1}
  - key: banned
    rate_limit: {unit: hour, requests_per_unit: 0}
  - key: tokens
    rate_limit: {unit: hour, requests_per_unit: 100, algorithm: token_bucket}
  - key: shared
    value: team-*
    share_threshold: true
    rate_limit: {unit: hour, requests_per_unit: 1}
"""


def text(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def question(
    *descriptors: list[tuple[str, str]], domain: str = "shop", hits: int = 0, own: int | None = None
) -> bytes:
    parts = [text(1, domain)]
    for entries in descriptors:
        inner = b"".join(text(1, text(1, key) + text(2, value)) for key, value in entries)
        if own is not None:
            inner += text(3, b"\x08" + varint(own))
        parts.append(text(2, inner))
    if hits:
        parts.append(b"\x18" + varint(hits))
    return b"".join(parts)


def answer_of(data: bytes) -> tuple[int, list[dict[int, object]], dict[str, str]]:
    fields = list(_fields(data))
    overall = next(int(value) for number, value in fields if number == 1)
    statuses = [dict(_fields(value)) for number, value in fields if number == 2]  # type: ignore[arg-type]
    headers = {}
    for number, value in fields:
        if number == 3:
            pair = dict(_fields(value))  # type: ignore[arg-type]
            headers[pair[1].decode()] = pair[2].decode()  # type: ignore[union-attr]
    return overall, statuses, headers


Ask = Callable[..., object]


@pytest.fixture
async def ask(house: House) -> AsyncIterator[Ask]:
    assert (await house.ask("PUT", "/envoy", {"source": CONFIG})).status_code == 200
    async with grpc.aio.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        method = channel.unary_unary(PATH)
        metadata = (("authorization", f"Bearer {house.key}"),)

        async def ask(*descriptors: list[tuple[str, str]], **more: object) -> object:
            return answer_of(await method(question(*descriptors, **more), metadata=metadata, timeout=10))  # type: ignore[arg-type]

        yield ask


async def test_a_limit_is_counted_and_told(ask: Ask) -> None:
    answers = [await ask([("user", "ann")]) for _ in range(4)]  # type: ignore[misc]
    assert [answer[0] for answer in answers] == [1, 1, 1, 2]
    assert [answer[1][0].get(3, 0) for answer in answers] == [2, 1, 0, 0]
    limit = dict(_fields(answers[0][1][0][2]))
    assert limit == {1: 3, 2: 3}
    assert answers[3][2]["retry-after"].isdigit()
    assert answers[3][2]["x-ratelimit-limit"] == "3"
    assert answers[0][2] == {}


async def test_descriptors_match_at_their_depth_and_the_most_specific_value_wins(ask: Ask) -> None:
    assert [(await ask([("user", "vip-7")]))[1][0].get(3, 0) for _ in range(2)] == [4, 3]  # type: ignore[misc]
    assert (await ask([("user", "vip-gold")]))[1][0][3] == 4_294_967_295  # type: ignore[misc]
    # A deeper or shallower descriptor is another descriptor, and so is another order.
    for other in (
        [("path", "/a")],
        [("user", "x"), ("path", "/a")],
        [("method", "POST"), ("path", "/a")],
        [],
    ):
        overall, statuses, _ = await ask(other)  # type: ignore[misc]
        assert (overall, statuses) == (1, [{1: 1}])
    assert (await ask([("path", "/a"), ("method", "POST")]))[0] == 1  # type: ignore[misc]
    assert (await ask([("path", "/a"), ("method", "POST")]))[0] == 2  # type: ignore[misc]
    assert (await ask([("path", "/b"), ("method", "POST")]))[0] == 1  # type: ignore[misc]


async def test_any_descriptor_over_its_limit_refuses_and_the_others_are_not_debited(ask: Ask) -> None:
    overall, statuses, _ = await ask([("user", "bob")], [("banned", "x")])  # type: ignore[misc]
    assert (overall, [status[1] for status in statuses]) == (2, [1, 2])
    assert (await ask([("user", "bob")]))[1][0].get(3, 0) == 2  # type: ignore[misc]


async def test_a_replaced_limit_is_not_asked(ask: Ask) -> None:
    both = ([("path", "/r"), ("method", "POST")], [("path", "/r"), ("method", "GET")])
    for _ in range(3):
        overall, statuses, _ = await ask(*both)  # type: ignore[misc]
        assert (overall, statuses[0]) == (1, {1: 1})


async def test_costs_come_from_the_request_or_the_descriptor(ask: Ask) -> None:
    assert (await ask([("user", "c")], hits=2))[1][0].get(3, 0) == 1  # type: ignore[misc]
    assert (await ask([("user", "c")], hits=2))[0] == 2  # type: ignore[misc]
    assert (await ask([("user", "c")], hits=2, own=1))[1][0].get(3, 0) == 0  # type: ignore[misc]
    assert (await ask([("tokens", "c")], own=0))[1][0][3] == 100  # type: ignore[misc]


async def test_shadows_and_shared_thresholds(ask: Ask) -> None:
    assert [(await ask([("watched", "x")]))[0] for _ in range(3)] == [1, 1, 1]  # type: ignore[misc]
    assert [(await ask([("shared", f"team-{n}")]))[0] for n in range(2)] == [1, 2]  # type: ignore[misc]


async def test_an_unknown_domain_limits_nothing_and_a_request_may_bring_its_own_limit(ask: Ask) -> None:
    assert (await ask([("user", "x")], domain="other"))[:2] == (1, [{1: 1}])  # type: ignore[misc]


async def test_a_changed_configuration_is_followed_without_a_restart(house: House, ask: Ask) -> None:
    assert (await ask([("banned", "x")]))[0] == 2  # type: ignore[misc]
    changed = CONFIG.replace("requests_per_unit: 0", "requests_per_unit: 7")
    assert (await house.ask("PUT", "/envoy", {"source": changed})).status_code == 200
    assert (await ask([("banned", "x")]))[1][0][3] == 6  # type: ignore[misc]


async def test_errors_have_grpc_codes(house: House) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{house.grpc_port}") as channel:
        metadata = (("authorization", f"Bearer {house.key}"),)
        cases = [
            (PATH, question([("a", "b")]), (), grpc.StatusCode.UNAUTHENTICATED),
            (
                PATH,
                question([("a", "b")]),
                (("authorization", "Bearer tf_x"),),
                grpc.StatusCode.UNAUTHENTICATED,
            ),
            ("/no.Such/Method", b"", metadata, grpc.StatusCode.UNIMPLEMENTED),
            (PATH, b"\xff\xff\xff", metadata, grpc.StatusCode.INVALID_ARGUMENT),
            (PATH, b"\x0a\x05ab", metadata, grpc.StatusCode.INVALID_ARGUMENT),
            (PATH, question([("a", "b")], domain=""), metadata, grpc.StatusCode.INVALID_ARGUMENT),
            (PATH, question(*[[("a", "b")]] * 17), metadata, grpc.StatusCode.INVALID_ARGUMENT),
            (PATH, question([("a", "b" * 70_000)]), metadata, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ]
        for path, data, sent, code in cases:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(data, metadata=sent, timeout=10)
            assert caught.value.code() == code, (path, data[:20])


async def test_a_hundred_calls_at_once_on_one_connection(house: House, ask: Ask) -> None:
    answers = await asyncio.gather(*(ask([("tokens", "x")]) for _ in range(150)))  # type: ignore[arg-type]
    assert sum(answer[0] == 1 for answer in answers) == 100  # type: ignore[index]


# -- frames that grpcio does not send -------------------------------------------------------------


class Peer:
    """A client that writes frames by hand."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.encoder = Encoder()

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.house.grpc_port)
        self.writer.write(PREFACE + frame(SETTINGS, 0, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def block(self, path: str = PATH) -> bytes:
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
            ("content-type", "application/grpc"), ("authorization", f"Bearer {self.house.key}"),
        ]  # fmt: skip
        return bytes(self.encoder.encode(headers))

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def until(self, kind: int, stream: int | None = None) -> tuple[int, int, bytes]:
        """The next frame of a kind: flags, stream, payload."""
        async with asyncio.timeout(10):
            while True:
                head = await self.reader.readexactly(9)
                size, got, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                number = int.from_bytes(head[5:], "big")
                payload = await self.reader.readexactly(size)
                if got == kind and stream in (None, number):
                    return flags, number, payload


def message(data: bytes) -> bytes:
    return b"\x00" + len(data).to_bytes(4, "big") + data


ONE = message(question([("user", "raw")], domain="nowhere"))


async def test_padding_priority_continuation_and_split_data_are_read(house: House) -> None:
    async with Peer(house) as peer:
        block = peer.block()
        peer.send(
            frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x03" + b"\0" * 5 + block + b"\0" * 3)
        )
        for number, byte in enumerate(ONE):
            last = END_STREAM if number == len(ONE) - 1 else 0
            peer.send(frame(DATA, PADDED | last, 1, b"\x01" + bytes((byte,)) + b"\0"))
        assert (await peer.until(DATA, 1))[2][5:7] == b"\x08\x01"
        block = peer.block()
        peer.send(frame(HEADERS, 0, 3, block[:1]), frame(CONTINUATION, 0, 3, block[1:2]))
        peer.send(frame(CONTINUATION, END_HEADERS, 3, block[2:]), frame(DATA, END_STREAM, 3, ONE))
        assert (await peer.until(DATA, 3))[2][5:7] == b"\x08\x01"


async def test_the_tables_state_is_kept_across_requests_and_streams_may_interleave(house: House) -> None:
    async with Peer(house) as peer:
        for stream in range(1, 41, 4):
            peer.send(frame(HEADERS, END_HEADERS, stream, peer.block(PATH if stream % 8 == 1 else "/x.Y/Z")))
            peer.send(frame(HEADERS, END_HEADERS, stream + 2, peer.block()))
            peer.send(frame(DATA, 0, stream, ONE[:7]), frame(DATA, 0, stream + 2, ONE[:3]))
            peer.send(frame(DATA, END_STREAM, stream + 2, ONE[3:]), frame(DATA, END_STREAM, stream, ONE[7:]))
            await peer.until(DATA, stream + 2)


async def test_an_answer_waits_for_windows_of_one_byte(house: House) -> None:
    async with Peer(house) as peer:
        peer.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 0x4, 1)))
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(DATA, END_STREAM, 1, ONE))
        got = b""
        while len(got) < 11:
            _flags, _, payload = await peer.until(DATA, 1)
            assert len(payload) == 1
            got += payload
            peer.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
        assert got[:1] == b"\0"
        assert (await peer.until(HEADERS, 1))[0] & END_STREAM


async def test_a_compressed_message_is_refused_and_a_ping_is_answered(house: House) -> None:
    async with Peer(house) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(DATA, END_STREAM, 1, b"\x01" + ONE[1:]))
        assert b"grpc-status\x0212" in (await peer.until(HEADERS, 1))[2]
        peer.send(frame(PING, 0, 0, b"12345678"))
        assert await peer.until(PING) == (1, 0, b"12345678")


async def test_after_goaway_calls_under_way_are_answered_and_the_connection_ends(house: House) -> None:
    async with Peer(house) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(GOAWAY, 0, 0, b"\0" * 8))
        peer.send(frame(DATA, END_STREAM, 1, ONE))
        await peer.until(DATA, 1)
        async with asyncio.timeout(10):
            while await peer.reader.read(1000):
                pass


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(DATA, 0, 1, b"x"), 1),
        (frame(HEADERS, END_HEADERS, 2, b""), 1),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff"), 9),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff"), 1),
        (frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, b"12345678"), 1),
        (frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"") * 20, 11),
        (frame(CONTINUATION, END_HEADERS, 1, b""), 1),
        (frame(PING, 0, 0, b"1"), 6),
        (frame(SETTINGS, 0, 0, b"12345"), 6),
        (frame(SETTINGS, 0, 1), 1),
        (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), 3),
        (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0)), 1),
        (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)), 3),
        (frame(RST_STREAM, 0, 9, b"\0\0\0\0"), 1),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 6),
        (frame(PING, 0, 0, b"12345678") * 1100, 11),
    ],
)
async def test_broken_peers_are_told_why_and_closed(house: House, frames: bytes, code: int) -> None:
    async with Peer(house) as peer:
        peer.send(frames)
        assert int.from_bytes((await peer.until(GOAWAY))[2][4:8], "big") == code
        async with asyncio.timeout(10):
            while await peer.reader.read(1000):
                pass


async def test_a_flood_of_cancelled_calls_ends_the_connection(house: House) -> None:
    async with Peer(house) as peer:
        for stream in range(1, 601, 2):
            peer.send(
                frame(HEADERS, END_HEADERS, stream, peer.block()), frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
            )
        assert int.from_bytes((await peer.until(GOAWAY))[2][4:8], "big") == 11


async def test_what_is_not_http2_is_closed(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.grpc_port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(10):
        while await reader.read(1000):
            pass
    writer.close()
