"""The few Redis commands besides CL.THROTTLE that ordinary clients send before and around it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from twelvefold.kernel.tenancy import TenantId

_OK: Final = b"+OK\r\n"


class Client(Protocol):
    """A connection as these commands see it."""

    tenant: TenantId | None
    door: Any

    def say(self, data: bytes) -> None:
        """Answer."""

    def leave(self, data: bytes) -> None:
        """Answer, and close."""

    def login(self, secret: bytes, then: bytes) -> None:
        """Verify an API key, and answer `then` if it is one."""


def bulk(data: bytes) -> bytes:
    """A text of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _auth(client: Client, command: Sequence[bytes]) -> None:
    if not 2 <= len(command) <= 3:
        client.say(b"-ERR AUTH [username] api_key\r\n")
        return
    client.login(command[-1], _OK)


def _hello(client: Client, command: Sequence[bytes]) -> None:
    version = command[1] if len(command) > 1 else b"2"
    if version not in (b"2", b"3"):
        client.say(b"-NOPROTO unsupported protocol version\r\n")
        return
    fields = (b"server", b"twelvefold", b"version", b"7.4.0", b"mode", b"standalone", b"role", b"master")
    head = b"%%%d\r\n" % 6 if version == b"3" else b"*%d\r\n" % 12
    body = b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in fields)
    greeting = head + body + b"$5\r\nproto\r\n:%b\r\n$7\r\nmodules\r\n*0\r\n" % version
    words = [word.upper() for word in command[2:]]
    if b"AUTH" in words:
        place = 2 + words.index(b"AUTH") + 2
        if place >= len(command):
            client.say(b"-ERR HELLO protocol AUTH username api_key\r\n")
        else:
            client.login(command[place], greeting)
    elif client.tenant is None:
        client.say(b"-NOAUTH HELLO must be called with the client already authenticated\r\n")
    else:
        client.say(greeting)


def _ping(client: Client, command: Sequence[bytes]) -> None:
    client.say(b"+PONG\r\n" if len(command) == 1 else bulk(command[1]))


def _echo(client: Client, command: Sequence[bytes]) -> None:
    client.say(bulk(command[1]) if len(command) == 2 else b"-ERR ECHO message\r\n")


def _quit(client: Client, command: Sequence[bytes]) -> None:
    del command
    client.leave(_OK)


def _select(client: Client, command: Sequence[bytes]) -> None:
    client.say(_OK if command[1:] == [b"0"] else b"-ERR DB index is out of range\r\n")


def _client(client: Client, command: Sequence[bytes]) -> None:
    verb = command[1].upper() if len(command) > 1 else b""
    if verb == b"ID":
        client.say(b":%d\r\n" % (id(client) & 0x7FFFFFFF))
    elif verb in (b"GETNAME", b"INFO"):
        client.say(bulk(b""))
    elif verb in (b"SETNAME", b"SETINFO", b"NO-EVICT", b"NO-TOUCH"):
        client.say(_OK)
    else:
        client.say(b"-ERR CLIENT knows ID, GETNAME, SETNAME and SETINFO here\r\n")


def _info(client: Client, command: Sequence[bytes]) -> None:
    del command
    client.say(
        bulk(
            b"# Server\r\nredis_version:7.4.0\r\nserver_name:twelvefold\r\nredis_mode:standalone\r\n"
            b"# Clients\r\nconnected_clients:%d\r\n# Stats\r\ndecisions:%d\r\n"
            % (len(client.door.connections), client.door.limiter.tally.decided)
        )
    )


def _commands(client: Client, command: Sequence[bytes]) -> None:
    verb = command[1].upper() if len(command) > 1 else b""
    if verb == b"COUNT":
        client.say(b":1\r\n")
    elif verb == b"DOCS":
        client.say(b"*0\r\n")
    else:
        client.say(b"*1\r\n*6\r\n$11\r\ncl.throttle\r\n:-5\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n")


def _config(client: Client, command: Sequence[bytes]) -> None:
    """redis-benchmark asks for two settings before it begins."""
    if len(command) != 3 or command[1].upper() != b"GET":
        client.say(b"-ERR settings are not changed here\r\n")
    else:
        client.say(b"*2\r\n" + bulk(command[2]) + bulk(b""))


HANDLERS: Final[Mapping[bytes, Callable[[Client, Sequence[bytes]], None]]] = {
    b"AUTH": _auth,
    b"HELLO": _hello,
    b"PING": _ping,
    b"ECHO": _echo,
    b"QUIT": _quit,
    b"SELECT": _select,
    b"CLIENT": _client,
    b"INFO": _info,
    b"COMMAND": _commands,
    b"CONFIG": _config,
}
OPEN: Final = frozenset({b"AUTH", b"HELLO", b"PING", b"QUIT", b"CLIENT"})
"""What may be said before the key has been shown."""
