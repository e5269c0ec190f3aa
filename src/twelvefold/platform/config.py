"""The configuration of a whole platform: one section for each part, defined where the part is."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from twelvefold.kernel import config as kernel_config
from twelvefold.kernel.config import Loaded
from twelvefold.kernel.errors import ConfigurationError
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.systems.limiter.settings import LimiterSettings
from twelvefold.systems.links.settings import LinksSettings
from twelvefold.web.settings import ServerConfig

EMBEDDED = "embedded"
FILE_NAME = "twelvefold.toml"
DEFAULT_DATA = "twelvefold-data"


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine is: `embedded`, or a URL."""

    url: str = EMBEDDED


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The section `[database]`."""

    url: str = EMBEDDED
    """`embedded`, or `postgresql://user:password@host/name`."""
    pool_size: int = 10
    """Connections a process opens at most."""


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The section `[logging]`."""

    level: str = "info"
    """debug, info, warning or error."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All sections."""

    server: ServerConfig = ServerConfig()
    database: DatabaseSettings = DatabaseSettings()
    valkey: EngineSettings = EngineSettings()
    """Counters, presence, channels: must not evict."""
    cache: EngineSettings = EngineSettings()
    """What may be forgotten: evicts the least recently used."""
    log: EngineSettings = EngineSettings()
    """Topics: append-only file, fsynced."""
    blobs: EngineSettings = EngineSettings()
    """Objects: a folder, `file:///…` or `s3://bucket`."""
    logging: LoggingSettings = LoggingSettings()
    links: LinksSettings = LinksSettings()
    limiter: LimiterSettings = LimiterSettings()
    chat: ChatSettings = ChatSettings()


SERVER_ENGINES = ("database", "valkey", "cache", "log")
"""The engines that are servers; the embedded ones of them need a supervisor."""


def load(file: Path | None = None, overrides: Sequence[str] = ()) -> Loaded[Config]:
    """Read `twelvefold.toml` (here, unless named), the environment and the overrides."""
    if file is None and Path(FILE_NAME).exists():
        file = Path(FILE_NAME)
    loaded = kernel_config.load(Config, file=file, environ=_environment(), overrides=overrides)
    if loaded.value.logging.level not in ("debug", "info", "warning", "error"):
        raise ConfigurationError(
            f"{loaded.origins['logging.level']}: logging.level is debug, info, warning or error",
            field="logging.level",
        )
    return loaded


def embedded_engines(config: Config) -> frozenset[str]:
    """The servers that we have to run ourselves."""
    return frozenset(name for name in SERVER_ENGINES if getattr(config, name).url == EMBEDDED)


def _environment() -> dict[str, str]:
    # Three variables say where things are and are no settings.
    return {name: value for name, value in os.environ.items() if name not in _PLACES}


_PLACES = frozenset({"TWELVEFOLD_DATA", "TWELVEFOLD_URL", "TWELVEFOLD_API_KEY"})


def default_processes() -> int:
    """Web processes by cores: all but one, which is left to the engines and the worker; at least one, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0)) - 1))
