"""DuckDB, inside this process: reads Parquet files, and merges them.

Invariant: a query does not outlive its deadline by more than a moment, takes no more memory than the limit
(sorts spill to `scratch`), and can read nothing but the given folders. DuckDB is imported at the first query:
it costs 34 MB, which a process that only appends should not pay.
"""

import asyncio
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twelvefold.engines.events.columns import SQL_TYPES
from twelvefold.engines.events.contract import (
    MAX_RESULT_ROWS,
    EventQueryDeadlineError,
    EventQueryMemoryError,
    EventResultTooLargeError,
    EventTable,
)
from twelvefold.kernel.errors import EngineUnavailableError, OverloadedError

if TYPE_CHECKING:
    import duckdb

CONCURRENT = 2
"""Queries at once; they share the threads of one DuckDB instance anyway."""

MAX_WAITING = 64
INTERRUPT_SECONDS = 0.02
"""How often a query that must stop is told so: an interrupt before its first operator is lost."""

ROW_GROUP_ROWS = 61_440
"""Small enough for a sorted segment to skip most of itself, a multiple of DuckDB's 2,048-row vectors."""


class SegmentGoneError(Exception):
    """A file vanished between planning and reading: plan again."""


class DuckReader:
    """Runs SQL over Parquet files.

    Args:
        folders: what may be read.
        scratch: a folder of this process alone, for spilled sorts and merged files; made when needed.
    """

    def __init__(
        self, folders: Sequence[Path], scratch: Path, *, memory_limit_bytes: int, threads: int
    ) -> None:
        self._folders = [*folders, scratch]
        self._scratch = scratch
        self._settings: dict[str, str | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_bytes}B",
            "threads": threads,
        }
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="events-query")
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._waiting = 0
        self._running: set[_Statement] = set()

    async def select(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any], *, deadline_seconds: float
    ) -> list[tuple[Any, ...]]:
        """Run one statement. Raises `SegmentGoneError` and the errors of `Events.query`."""
        if self._slots.locked() and self._waiting >= MAX_WAITING:
            raise OverloadedError("too many queries wait already", retry_after_seconds=1.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._slots.acquire()
                self._waiting -= 1
                try:
                    return await self._run(sql, params)
                finally:
                    self._waiting += 1
                    self._slots.release()
        except TimeoutError as error:
            raise EventQueryDeadlineError(deadline_seconds) from error
        finally:
            self._waiting -= 1

    async def merge(self, files: Sequence[Path], table: EventTable, *, deadline_seconds: float) -> "Merged":
        """Write one sorted file with the rows of `files`; the caller removes it.

        Raises as `select` does, and `EngineUnavailableError` if a row got lost or came twice.
        """
        target = self._scratch / f"merge-{secrets.token_hex(8)}.parquet"
        inputs, output = ", ".join(map(_quoted, files)), _quoted(target)
        ordered = f"SELECT * FROM {relation(table, files)} ORDER BY {', '.join(table.order_by)}"  # noqa: S608 # our own paths
        options = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
        statements = (
            f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata([{inputs}])",  # noqa: S608 # our own paths
            f"COPY ({ordered}) TO {output} ({options})",
            f"SELECT count(*), min(ts_ms), max(ts_ms) FROM read_parquet({output})",  # noqa: S608 # our own path
        )
        [(expected,)], _, [(rows, first_ms, last_ms)] = [
            await self.select(statement, (), deadline_seconds=deadline_seconds) for statement in statements
        ]
        if rows != expected:
            target.unlink()
            raise EngineUnavailableError("events", f"a merge of {expected} rows gave {rows}; it was dropped")
        return Merged(target, rows, first_ms, last_ms)

    async def close(self) -> None:
        """Stop running queries and let go of DuckDB."""
        while self._running:
            for statement in self._running:
                statement.stop()
            await asyncio.sleep(INTERRUPT_SECONDS)
        await asyncio.to_thread(self._threads.shutdown)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _run(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        statement = _Statement(self, sql, params)
        self._running.add(statement)
        work = asyncio.get_running_loop().run_in_executor(self._threads, statement.run)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread must be free again before the slot is: otherwise stopped queries pile up behind it.
            while not work.done():
                statement.stop()
                await asyncio.wait([work], timeout=INTERRUPT_SECONDS)
            work.exception()
            raise
        finally:
            self._running.discard(statement)

    def cursor(self) -> "duckdb.DuckDBPyConnection":
        """A connection of its own to the one instance, which is made now if it was not."""
        with self._opening:
            if self._connection is None:
                self._connection = self._open()
            return self._connection.cursor()

    def _open(self) -> "duckdb.DuckDBPyConnection":
        import duckdb  # noqa: PLC0415 # 34 MB that only readers should pay

        shutil.rmtree(self._scratch, ignore_errors=True)  # what a killed process left behind
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = duckdb.connect(
            ":memory:",
            config={
                **self._settings,
                "temp_directory": str(self._scratch / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": False,
            },
        )
        folders = ", ".join(_quoted(f"{folder}/") for folder in self._folders)
        connection.execute(f"SET allowed_directories = [{folders}]")
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection


class Merged:
    """A merged file."""

    def __init__(self, path: Path, rows: int, first_ms: int, last_ms: int) -> None:
        self.path = path
        self.rows = rows
        self.first_ms = first_ms
        self.last_ms = last_ms


class _Statement:
    """One statement in a thread, which another thread may stop."""

    def __init__(self, reader: DuckReader, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> None:
        self._reader = reader
        self._sql = sql
        self._params = params
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._stopped = False

    def run(self) -> list[tuple[Any, ...]]:
        """Blocks. Raises as `DuckReader.select` does."""
        try:
            cursor = self._cursor = self._reader.cursor()
        except Exception as error:
            raise EngineUnavailableError("events", f"DuckDB did not start: {error}") from error
        import duckdb  # noqa: PLC0415 # loaded by now

        try:
            if self._stopped:
                raise EngineUnavailableError("events", "the query was stopped")
            rows = cursor.execute(self._sql, self._params or None).fetchmany(MAX_RESULT_ROWS + 1)
        except duckdb.OutOfMemoryException as error:
            raise EventQueryMemoryError from error
        except duckdb.InterruptException as error:
            raise EngineUnavailableError("events", "the query was stopped") from error
        except duckdb.IOException as error:
            if "No such file" in str(error) or "No files found" in str(error):
                raise SegmentGoneError(str(error)) from error
            raise EngineUnavailableError("events", str(error).partition("\n")[0]) from error
        finally:
            cursor.close()
        if len(rows) > MAX_RESULT_ROWS:
            raise EventResultTooLargeError
        return rows

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopped = True
        if self._cursor is not None:
            self._cursor.interrupt()


def relation(
    table: EventTable, files: Sequence[Path], from_ms: int | None = None, to_ms: int | None = None
) -> str:
    """SQL for the rows of `files`, cut to the bounds. A column that a file does not have is NULL."""
    columns = ", ".join(f"NULL::{SQL_TYPES[column.type]} AS {name}" for name, column in table.columns.items())
    nothing = f"SELECT * FROM (SELECT {columns}) WHERE false"  # noqa: S608 # names are checked by EventTable
    if not files:
        return f"({nothing})"
    names = ", ".join(map(_quoted, files))
    bounds = [f"ts_ms >= {int(from_ms)}"] if from_ms is not None else []
    bounds += [f"ts_ms < {int(to_ms)}"] if to_ms is not None else []
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    rows = f"SELECT * FROM read_parquet([{names}], union_by_name = true){where}"  # noqa: S608 # our own paths
    return f"({rows} UNION ALL BY NAME {nothing})"


def _quoted(path: Path | str) -> str:
    return "'" + str(path).replace("'", "''") + "'"
