"""Where a server is and how to enter: `unix://`, `valkey://`, `redis://`, and with TLS `valkeys://`, `rediss://`.

The text form never shows the password, so an address may stand in logs and errors.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from twelvefold.kernel.errors import ConfigurationError

DEFAULT_PORT = 6379
SCHEMES = ("unix", "valkey", "redis", "valkeys", "rediss")
PARAMETERS = ("cluster", "db")
_MAX_PORT = 65_535


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One server. Either `path` (a unix socket) or `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False
    cluster: bool = False

    def __str__(self) -> str:
        scheme = "unix" if self.path else "valkeys" if self.tls else "valkey"
        user = f"{self.user or 'default'}:***@" if self.user or self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = self.path or f"{host}:{self.port}"
        return f"{scheme}://{user}{where}"

    def at(self, host: str, port: int) -> "Address":
        """The same way in, to another node of the cluster."""
        return msgspec.structs.replace(self, path="", host=host, port=port)


def parse_address(url: str) -> Address:
    """Read a URL. Raises `ConfigurationError` that says what is wrong, without the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(url, str(error)) from error
    if parts.scheme not in SCHEMES:
        raise _refused(url, f"it begins with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    query = _parameters(url, parts.query)
    is_unix = parts.scheme == "unix"
    if is_unix and not parts.path:
        raise _refused(url, "a unix socket needs a path, as in unix:///run/valkey.sock")
    if not is_unix and not parts.hostname:
        raise _refused(url, "it names no host, as in valkey://localhost:6379")
    if is_unix and parts.hostname:
        raise _refused(url, "a socket's path begins with a slash: unix:///run/valkey.sock")
    if port == 0:
        raise _refused(url, f"a port is a number from 1 to {_MAX_PORT}")
    database = query.get("db", "0") if is_unix else parts.path.strip("/") or query.get("db", "0")
    if not database.isdecimal():
        raise _refused(url, f"a database is a number, not '{database}'")
    cluster = query.get("cluster", "false") in ("true", "1", "yes")
    if cluster and (is_unix or database != "0"):
        raise _refused(url, "a cluster is reached over TCP and has only database 0")
    return Address(
        path=unquote(parts.path) if is_unix else "",
        host=parts.hostname or "",
        port=port or DEFAULT_PORT,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=int(database),
        tls=parts.scheme in ("valkeys", "rediss"),
        cluster=cluster,
    )


def _parameters(url: str, query: str) -> Mapping[str, str]:
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for name in parameters:
        if name not in PARAMETERS:
            raise _refused(url, f"unknown parameter '{name}'; known: {', '.join(PARAMETERS)}")
    return parameters


def _refused(url: str, reason: str) -> ConfigurationError:
    scheme, separator, rest = url.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}" if separator else rest or scheme
    return ConfigurationError(f"'{shown}' is not an address of a Valkey server: {reason}")
