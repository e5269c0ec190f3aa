"""Numbered SQL files, applied once, in order, each in one transaction.

Invariants: two processes that migrate at once apply each file exactly once (an advisory lock held to
the end of each file's transaction); a file is recorded in the same transaction that it runs in, so a
failure half-way leaves nothing; a file that was applied may not change afterwards; and code refuses a
database whose newer files say that it is too old for them. After Synapse's schema and compat version.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable

import msgspec

from twelvefold.engines.database.database import Database
from twelvefold.engines.database.errors import StatementError
from twelvefold.engines.database.transaction import Transaction
from twelvefold.kernel.errors import ConfigurationError, RefusedError, TwelvefoldError

DEADLINE_SECONDS = 600.0
"""For one file; a large index takes minutes."""

LOCK = 0x7477_656C_7665  # "twelve"

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_COMPATIBLE = re.compile(r"^--\s*compatible-from:\s*(\d+)\s*$", re.MULTILINE)
_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,62}")

LEDGER = """
CREATE SCHEMA IF NOT EXISTS twelvefold;
CREATE TABLE IF NOT EXISTS twelvefold.migration (
    namespace       text        NOT NULL,
    number          integer     NOT NULL,
    name            text        NOT NULL,
    checksum        text        NOT NULL,
    compatible_from integer     NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, number)
);
"""


class Migration(msgspec.Struct, frozen=True):
    """One file."""

    number: int
    name: str
    sql: str
    checksum: str
    compatible_from: int


async def migrate(database: Database, namespace: str, directory: Traversable) -> list[str]:
    """Bring `namespace` up to what `directory` holds; returns the names of the files applied now.

    Files are called `NNNN_name.sql`, from 0001 without gaps. A line `-- compatible-from: N` in one
    says that code which knows files up to N can still work with the result; without it, only code
    that knows this file can. Raises `RefusedError` for an edited or missing file and for a database
    that is newer than this code; `StatementError` naming the file whose SQL fails.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"a namespace is lower-case letters, digits and _, not {namespace!r}")
    files = list(read(directory))
    applied: list[str] = []
    while True:
        async with database.transaction(deadline_seconds=DEADLINE_SECONDS) as transaction:
            await transaction.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            await transaction.execute(LEDGER)
            following = await _next(transaction, namespace, files)
            if following is None:
                return applied
            await _apply(transaction, namespace, following)
        applied.append(following.name)


def read(directory: Traversable) -> Iterator[Migration]:
    """The files of a directory, in order. Raises `ConfigurationError` for a wrong name or a gap."""
    names = sorted(entry.name for entry in directory.iterdir() if entry.name.endswith(".sql"))
    for expected, name in enumerate(names, start=1):
        match = _FILE.fullmatch(name)
        if match is None or int(match[1]) != expected:
            raise ConfigurationError(
                f"{directory}: {name} should be called {expected:04d}_name.sql; "
                "numbers start at 0001 and have no gaps"
            )
        sql = (directory / name).read_text(encoding="utf-8")
        compatible = _COMPATIBLE.search(sql)
        yield Migration(
            number=expected,
            name=name,
            sql=sql,
            checksum=hashlib.sha256("\n".join(sql.splitlines()).encode()).hexdigest(),
            compatible_from=int(compatible[1]) if compatible else expected,
        )


async def _next(transaction: Transaction, namespace: str, files: Sequence[Migration]) -> Migration | None:
    rows = await transaction.fetch(
        "SELECT number, name, checksum, compatible_from FROM twelvefold.migration"
        " WHERE namespace = $1 ORDER BY number",
        namespace,
    )
    for row, file in zip(rows, files, strict=False):
        if row["checksum"] != file.checksum:
            raise RefusedError(
                f"{namespace}: {file.name} was changed after it had been applied (as {row['name']}); "
                "restore the file and put the change into a new one"
            )
    if len(rows) > len(files):
        needed = max(row["compatible_from"] for row in rows)
        if needed > len(files):
            raise RefusedError(
                f"{namespace}: the database is at version {len(rows)} and needs code that knows "
                f"version {needed}, but this code knows {len(files)}; install a newer Twelvefold"
            )
        return None
    return files[len(rows)] if len(rows) < len(files) else None


async def _apply(transaction: Transaction, namespace: str, file: Migration) -> None:
    number = "SELECT pg_current_xact_id()::text"
    try:
        before = await transaction.fetch_value(number)
        await transaction.execute(file.sql)
        after = await transaction.fetch_value(number)
    except TwelvefoldError as error:
        if error.status == 503:
            raise
        raise StatementError(f"{namespace}: {file.name}: {error.message}") from error
    if before != after:
        raise StatementError(
            f"{namespace}: {file.name} ends its own transaction; remove BEGIN and COMMIT from it"
        )
    await transaction.execute(
        "INSERT INTO twelvefold.migration (namespace, number, name, checksum, compatible_from)"
        " VALUES ($1, $2, $3, $4, $5)",
        namespace,
        file.number,
        file.name,
        file.checksum,
        file.compatible_from,
    )
