"""Migrations: once, in order, all or nothing, and never past what the code knows."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from twelvefold.engines.database import Database, StatementError, migrate
from twelvefold.kernel.errors import ConfigurationError, RefusedError

ONE = "CREATE TABLE one (n int);\nINSERT INTO one VALUES (1);\n"
TWO = "CREATE TABLE two (n int);\n"


def write(folder: Path, *files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(files, start=1):
        (folder / f"{number:04d}_step.sql").write_text(text, newline="")
    return folder


async def ledger(database: Database) -> list[int]:
    return [n for (n,) in await database.fetch("SELECT number FROM twelvefold.migration ORDER BY number")]


async def test_files_are_applied_once_and_in_order(database: Database, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", ONE, "ALTER TABLE one ADD COLUMN m int DEFAULT 2")
    assert await migrate(database, "links", folder) == ["0001_step.sql", "0002_step.sql"]
    assert await migrate(database, "links", folder) == []
    assert tuple(await database.fetch_row("SELECT n, m FROM one") or ()) == (1, 2)
    write(folder, ONE, "ALTER TABLE one ADD COLUMN m int DEFAULT 2", TWO)
    assert await migrate(database, "links", folder) == ["0003_step.sql"]


async def test_namespaces_count_apart(database: Database, tmp_path: Path) -> None:
    assert await migrate(database, "a", write(tmp_path / "a", ONE)) == ["0001_step.sql"]
    assert await migrate(database, "b", write(tmp_path / "b", TWO)) == ["0001_step.sql"]


async def test_an_edited_file_is_refused(database: Database, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", ONE, TWO)
    await migrate(database, "links", folder)
    write(folder, ONE + "-- changed", TWO)
    with pytest.raises(RefusedError, match=r"links: 0001_step.sql was changed after it had been applied"):
        await migrate(database, "links", folder)


async def test_other_line_ends_are_no_edit(database: Database, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", ONE)
    await migrate(database, "links", folder)
    write(folder, ONE.replace("\n", "\r\n"))
    assert await migrate(database, "links", folder) == []


async def test_a_newer_database_is_refused(database: Database, tmp_path: Path) -> None:
    await migrate(database, "links", write(tmp_path / "new", ONE, TWO))
    with pytest.raises(
        RefusedError, match="the database is at version 2 and needs code that knows version 2, but"
    ):
        await migrate(database, "links", write(tmp_path / "old", ONE))


async def test_a_newer_database_that_says_it_is_compatible_is_accepted(
    database: Database, tmp_path: Path
) -> None:
    newer = write(tmp_path / "new", ONE, TWO, "-- compatible-from: 2\nCREATE TABLE three (n int);")
    await migrate(database, "links", newer)
    assert await migrate(database, "links", write(tmp_path / "old", ONE, TWO)) == []
    with pytest.raises(RefusedError, match="needs code that knows version 2, but this code knows 1"):
        await migrate(database, "links", write(tmp_path / "older", ONE))


async def test_a_failure_half_way_leaves_nothing_and_names_the_file(
    database: Database, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "a", ONE, "CREATE TABLE half (n int); SELECT * FROM absent; CREATE TABLE x (n int)"
    )
    with pytest.raises(
        StatementError, match=r"links: 0002_step.sql: 42P01: relation \"absent\" does not exist"
    ):
        await migrate(database, "links", folder)
    assert await ledger(database) == [1]
    assert await database.fetch_value("SELECT to_regclass('half')") is None
    write(folder, ONE, TWO)
    assert await migrate(database, "links", folder) == ["0002_step.sql"]


async def test_a_file_that_commits_by_itself_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StatementError, match=r"0001_step.sql ends its own transaction"):
        await migrate(database, "links", write(tmp_path / "a", "CREATE TABLE x (n int); COMMIT; BEGIN;"))


async def test_tasks_that_race_apply_each_file_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", ONE, TWO, "INSERT INTO one VALUES (2)")
    async with await Database.open(database_url, name="other") as other:
        done = await asyncio.gather(
            *(migrate(db, "links", folder) for db in (database, other, database, other))
        )
    assert sorted(name for names in done for name in names) == [
        "0001_step.sql",
        "0002_step.sql",
        "0003_step.sql",
    ]
    assert await database.fetch_value("SELECT count(*) FROM one") == 2


PROCESS = """
import asyncio, sys
from pathlib import Path
from twelvefold.engines.database import Database, migrate
async def main():
    async with await Database.open(sys.argv[1], name="racer") as database:
        sys.stdin.readline()
        print(len(await migrate(database, "links", Path(sys.argv[2]))))
asyncio.run(main())
"""


def test_processes_that_race_apply_each_file_once(database_url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", *(f"CREATE TABLE t{n} (n int);" for n in range(20)))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, database_url, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    answers = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        answers.append(int(racer.communicate(timeout=60)[0]))
        assert racer.returncode == 0
    assert sum(answers) == 20


@pytest.mark.parametrize(
    "names",
    [["0002_x.sql"], ["0001_x.sql", "0003_x.sql"], ["1_x.sql"], ["0001_X.sql"], ["0001_a.sql", "0001_b.sql"]],
)
async def test_wrong_names_and_gaps_are_refused_before_anything_runs(
    database: Database, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("CREATE TABLE made (n int)")
    with pytest.raises(ConfigurationError, match="should be called 000"):
        await migrate(database, "links", tmp_path)
    assert await database.fetch_value("SELECT to_regclass('made')") is None
