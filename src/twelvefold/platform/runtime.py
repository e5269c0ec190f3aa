"""What a running platform leaves in its data folder for its own processes and for the command line.

`run/platform.json` (mode 600) says where the engines and the server are; it is written before the
web and worker processes start and removed at the end. Whoever can read it owns the platform.
"""

import asyncio
from pathlib import Path

import msgspec

from twelvefold.engines.embedded import EngineUrls
from twelvefold.engines.embedded.data_folder import holder, write_atomically
from twelvefold.kernel.errors import RefusedError
from twelvefold.platform.config import Config

FILE = "platform.json"


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A running platform."""

    pid: int
    url: str
    data_dir: str
    started_at_ms: int
    systems: tuple[str, ...]
    engine_urls: EngineUrls
    config: Config


def write(data: Path, runtime: Runtime) -> None:
    """Leave the note."""
    write_atomically(data / FILE, msgspec.json.encode(runtime))


async def wait(data: Path) -> Runtime:
    """The note of the `up` that began this process, as soon as its engines answer."""
    while True:
        try:
            return msgspec.json.decode((data / FILE).read_bytes(), type=Runtime)
        except FileNotFoundError:
            await asyncio.sleep(0.01)  # it ends with its parent, so there is no other deadline


def remove(data: Path) -> None:
    """Take the note away."""
    (data / FILE).unlink(missing_ok=True)


def read(data: Path) -> Runtime:
    """The note of the platform that runs on a data folder. Raises `RefusedError` when none does."""
    if holder(data) is not None:
        try:
            return msgspec.json.decode((data / FILE).read_bytes(), type=Runtime)
        except (OSError, msgspec.DecodeError):
            pass  # it has only just begun, or is about to end
    raise RefusedError(
        f"no Twelvefold runs on {data}", hint="start it with `twelvefold up`, or name its folder with --data"
    )
