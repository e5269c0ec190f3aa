"""What the database engine promises its callers."""

from twelvefold.engines.database import Database


async def test_json_columns_carry_python_values(database: Database) -> None:
    value = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    assert await database.fetch_value("SELECT $1::jsonb", value) == value
    assert await database.fetch_value("SELECT $1::json", value) == value


async def test_transaction_commits(database: Database) -> None:
    await database.execute("CREATE TABLE t (n int)")
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES ($1)", 1)
        assert await tx.copy("public", "t", ["n"], [(2,), (3,)]) == 2
    assert await database.fetch_value("SELECT sum(n) FROM t") == 6
    assert await database.ping() > 0


def test_valkey(valkey_url: str, cache_url: str, log_url: str) -> None:
    assert len({valkey_url, cache_url, log_url}) == 3
