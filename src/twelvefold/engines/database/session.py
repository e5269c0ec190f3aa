"""One connection to PostgreSQL: how it is opened, and the few words we speak on it.

Invariant: every wait has an end. The server cancels a statement at its deadline; a server that does
not even do that (stopped, unreachable) is given up a second later, and its connection with it.
"""

import abc
import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec

from twelvefold.engines.database.errors import ENGINE, first_line
from twelvefold.kernel.errors import ConfigurationError, EngineUnavailableError

if TYPE_CHECKING:

    class Record(Protocol):
        """A row: by position, by column name, unpacked, or as a mapping (`dict(row)`)."""

        def __getitem__(self, key: int | str) -> Any: ...
        def __iter__(self) -> Iterator[Any]: ...
        def __len__(self) -> int: ...
        def get(self, key: str, default: Any = None) -> Any: ...  # noqa: D102
        def keys(self) -> Iterator[str]: ...  # noqa: D102
        def values(self) -> Iterator[Any]: ...  # noqa: D102
        def items(self) -> Iterator[tuple[str, Any]]: ...  # noqa: D102
else:
    Record = asyncpg.Record

CONNECT_SECONDS = 4.0
"""Below the five seconds within which a wrong address must be reported."""

GRACE_SECONDS = 1.0
"""How much later than the server we give a statement up."""

STATEMENT_CACHE = 512
"""Prepared statements kept a connection; twelve systems have a few dozen each."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


async def connect(url: str, *, name: str, deadline_seconds: float) -> asyncpg.Connection:
    """Open a connection. Raises `EngineUnavailableError` with one line, `ConfigurationError` for a bad URL.

    Args:
        url: `postgresql://user:password@host:port/database`, or `…@/database?host=/socket/folder`.
        name: shown by the server for this connection.
        deadline_seconds: after which the server cancels a statement.
    """
    connection: asyncpg.Connection | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_SECONDS,
                statement_cache_size=STATEMENT_CACHE,
                max_cached_statement_lifetime=0,
                server_settings={
                    "application_name": name,
                    "statement_timeout": str(int(deadline_seconds * 1000)),
                    "idle_in_transaction_session_timeout": "60000",
                },
            )
            await _set_json_codecs(connection)
    except (ValueError, asyncpg.exceptions.ClientConfigurationError) as error:
        raise ConfigurationError(f"the database's URL cannot be used: {first_line(error)}") from error
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.exceptions.InternalClientError,
    ) as error:
        if connection is not None:
            connection.terminate()
        reason = "no answer" if isinstance(error, TimeoutError) else first_line(error)
        raise EngineUnavailableError(ENGINE, f"cannot connect to {describe(url)}: {reason}") from error
    except BaseException:
        if connection is not None:
            connection.terminate()
        raise
    return connection


def describe(url: str) -> str:
    """A database's address without its password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.username or ''}@{host}{port}{parts.path}"
    return "the database"


async def _set_json_codecs(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary"
    )
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )


def _encode_jsonb(value: Any) -> bytes:
    return b"\x01" + _encode(value)  # version 1 of the binary form


def _decode_jsonb(data: bytes) -> Any:
    return _decode(memoryview(data)[1:])


class Verbs(abc.ABC):
    """The words of a database and of a transaction; each says them on a connection of its own choice.

    SQL uses `$1`, `$2` … for arguments. All raise the errors of `database.errors`.
    """

    @abc.abstractmethod
    async def _run(self, speak: Callable[[asyncpg.Connection, float], Any]) -> Any:
        """Call `speak` with a connection and the client's limit in seconds."""

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """All rows."""
        rows: list[Record] = await self._run(
            lambda connection, limit: connection.fetch(sql, *args, timeout=limit)
        )
        return rows

    async def fetch_row(self, sql: str, *args: Any) -> Record | None:
        """The first row, or None."""
        row: Record | None = await self._run(
            lambda connection, limit: connection.fetchrow(sql, *args, timeout=limit)
        )
        return row

    async def fetch_value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        return await self._run(lambda connection, limit: connection.fetchval(sql, *args, timeout=limit))

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement (without args: any number); returns the server's tag, such as `UPDATE 3`."""
        tag: str = await self._run(lambda connection, limit: connection.execute(sql, *args, timeout=limit))
        return tag

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of arguments, all or nothing."""
        await self._run(lambda connection, limit: connection.executemany(sql, rows, timeout=limit))

    async def copy(
        self, schema: str, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]
    ) -> int:
        """Append rows by COPY, all or nothing; returns their number. The fastest way in for many rows.

        An error of the iterable, or of a value of the wrong type in it, passes through.
        """
        tag = await self._run(
            lambda connection, limit: connection.copy_records_to_table(
                table, schema_name=schema, columns=list(columns), records=records, timeout=limit
            )
        )
        return int(tag.rpartition(" ")[2])
