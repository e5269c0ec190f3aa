"""The scripts' sources, each with the algorithms before it."""

from functools import cache
from importlib.resources import files

PACKAGE = "twelvefold.systems.limiter.scripts"


@cache
def source(name: str) -> str:
    """`check` is `algorithms.lua` and `check.lua` in one."""
    folder = files(PACKAGE)
    return folder.joinpath("algorithms.lua").read_text("utf-8") + folder.joinpath(f"{name}.lua").read_text(
        "utf-8"
    )
