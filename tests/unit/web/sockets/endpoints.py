"""What the tests of sockets speak to, and how they speak below any client's library."""

from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web.frames import BINARY, encode
from twelvefold.web.socket_routes import SocketHandler

KEY = "dGhlIHNhbXBsZSBub25jZQ=="

SHAKE = (
    "GET {path} HTTP/1.1\r\nHost: s.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n{more}\r\n"
)


def shake(path="/echo", *, key=KEY, version="13", more=""):
    return SHAKE.format(path=path, key=key, version=version, more=more).encode()


def masked(opcode, payload=b"", *, fin=True):
    mask = b"\x37\xfa\x21\x3d"
    size = len(payload)
    head = bytes((0x80 * fin | opcode, 0x80 | size)) if size < 126 else (
        bytes((0x80 * fin | opcode, 0xFE)) + size.to_bytes(2))  # fmt: skip
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Echo(SocketHandler):
    def __init__(self, log):
        self.log = log

    def opened(self, socket):
        self.log.append("opened")

    def received(self, socket, message):
        self.log.append(message)
        if message == "boom":
            raise RuntimeError("boom")
        if message == "bye":
            socket.close(4001, "as you wish")
        elif isinstance(message, str):
            socket.send_text(message.encode())
        else:
            socket.send(encode(BINARY, message))

    def closed(self, socket, code):
        self.log.append(("closed", code))


class Listener(SocketHandler):
    """Listens to the channels named in the query."""

    def __init__(self, hub, names):
        self.hub, self.names = hub, names

    def opened(self, socket):
        for name in self.names:
            self.hub.join(socket, name)


class Keys:
    async def principal_of_key(self, key):
        scopes = {"good": frozenset({"room:read"}), "narrow": frozenset()}.get(key)
        return (
            None if scopes is None else Principal(tenant_id=TenantId(1), key_id=1, scopes=scopes, tier="free")
        )

    async def principal_of_session(self, token):
        return await self.principal_of_key(token)


async def opened(connect, server, path="/echo"):
    client = await connect(server)
    await client.send(shake(path))
    status, headers, _ = await client.response(head=True)
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    return client


async def close_code(client):
    """The code of the close frame that ends what the server says."""
    said = await client.rest()
    assert said[-2 - 125 :].rfind(b"\x88") >= 0, said
    at = said.rfind(b"\x88")
    return int.from_bytes(said[at + 2 : at + 4])
