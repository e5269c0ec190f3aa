"""The embedded servers: set up as promised, started and stopped as a whole, careful with data."""

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from twelvefold.engines.embedded import DataFolder, EngineUrls, MemoryLimits, Supervisor
from twelvefold.engines.embedded.postgres import sync_method
from twelvefold.kernel.errors import EngineUnavailableError, RefusedError

LIMITS = MemoryLimits.for_total(1 << 30)


def test_the_servers_answer_and_keep_what_they_promised(folder: DataFolder, valkey: Any, sql: Any) -> None:
    supervisor = Supervisor(folder, limits=LIMITS)
    urls = supervisor.start()
    sql(urls.database, "CREATE TABLE t AS SELECT 42 AS n")
    for url in (urls.valkey, urls.cache, urls.log):
        assert valkey(url, "SET k v") == b"+OK\r\n"
    supervisor.stop()
    assert supervisor.pids() == {}

    assert supervisor.start() == urls
    assert sql(urls.database, "SELECT n FROM t") == "42"
    assert valkey(urls.valkey, "GET k") == b"$1\r\nv\r\n"
    assert valkey(urls.log, "GET k") == b"$1\r\nv\r\n"
    assert valkey(urls.cache, "GET k") == b"$-1\r\n"
    supervisor.stop()


def test_the_database_is_set_up_as_promised(embedded: EngineUrls, sql: Any) -> None:
    settings = {
        name: sql(embedded.database, f"SHOW {name}")
        for name in (
            "synchronous_commit", "fsync", "full_page_writes", "jit", "io_method", "listen_addresses",
            "server_encoding", "data_checksums", "password_encryption", "autovacuum",
        )
    }  # fmt: skip
    assert settings == {
        "synchronous_commit": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "off",
        "io_method": "sync",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "autovacuum": "on",
    }
    assert sql(embedded.database, "SELECT lower('ÄÖÜÉ')") == "äöüé"
    assert (
        sql(embedded.database, "SELECT string_agg(x, '' ORDER BY x) FROM unnest(ARRAY['b','B','a','ä']) x")
        == "Babä"
    )


def test_the_extensions_of_the_wheel_can_be_made(database_url: str, sql: Any) -> None:
    for name in ("pg_trgm", "btree_gist", "unaccent", "citext", "vector"):
        sql(database_url, f"CREATE EXTENSION {name}")


def test_the_valkeys_differ_in_eviction_and_durability(embedded: EngineUrls, valkey: Any) -> None:
    def setting(url: str, name: str) -> str:
        return valkey(url, f"CONFIG GET {name}").decode().split("\r\n")[4]

    assert {
        name: (setting(url, "maxmemory-policy"), setting(url, "appendonly"), setting(url, "appendfsync"))
        for name, url in (("valkey", embedded.valkey), ("cache", embedded.cache), ("log", embedded.log))
    } == {
        "valkey": ("noeviction", "yes", "everysec"),
        "cache": ("allkeys-lru", "no", "everysec"),
        "log": ("noeviction", "yes", "always"),
    }
    assert int(setting(embedded.valkey, "maxmemory")) == LIMITS.valkey_bytes


def test_the_password_is_needed(embedded: EngineUrls, sql: Any) -> None:
    wrong = embedded.database.replace(urlsplit(embedded.database).password or "", "wrong")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sql(wrong, "SELECT 1")
    assert "password authentication failed" in caught.value.stderr
    assert "twelvefold" not in repr(embedded)


def test_a_users_settings_count_but_not_against_durability(
    folder: DataFolder, sql: Any, running: Any
) -> None:
    supervisor = running(folder, "database")
    supervisor.start()
    supervisor.stop()
    (folder.path / "postgres" / "postgresql.user.conf").write_text(
        "work_mem = 7MB\nfsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
    )
    urls = supervisor.start()
    names = ("work_mem", "fsync", "synchronous_commit", "full_page_writes")
    assert [sql(urls.database, f"SHOW {name}") for name in names] == ["7MB", "on", "on", "on"]
    supervisor.stop()


def test_the_log_holds_no_rows_and_no_statements(folder: DataFolder, sql: Any, running: Any) -> None:
    supervisor = running(folder, "database")
    urls = supervisor.start()
    sql(urls.database, "CREATE TABLE t (s text PRIMARY KEY); INSERT INTO t VALUES ('private')")
    with pytest.raises(subprocess.CalledProcessError):
        sql(urls.database, "INSERT INTO t VALUES ('private')")
    supervisor.stop()
    log = (folder.path / "logs" / "database.log").read_text()
    assert 'duplicate key value violates unique constraint "t_pkey"' in log
    assert "private" not in log


def test_data_of_another_postgresql_is_refused(folder: DataFolder, running: Any) -> None:
    supervisor = running(folder, "database")
    supervisor.start()
    supervisor.stop()
    (folder.path / "postgres" / "PG_VERSION").write_text("19\n")
    with pytest.raises(RefusedError, match="holds data of PostgreSQL 19, and this Twelvefold brings 18"):
        supervisor.start()
    assert supervisor.pids() == {}


@pytest.mark.parametrize(("name", "lost"), [("database", "postgres"), ("log", "log"), ("valkey", "valkey")])
def test_data_that_has_gone_is_not_replaced_by_an_empty_server(
    folder: DataFolder, name: str, lost: str, running: Any
) -> None:
    supervisor = running(folder, name)
    supervisor.start()
    supervisor.stop()
    (folder.path / lost).rename(folder.path / "moved")
    with pytest.raises(RefusedError, match=f"{lost} has gone, though it was there before"):
        supervisor.start()
    (folder.path / "moved").rename(folder.path / lost)
    supervisor.start()
    supervisor.stop()


def test_a_cluster_that_was_half_made_is_made_again(folder: DataFolder, sql: Any, running: Any) -> None:
    half = folder.path / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    supervisor = running(folder, "database")
    urls = supervisor.start()
    assert sql(urls.database, "SELECT 1") == "1"
    assert not half.exists()
    supervisor.stop()


def test_a_failed_start_is_one_sentence_and_leaves_nothing_running(folder: DataFolder, running: Any) -> None:
    supervisor = running(folder, "database", "cache")
    supervisor.start()
    supervisor.stop()
    (folder.path / "postgres" / "postgresql.user.conf").write_text("shared_buffers = 'lots'\n")
    with pytest.raises(EngineUnavailableError) as caught:
        supervisor.start()
    assert caught.value.engine == "database"
    assert "contains errors" in caught.value.message
    assert "\n" not in caught.value.message
    assert supervisor.pids() == {}


def test_a_path_full_of_odd_letters_works(tmp_path: Path, valkey: Any, sql: Any) -> None:
    name = b'it\'s "odd" #1 \\ %20 \xfc \xc3\xbc'
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    with DataFolder.open(path) as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert sql(urls.database, "SELECT 1") == "1"
        for url in (urls.valkey, urls.cache, urls.log):
            assert valkey(url, "PING") == b"+PONG\r\n"


def test_a_path_too_long_for_sockets_works(tmp_path: Path, valkey: Any, sql: Any) -> None:
    with DataFolder.open(tmp_path / ("long" * 30)) as folder, Supervisor(folder, limits=LIMITS) as urls:
        assert sql(urls.database, "SELECT 1") == "1"
        assert valkey(urls.valkey, "PING") == b"+PONG\r\n"
    assert not folder.runtime.exists()


def test_only_what_is_wanted_is_started(folder: DataFolder, running: Any) -> None:
    supervisor = running(folder, "cache")
    urls = supervisor.start()
    assert list(supervisor.pids()) == ["cache"]
    assert (urls.database, urls.valkey, urls.log) == ("", "", "")
    supervisor.stop()
    with pytest.raises(ValueError, match="no such engine: kafka"):
        Supervisor(folder, frozenset({"kafka"}))


def test_whole_disk_syncs_are_used_only_where_they_tell_of_errors() -> None:
    assert [sync_method(release) for release in ("6.18.44-x", "5.8.0", "5.7.19", "4.18.0-el8", "odd")] == [
        "syncfs",
        "syncfs",
        "fsync",
        "fsync",
        "fsync",
    ]
