"""YOURLS, from a checkout named by `BENCH_YOURLS` (see bench/README.md): nginx, php-fpm and MariaDB.

The checkout is copied, because its configuration is a file inside it. Links go into its own table, as its API
would have put them.
"""

import contextlib
import getpass
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.processes import NotStartedError, Server, free_port, listening, running

PROGRAMS = ("nginx", "mariadbd", "mariadb", "mariadb-install-db")
PACKAGES = (
    "apt-get install nginx php8.2-fpm php8.2-mysql php8.2-curl php8.2-mbstring php8.2-xml mariadb-server"
)
PHP_PROCESSES = 4
LOADED_AT_ONCE = 1000


def why_not() -> str | None:
    """What is missing, or None."""
    if not os.environ.get("BENCH_YOURLS"):
        return "BENCH_YOURLS names no checkout of YOURLS"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not _php_fpm():
        missing.append("php-fpm")
    return f"{', '.join(missing)} missing: {PACKAGES}" if missing else None


@contextlib.contextmanager
def yourls(
    folder: Path, codes: Sequence[str], targets: Sequence[str], *, cpus: str | None
) -> Iterator[tuple[Server, Server, int]]:
    """Run it with these links; gives nginx, php-fpm and the port. Raises `NotStartedError`."""
    folder.mkdir(parents=True, exist_ok=True)
    site = folder / "site"
    shutil.copytree(os.environ["BENCH_YOURLS"], site, symlinks=True, dirs_exist_ok=True)
    port, database_port = free_port(), free_port()
    (site / "user" / "config.php").write_text(_CONFIG.format(port=port, database_port=database_port))
    with (
        _mariadb(folder, database_port, cpus),
        _php(folder, cpus) as php,
        _nginx(folder, site, port, cpus) as server,
    ):
        install = f"http://127.0.0.1:{port}/admin/install.php?install=1"
        with urllib.request.urlopen(install, timeout=60) as answer:
            answer.read()
        _fill(database_port, codes, targets)
        yield server, php, port


@contextlib.contextmanager
def _mariadb(folder: Path, port: int, cpus: str | None) -> Iterator[Server]:
    data, user = folder / "mariadb", getpass.getuser()
    words = [
        "mariadb-install-db",
        f"--datadir={data}",
        f"--user={user}",
        "--auth-root-authentication-method=normal",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise NotStartedError(f"mariadb-install-db failed: {done.stderr[-500:]}")
    words = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
    words += [f"--socket={folder / 'mariadb.sock'}", f"--user={user}"]
    with running(words, name="mariadb", folder=folder, cpus=cpus, ready=listening(port)) as server:
        _sql(
            port, "CREATE DATABASE yourls; CREATE USER y@'127.0.0.1'; GRANT ALL ON yourls.* TO y@'127.0.0.1';"
        )
        yield server


@contextlib.contextmanager
def _php(folder: Path, cpus: str | None) -> Iterator[Server]:
    config, path = folder / "php-fpm.conf", folder / "php.sock"
    config.write_text(
        f"[global]\nerror_log = {folder}/php.log\ndaemonize = no\n"
        f"[www]\nlisten = {path}\nlisten.mode = 0666\nuser = {getpass.getuser()}\n"
        f"pm = static\npm.max_children = {PHP_PROCESSES}\n"
    )
    words = [_php_fpm(), "-R", "-y", str(config)]
    with running(words, name="php-fpm", folder=folder, cpus=cpus, ready=path.exists) as server:
        yield server


@contextlib.contextmanager
def _nginx(folder: Path, site: Path, port: int, cpus: str | None) -> Iterator[Server]:
    config = folder / "yourls.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/yourls.pid; user {getpass.getuser()};\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {site}; index index.php;\n"
        "  location / { try_files $uri $uri/ /yourls-loader.php$is_args$args; }\n"
        "  location ~ \\.php$ { include /etc/nginx/fastcgi_params;\n"
        "    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n"
        f"    fastcgi_pass unix:{folder / 'php.sock'}; }}\n}} }}\n"
    )
    words = ["nginx", "-c", str(config), "-p", str(folder), "-e", str(folder / "yourls-nginx.log")]
    with running(words, name="yourls-nginx", folder=folder, cpus=cpus, ready=listening(port)) as server:
        yield server


def _fill(port: int, codes: Sequence[str], targets: Sequence[str]) -> None:
    pairs = list(zip(codes, targets, strict=True))
    for at in range(0, len(pairs), LOADED_AT_ONCE):
        rows = ",".join(
            f"('{code}','{_escaped(target)}','',NOW(),'127.0.0.1',0)"
            for code, target in pairs[at : at + LOADED_AT_ONCE]
        )
        _sql(
            port, f"INSERT INTO yourls.yourls_url (keyword, url, title, timestamp, ip, clicks) VALUES {rows};"
        )


def _sql(port: int, text: str) -> None:
    words = ["mariadb", "--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", f"-P{port}", "-uroot"]
    subprocess.run(words, input=text.encode(), check=True, capture_output=True, timeout=120)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


def _php_fpm() -> str:
    return next(
        (path for name in ("php-fpm", "php-fpm8.4", "php-fpm8.2") if (path := shutil.which(name))), ""
    )


_CONFIG = """<?php
define( 'YOURLS_DB_USER', 'y' );
define( 'YOURLS_DB_PASS', '' );
define( 'YOURLS_DB_NAME', 'yourls' );
define( 'YOURLS_DB_HOST', '127.0.0.1:{database_port}' );
define( 'YOURLS_DB_PREFIX', 'yourls_' );
define( 'YOURLS_SITE', 'http://127.0.0.1:{port}' );
define( 'YOURLS_HOURS_OFFSET', 0 );
define( 'YOURLS_LANG', '' );
define( 'YOURLS_UNIQUE_URLS', false );
define( 'YOURLS_PRIVATE', false );
define( 'YOURLS_COOKIEKEY', 'a benchmark' );
$yourls_user_passwords = [ 'bench' => 'bench' ];
define( 'YOURLS_DEBUG', false );
define( 'YOURLS_URL_CONVERT', 62 );
$yourls_reserved_URL = [];
"""
