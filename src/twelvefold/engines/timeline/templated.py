"""Migrations of one space: the files of `schema/`, with the name of the space's schema put in."""

import io
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import IO, Any


class SpaceFiles(Traversable):
    """A folder of SQL files as `migrate` reads them."""

    def __init__(self, schema: str, folder: Traversable | None = None) -> None:
        self._schema = schema
        self._folder = folder or files("twelvefold.engines.timeline") / "schema"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._folder.name

    def iterdir(self) -> Iterator[Traversable]:
        """The files."""
        return self._folder.iterdir()

    def joinpath(self, *descendants: Any) -> Traversable:
        """One file."""
        return SpaceFiles(self._schema, self._folder.joinpath(*descendants))

    __truediv__ = joinpath

    def read_text(self, encoding: str | None = None) -> str:
        """A file's text for this space."""
        return self._folder.read_text(encoding).replace("{space}", self._schema)

    def read_bytes(self) -> bytes:
        """The same as bytes."""
        return self.read_text("utf-8").encode()

    def is_dir(self) -> bool:
        """Whether this is the folder."""
        return self._folder.is_dir()

    def is_file(self) -> bool:
        """Whether this is a file in it."""
        return self._folder.is_file()

    def open(self, mode: str = "r", *_args: Any, **_kwargs: Any) -> IO[Any]:
        """A file's text for this space, or its bytes."""
        return io.BytesIO(self.read_bytes()) if "b" in mode else io.StringIO(self.read_text("utf-8"))
