"""Taking a port: clear words when it is taken, sharing it between the processes of one server, and who called."""

import asyncio
import errno
import socket
from typing import Any

from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from twelvefold.kernel.errors import ConfigurationError

_FIRST_PRIVILEGED_FREE = 1024


def bind(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A bound, not yet listening, TCP socket. Raises `ConfigurationError` naming the port and the fix.

    `shared`: others may bind the same port with SO_REUSEPORT (the web processes of one server).
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigurationError(
            f"server.host: '{host}' is not an address of this machine ({error.strerror}); "
            "127.0.0.1 is this machine alone, 0.0.0.0 all its networks",
            field="server.host",
        ) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _explained(error, host, port) from error
    sock.setblocking(False)
    return sock


def reserve(host: str, port: int) -> socket.socket:
    """Take `port` (0: any free one) for this server's processes; keep the socket open meanwhile.

    A port that any other program listens on is refused, also when that program allows sharing.
    """
    # Without SO_REUSEPORT, bind fails for a port that somebody listens on, whatever they set.
    with bind(host, port, shared=False) as probe:
        chosen = probe.getsockname()[1]
    return bind(host, chosen, shared=True)


def _explained(error: OSError, host: str, port: int) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        text = f"port {port} on {host} is taken by another program; stop it, or choose another with --port"
    elif error.errno in (errno.EACCES, errno.EPERM) and port < _FIRST_PRIVILEGED_FREE:
        text = f"port {port} needs privileges; choose one from {_FIRST_PRIVILEGED_FREE} up with --port"
    elif error.errno == errno.EADDRNOTAVAIL:
        text = f"server.host: {host} is not an address of this machine"
    else:
        text = f"{host}:{port} cannot be bound: {error.strerror}"
    return ConfigurationError(text, field="server.port")


def ends_of(transport: asyncio.Transport) -> tuple[Any, Any]:
    """`(host, port)` of our end of a connection and of the other, as a scope has them; None for one without.

    Asked of a socket that is ours for a moment: uvloop's keeps what it was asked, 300 bytes as long as the
    connection lives.
    """
    kept = transport.get_extra_info("socket")
    if kept is None or kept.family not in (socket.AF_INET, socket.AF_INET6):
        return get_local_addr(transport), get_remote_addr(transport)
    try:
        sock = socket.socket(kept.family, kept.type, kept.proto, fileno=kept.fileno())
    except OSError:
        return None, None
    try:
        return sock.getsockname()[:2], sock.getpeername()[:2]
    except OSError:  # it has gone already
        return None, None
    finally:
        sock.detach()
