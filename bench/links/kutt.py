"""Kutt, from a checkout of version 3 named by `BENCH_KUTT` (see bench/README.md), on PostgreSQL and Valkey.

The databases are those that Twelvefold brings; they count as engines, apart. Links go into Kutt's own table,
as its API would have put them, because creating 100,000 over the API would take longer than measuring them.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg

from bench.links.nginx import valkey_binary
from bench.processes import NotStartedError, Server, free_port, listening, running
from twelvefold.engines.embedded import DataFolder, Supervisor

DATABASE = "kutt"


def why_not() -> str | None:
    """What is missing, or None."""
    checkout = os.environ.get("BENCH_KUTT")
    if not checkout:
        return "BENCH_KUTT names no checkout of Kutt"
    if not (Path(checkout) / "node_modules").exists():
        return f"{checkout} has no node_modules: npm install --omit=dev --ignore-scripts"
    return None if shutil.which("node") else "node is missing"


@contextlib.contextmanager
def kutt(
    folder: Path, codes: Sequence[str], targets: Sequence[str], *, cpus: str | None
) -> Iterator[tuple[Server, int]]:
    """Run it with these links; gives the server and its port. Raises `NotStartedError`."""
    checkout = Path(os.environ["BENCH_KUTT"]).resolve()
    data = DataFolder.open(folder / "kutt-data")
    databases = Supervisor(data, frozenset({"database"}))
    try:
        url = databases.start().database
        where = asyncio.run(_create_database(url))
        redis_port, port = free_port(), free_port()
        words = [valkey_binary(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
        with running(words, name="kutt-valkey", folder=folder, cpus=cpus, ready=listening(redis_port)):
            env = {
                **os.environ,
                **where,
                "NODE_ENV": "production",
                "PORT": str(port),
                "DEFAULT_DOMAIN": f"127.0.0.1:{port}",
                "JWT_SECRET": "a benchmark's secret",
                "DB_CLIENT": "pg",
                "DB_NAME": DATABASE,
                "REDIS_ENABLED": "true",
                "REDIS_PORT": str(redis_port),
            }
            _migrate(checkout, env)
            asyncio.run(_fill(url, codes, targets))
            with running(
                ["node", "server/server.js", "--production"],
                name="kutt",
                folder=folder,
                cpus=cpus,
                env=env,
                cwd=checkout,
                ready=listening(port),
            ) as server:
                yield server, port
    finally:
        databases.stop()
        data.close()


def _migrate(checkout: Path, env: dict[str, str]) -> None:
    words = ["npx", "--no-install", "knex", "migrate:latest"]
    done = subprocess.run(
        words, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise NotStartedError(f"Kutt's migration failed: {(done.stdout + done.stderr)[-500:]}")


async def _create_database(url: str) -> dict[str, str]:
    """Make an empty database; gives Kutt's variables for reaching it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
        row = await connection.fetchrow(
            "SELECT current_setting('unix_socket_directories') AS socket, current_setting('port') AS port, "
            "current_user AS name"
        )
    finally:
        await connection.close()
    return {"DB_HOST": row["socket"].split(",")[0], "DB_PORT": row["port"], "DB_USER": row["name"]}


async def _fill(url: str, codes: Sequence[str], targets: Sequence[str]) -> None:
    connection = await asyncpg.connect(url, database=DATABASE)
    try:
        await connection.copy_records_to_table(
            "links", records=zip(codes, targets, strict=True), columns=["address", "target"]
        )
    finally:
        await connection.close()
