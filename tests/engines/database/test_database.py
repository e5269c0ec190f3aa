"""What the database engine promises its callers."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest

from twelvefold.engines.database import ConstraintError, Database, StatementError, StatementTimeoutError
from twelvefold.engines.database import session as session_module
from twelvefold.kernel.errors import (
    ConfigurationError,
    EngineUnavailableError,
    InvalidInputError,
    TwelvefoldError,
)


async def test_the_verbs(database: Database) -> None:
    assert await database.execute("CREATE TABLE t (n int, s text); CREATE INDEX ON t (n)") == "CREATE INDEX"
    assert await database.execute("INSERT INTO t VALUES ($1, $2)", 1, "one") == "INSERT 0 1"
    await database.execute_many("INSERT INTO t VALUES ($1, $2)", [(2, "two"), (3, "three")])
    assert await database.copy("public", "t", ["n", "s"], ((n, str(n)) for n in range(4, 7))) == 3
    assert await database.fetch_value("SELECT count(*) FROM t") == 6
    row = await database.fetch_row("SELECT n, s FROM t WHERE n = $1", 2)
    assert row is not None
    assert (row["n"], row[1], dict(row)) == (2, "two", {"n": 2, "s": "two"})
    assert await database.fetch_row("SELECT 1 WHERE false") is None
    assert [n for (n,) in await database.fetch("SELECT n FROM t ORDER BY n")] == [1, 2, 3, 4, 5, 6]
    assert 0 < await database.ping() < 5


@pytest.mark.parametrize("kind", ["json", "jsonb"])
async def test_json_columns_carry_python_values(database: Database, kind: str) -> None:
    value = {"a": [1, 2.5, None, "ü\u2028"], "b": {"c": True}, "d": 2**53 + 1}
    assert await database.fetch_value(f"SELECT $1::{kind}", value) == value
    await database.execute(f"CREATE TABLE t (v {kind})")
    await database.copy("public", "t", ["v"], [(value,), (None,), ([],)])
    assert [row["v"] for row in await database.fetch("SELECT v FROM t")] == [value, None, []]


@pytest.mark.parametrize(
    ("statement", "kind", "constraint", "column"),
    [
        ("INSERT INTO child VALUES (1, 1, 1)", "unique", "child_pkey", ""),
        ("INSERT INTO child VALUES (2, 9, 1)", "foreign_key", "child_parent", ""),
        ("INSERT INTO child VALUES (2, 1, -1)", "check", "child_positive", ""),
        ("INSERT INTO child VALUES (2, NULL, 1)", "not_null", "parent", "parent"),
    ],
)
async def test_a_constraint_can_be_told_by_its_name(
    database: Database, statement: str, kind: str, constraint: str, column: str
) -> None:
    await database.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);"
        "CREATE TABLE child (id int PRIMARY KEY,"
        " parent int NOT NULL CONSTRAINT child_parent REFERENCES parent,"
        " n int CONSTRAINT child_positive CHECK (n > 0)); INSERT INTO child VALUES (1, 1, 1)"
    )
    with pytest.raises(ConstraintError) as caught:
        await database.execute(statement)
    error = caught.value
    assert (error.kind, error.constraint, error.table, error.column) == (kind, constraint, "child", column)
    assert (error.status, error.code) == (409, "conflict")


async def test_an_exclusion_constraint_too(database: Database) -> None:
    await database.execute(
        "CREATE EXTENSION btree_gist; CREATE TABLE t (room int, during int4range,"
        " CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&))"
    )
    await database.execute("INSERT INTO t VALUES (1, '[1,5)')")
    with pytest.raises(ConstraintError) as caught:
        await database.execute("INSERT INTO t VALUES (1, '[4,6)')")
    assert (caught.value.kind, caught.value.constraint) == ("exclusion", "no_overlap")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "nul\x00byte"),
        ("text", "lone \ud800 surrogate"),
        ("int", 2**40),
        ("bigint", 2**70),
        ("uuid", "secret-no-uuid"),
        ("inet", "secret-no-address"),
        ("timestamptz", "secret-no-time"),
    ],
)
async def test_a_value_that_does_not_fit_is_the_callers_fault(
    database: Database, kind: str, value: object
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await database.fetch_value(f"SELECT $1::{kind}", value)
    assert caught.value.status == 422
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message
    assert await database.fetch_value("SELECT 1") == 1
    assert database.connections == 1  # bad input costs no connection


@pytest.mark.parametrize(("bad", "error"), [("x", TypeError), (2**40, OverflowError)])
async def test_bad_rows_in_bulk_leave_nothing(
    database: Database, bad: object, error: type[Exception]
) -> None:
    await database.execute("CREATE TABLE t (n int)")
    with pytest.raises(InvalidInputError):
        await database.execute_many("INSERT INTO t VALUES ($1)", [(1,), (2,), (bad,)])
    with pytest.raises(error):
        await database.copy("public", "t", ["n"], [(1,), (2,), (bad,)])
    assert await database.fetch_value("SELECT count(*) FROM t") == 0


async def test_a_fault_in_the_program_is_told_apart(database: Database) -> None:
    for statement in ("SELEC 1", "SELECT * FROM absent", "SELECT $1::int + $2::int"):
        with pytest.raises(StatementError) as caught:
            await database.fetch(statement)
        assert caught.value.status == 500
    assert await database.fetch_value("SELECT 1") == 1


async def test_a_statement_past_its_deadline_is_cancelled_by_the_server(database_url: str) -> None:
    async with await Database.open(database_url, name="test", deadline_seconds=0.2) as database:
        with pytest.raises(StatementTimeoutError) as caught:
            await database.execute("SELECT pg_sleep(60)")
        assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1.0)
        running = await database.fetch_value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)'"
        )
        assert running == 0
        assert database.connections == 1


async def test_a_changed_table_under_prepared_statements_goes_on_working(database: Database) -> None:
    await database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    assert dict(await database.fetch_row("SELECT * FROM t") or {}) == {"a": 1}
    await database.execute("ALTER TABLE t ADD COLUMN b int DEFAULT 2")
    assert dict(await database.fetch_row("SELECT * FROM t") or {}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace(urlsplit(url).password or "", "wrong"), "password authentication failed"),
        (lambda url: url.replace("twelvefold:", "stranger:"), "password authentication failed"),
        (lambda url: url.replace("/test_", "/absent_"), "does not exist"),
        (lambda url: url.replace("%2Fdatabase", "%2Felsewhere"), "No such file or directory"),
        (lambda _: "postgresql://twelvefold:secret@127.0.0.1:1/x", "Connect"),
        (lambda _: "postgresql://twelvefold:secret@host.invalid/x", "host.invalid"),
    ],
)
async def test_a_wrong_address_is_one_line_within_five_seconds_without_the_password(
    database_url: str, change: object, reason: str
) -> None:
    started = time.monotonic()
    with pytest.raises(EngineUnavailableError) as caught:
        await Database.open(change(database_url), name="test")  # type: ignore[operator]
    assert time.monotonic() - started < 5
    message = caught.value.message
    assert message.startswith("database does not answer: cannot connect to ")
    assert reason in message
    assert "\n" not in message
    assert "secret" not in message
    assert (urlsplit(database_url).password or "-") not in message


async def test_a_host_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CONNECT_SECONDS", 0.2)
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(EngineUnavailableError, match=rf"cannot connect to me@127.0.0.1:{port}/x: no answer"):
        await Database.open(f"postgresql://me@127.0.0.1:{port}/x?sslmode=disable", name="test")
    for writer in held:
        writer.close()
    silent.close()
    await silent.wait_closed()


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://x@h:port/y", "nonsense"])
async def test_a_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(TwelvefoldError) as caught:
        await Database.open(url, name="test")
    assert isinstance(caught.value, ConfigurationError)
    assert "\n" not in caught.value.message


async def test_after_close_calls_are_refused(database_url: str) -> None:
    database = await Database.open(database_url, name="test")
    await database.close()
    await database.close()
    with pytest.raises(EngineUnavailableError, match="closed in this process"):
        await database.fetch("SELECT 1")
