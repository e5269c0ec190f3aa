"""RFC 6455 case by case, in the categories of the Autobahn test suite: bytes in, frames and a close code out.

Each case is sent over a real connection to an endpoint that echoes messages. `said` is all that the server says
before it closes; `code` the status of its close frame. A case that is well-formed ends with the client's own close.
"""

import asyncio
import socket as sockets
from typing import NamedTuple

import pytest
from tests.unit.web.sockets.endpoints import shake

from twelvefold.kernel.clock import ManualClock
from twelvefold.web.application import Application
from twelvefold.web.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode, split
from twelvefold.web.guard import Guard
from twelvefold.web.socket_routes import Accepted, SocketHandler, SocketRoute

LIMIT = 4 << 20
MASK = b"\x37\xfa\x21\x3d"
BYTES = bytes(range(256)) * 16
GREEK = "κόσμε"
MIXED = "Hello-µ@ßöäüàá-UTF-8!!"
DEADLINE_SECONDS = 20


class Case(NamedTuple):
    """`chop`: how many bytes a write has; 0: all at once."""

    name: str
    sent: bytes
    said: list[tuple[int, bytes]]
    code: int
    chop: int = 0


def frame(opcode, payload=b"", *, fin=True, rsv=0, masked=True):
    """A client's frame. Long ones are masked with zeros, which is a mask like any other and costs nothing here."""
    size = len(payload)
    mask = MASK if size < 10_000 else bytes(4)
    bit = 0x80 if masked else 0
    head = bytes((0x80 * fin | rsv << 4 | opcode,))
    if size < 126:
        head += bytes((bit | size,))
    elif size < 1 << 16:
        head += bytes((bit | 126,)) + size.to_bytes(2)
    else:
        head += bytes((bit | 127,)) + size.to_bytes(8)
    if not masked:
        return head + payload
    if any(mask):
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + mask + payload


def pieces(opcode, payload, size):
    """A message in fragments of `size` bytes."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(
        frame(CONTINUATION if at else opcode, part, fin=at == len(parts) - 1) for at, part in enumerate(parts)
    )


def close(code=1000, reason=b""):
    return frame(CLOSE, code.to_bytes(2) + reason)


def good(name, sent, said, *, chop=0):
    """Well-formed: everything is answered, then the client closes with 1000 and is echoed."""
    return Case(name, sent + close(), said, 1000, chop)


def bad(name, sent, code=1002, said=(), *, chop=0):
    """The server says `said`, then closes with `code`; what follows the fault is not answered."""
    return Case(name, sent, list(said), code, chop)


def text(name, payload):
    """A text message that is UTF-8, whole and byte by byte."""
    echoed = [(TEXT, payload)]
    return [good(name, frame(TEXT, payload), echoed), good(f"{name}-bytes", pieces(TEXT, payload, 1), echoed)]


def garbled(name, payload):
    """A text message that is not UTF-8, whole, and byte by byte in fragments."""
    return [bad(name, frame(TEXT, payload), 1007), bad(f"{name}-bytes", pieces(TEXT, payload, 1), 1007)]


def _is_utf8(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


hello = frame(TEXT, b"Hello")
HELLO = (TEXT, b"Hello")
ping = frame(PING, b"p")
PONGED = (PONG, b"p")
start, end = frame(TEXT, b"one", fin=False), frame(CONTINUATION, b"two")
middle = frame(CONTINUATION, b"two", fin=False)

FRAMING = [
    good(f"1.{kind}.{size}.{chop}", frame(kind, body), [(kind, body)], chop=chop)
    for kind in (TEXT, BINARY)
    for size, chop in [(0, 0), (125, 0), (126, 0), (127, 0), (128, 0), (65535, 0), (65536, 0), (65536, 997)]
    for body in [b"*" * size if kind == TEXT else (BYTES * 16)[:size]]
]

PINGS = [
    good("2.1-empty", frame(PING), [(PONG, b"")]),
    good("2.2-text", frame(PING, b"Hello"), [(PONG, b"Hello")]),
    good("2.3-binary", frame(PING, b"\x00\xff\xfe\xfd"), [(PONG, b"\x00\xff\xfe\xfd")]),
    good("2.4-125-bytes", frame(PING, b"\xfe" * 125), [(PONG, b"\xfe" * 125)]),
    bad("2.5-126-bytes", frame(PING, b"\xfe" * 126)),
    good("2.6-125-bytes-chopped", frame(PING, b"\xfe" * 125), [(PONG, b"\xfe" * 125)], chop=1),
    good("2.7-pong-unasked", frame(PONG), []),
    good("2.8-pong-unasked-with-payload", frame(PONG, b"unasked"), []),
    good("2.9-pong-then-ping", frame(PONG, b"unasked") + ping, [PONGED]),
    *(
        good(f"2.10-ten-pings-{chop}", b"".join(frame(PING, b"%d" % n) for n in range(10)),
             [(PONG, b"%d" % n) for n in range(10)], chop=chop)
        for chop in (0, 1)
    ),
    bad("2.12-pong-126-bytes", frame(PONG, b"x" * 126)),
]  # fmt: skip

RESERVED_BITS = [
    bad("3.1-rsv-1", frame(TEXT, b"x", rsv=1)),
    bad("3.2-rsv-2-after-a-message", hello + frame(TEXT, b"x", rsv=2) + ping, said=[HELLO]),
    bad("3.3-rsv-3-frame-by-frame", hello + frame(TEXT, b"x", rsv=3) + ping, said=[HELLO], chop=11),
    bad("3.4-rsv-4-byte-by-byte", hello + frame(TEXT, b"x", rsv=4) + ping, said=[HELLO], chop=1),
    bad("3.5-rsv-5-binary", frame(BINARY, b"\x00\xff", rsv=5)),
    bad("3.6-rsv-6-ping", frame(PING, b"x", rsv=6)),
    bad("3.7-rsv-7-close", frame(CLOSE, b"\x03\xe8", rsv=7)),
]

OPCODES = [
    *(bad(f"4.1-opcode-{opcode}", frame(opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(
        bad(
            f"4.2-opcode-{opcode}-after-a-message-{chop}",
            hello + frame(opcode, b"x") + ping,
            said=[HELLO],
            chop=chop,
        )
        for opcode in (5, 13)
        for chop in (0, 1)
    ),
    bad("4.3-unmasked", frame(TEXT, b"Hello", masked=False)),
    bad("4.3-unmasked-ping", frame(PING, masked=False)),
]

FRAGMENTS = [
    bad("5.1-ping", frame(PING, b"a", fin=False) + end),
    bad("5.2-pong", frame(PONG, b"a", fin=False) + end),
    *(good(f"5.3-two-{chop}", start + end, [(TEXT, b"onetwo")], chop=chop) for chop in (0, 1, 7)),
    *(
        good(f"5.6-ping-between-{chop}", start + ping + end, [PONGED, (TEXT, b"onetwo")], chop=chop)
        for chop in (0, 1, 7)
    ),
    *(bad(f"5.9-nothing-to-continue-{chop}", end + hello, chop=chop) for chop in (0, 1, 9)),
    *(bad(f"5.12-nothing-to-continue-{chop}", middle + hello, chop=chop) for chop in (0, 1, 9)),
    bad("5.15-nothing-to-continue-any-more", start + end + middle + hello, said=[(TEXT, b"onetwo")]),
    bad("5.18-a-text-within-a-text", start + hello),
    bad("5.18-a-binary-within-a-text", start + frame(BINARY, b"x")),
    *(
        good(f"5.19-five-with-pings-{chop}", start + middle + ping + middle + middle + ping + end,
             [PONGED, PONGED, (TEXT, b"onetwotwotwotwo")], chop=chop)
        for chop in (0, 1)
    ),
    bad("5.21-close-fragmented", frame(CLOSE, b"\x03\xe8", fin=False)),
]  # fmt: skip

UTF8 = [
    good("6.1.1-empty", frame(TEXT), [(TEXT, b"")]),
    good("6.1.2-three-empty", frame(TEXT, fin=False) + frame(0, fin=False) + frame(0), [(TEXT, b"")]),
    good("6.1.3-middle", frame(TEXT, fin=False) + middle + frame(0), [(TEXT, b"two")]),
    *text("6.2-mixed", MIXED.encode()),
    *text("6.5-greek", GREEK.encode()),
    *garbled("6.3-mixed", GREEK.encode() + b"\xed\xa0\x80edited"),
    bad("6.4.1-fast-in-the-first-of-fragments", frame(TEXT, GREEK.encode() + b"\xf4\x90", fin=False), 1007),
    bad("6.4.2-fast-in-the-second", frame(TEXT, b"\xf4", fin=False) + frame(0, b"\x90", fin=False), 1007),
    bad("6.4.3-fast-on-a-ping-between", frame(TEXT, b"\xf4", fin=False) + ping + frame(0, b"\x90", fin=False), 1007,
        [PONGED]),
    *(
        case
        for size in range(1, len(GREEK.encode()))
        for whole in [GREEK.encode()[:size]]
        for case in (text(f"6.6-{size}", whole) if _is_utf8(whole) else garbled(f"6.6-{size}", whole))
    ),
    *(
        case
        for sequence in "00 7f c280 dfbf e0a080 efbfbf ed9fbf ee8080 efbfbd f0908080 f48fbfbf efbfbe f09fbfbf".split()
        for case in text(f"6.7-{sequence}", bytes.fromhex(sequence))
    ),
    *(
        case
        for sequence in (
            "f8888080 f88888808080 fbbfbfbfbf fc8480808080 fdbfbfbfbfbf f4908080 80 bf 80bf 80bf80bf c020 c3 e0 e080 f0"
            " f08080 f8 fc fe ff fefeffff c0af e080af f08080af f8808080af c1bf e09fbf f08fbfbf c080 e08080 f0808080"
            " eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf eda080edb080 edafbfedbfbf"
        ).split()
        for case in garbled(f"6.8-{sequence}", bytes.fromhex(sequence))
    ),
    good("6.24-binary-may-be-anything", frame(BINARY, b"\xff\xfe\xc0\xaf"), [(BINARY, b"\xff\xfe\xc0\xaf")]),
]  # fmt: skip

CLOSING = [
    good("7.1.1-after-a-message", hello, [HELLO]),
    Case("7.1.2-twice", close() + close(), [], 1000),
    Case("7.1.3-a-ping-after", close() + ping, [], 1000),
    Case("7.1.4-a-message-after", close() + hello, [], 1000),
    Case("7.1.5-within-a-message", start + close() + end, [], 1000),
    Case("7.1.6-behind-256-KiB", frame(TEXT, b"x" * (256 << 10)) + close() + ping, [(TEXT, b"x" * (256 << 10))], 1000),
    Case("7.3.1-empty", frame(CLOSE), [], 1005),
    bad("7.3.2-one-byte", frame(CLOSE, b"\x03")),
    Case("7.3.3-a-code", close(), [], 1000),
    Case("7.3.4-a-code-and-a-reason", close(1000, b"Hello"), [], 1000),
    Case("7.3.5-the-longest-reason", close(1000, b"*" * 123), [], 1000),
    bad("7.3.6-a-reason-too-long", close(1000, b"*" * 124)),
    bad("7.5.1-a-reason-that-is-not-utf8", close(1000, GREEK.encode() + b"\xed\xa0\x80"), 1007),
    *(
        Case(f"7.7-{code}", close(code), [], code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    ),
    *(
        bad(f"7.9-{code}", close(code))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
]  # fmt: skip

LENGTHS = [
    bad("9.0-a-short-length-in-16-bits", b"\x82\xfe\x00\x05" + MASK + b"12345"),
    bad("9.0-a-short-length-in-64-bits", b"\x82\xff" + (5).to_bytes(8) + MASK + b"12345"),
    bad("9.0-the-highest-bit", b"\x82\xff" + (1 << 63).to_bytes(8) + MASK),
    bad("9.0-the-largest-length", b"\x82\xff" + ((1 << 63) - 1).to_bytes(8) + MASK, 1009),
    bad("9.0-one-byte-too-many", frame(BINARY, bytes(LIMIT + 1)), 1009),
    bad("9.0-one-byte-too-many-in-two", pieces(BINARY, bytes(LIMIT + 1), LIMIT), 1009),
    *(
        good(f"9.1-{kind}-{size}", frame(kind, b"x" * size), [(kind, b"x" * size)])
        for kind in (TEXT, BINARY)
        for size in (1 << 16, 1 << 18, 1 << 20, LIMIT)
    ),
    *(
        good(
            f"9.3-{kind}-fragments-of-{size}",
            pieces(kind, b"y" * (1 << 18), size),
            [(kind, b"y" * (1 << 18))],
        )
        for kind in (TEXT, BINARY)
        for size in (64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
    ),
    *(
        good(f"9.5-text-chopped-{chop}", frame(TEXT, b"z" * (1 << 18)), [(TEXT, b"z" * (1 << 18))], chop=chop)
        for chop in (64, 997, 1 << 14)
    ),
    *(
        good(
            f"9.7-{kind}-200-messages-of-{size}", frame(kind, b"m" * size) * 200, [(kind, b"m" * size)] * 200
        )
        for kind in (TEXT, BINARY)
        for size in (0, 16, 64, 256, 1024, 4096)
    ),
    good("10.1.1-fragments-of-1300", pieces(TEXT, b"*" * 65536, 1300), [(TEXT, b"*" * 65536)]),
]

# Compression (12, 13) is not offered: a client that asks for it gets none, and its RSV1 is a fault.
ASKS_FOR_DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
COMPRESSION = [
    bad("12.1-compressed-text", frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)),
    bad("12.2-a-bomb", frame(BINARY, b"\xec\xc1\x01\x01" + bytes(1000), rsv=4)),
    good("13.1-plain-text", hello, [HELLO]),
]
CASES = [*FRAMING, *PINGS, *RESERVED_BITS, *OPCODES, *FRAGMENTS, *UTF8, *CLOSING, *LENGTHS]


class Echo(SocketHandler):
    def received(self, socket, message):
        if isinstance(message, str):
            socket.send_text(message.encode())
        else:
            socket.send(encode(BINARY, message))


@pytest.fixture
async def server(serve):
    async def echo(_handshake):
        return Accepted(handler=Echo(), max_message_bytes=LIMIT, max_backlog_bytes=4 * LIMIT)

    guard = Guard(None, ManualClock())  # no credentials are shown, so none are asked about
    return await serve(Application(sockets=(SocketRoute("/echo", echo),), guard=guard, version="0"))


async def run(server, case, more=""):
    """Send a case's bytes; returns the head of the answer and the frames until the server ends its side."""
    loop = asyncio.get_running_loop()
    with sockets.socket() as raw:
        raw.setblocking(False)
        raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await loop.sock_connect(raw, ("127.0.0.1", server.port))
            await loop.sock_sendall(raw, shake(more=more))
            head = bytearray()
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(raw, 1)
            reading = asyncio.create_task(_read(loop, raw))
            size = case.chop or len(case.sent)
            for at in range(0, len(case.sent), size):
                await loop.sock_sendall(raw, case.sent[at : at + size])
                await asyncio.sleep(0)
            return bytes(head), split(await reading)


async def _read(loop, raw):
    said = bytearray()
    while data := await loop.sock_recv(raw, 1 << 18):
        said += data
    return bytes(said)


def check(case, found):
    assert found, "nothing was said"
    opcode, payload = found[-1]
    assert opcode == CLOSE
    assert (int.from_bytes(payload[:2]) if payload else 1005) == case.code
    assert found[:-1] == case.said


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_the_server_answers_as_rfc_6455_says(server, case):
    head, found = await run(server, case)
    assert head.startswith(b"HTTP/1.1 101 ")
    check(case, found)


@pytest.mark.parametrize("case", COMPRESSION, ids=[case.name for case in COMPRESSION])
async def test_compression_is_not_agreed_on_and_its_bit_is_a_fault(server, case):
    head, found = await run(server, case, ASKS_FOR_DEFLATE)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-extensions" not in head.lower()
    check(case, found)


def test_each_case_has_a_name_of_its_own():
    names = [case.name for case in CASES + COMPRESSION]
    assert len(set(names)) == len(names)
