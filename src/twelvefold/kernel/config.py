"""Configuration with origins: `twelvefold.toml` < environment `TWELVEFOLD_…` < `-X section.key=value`.

The schema is a tree of frozen `msgspec.Struct`s, two levels deep: sections and keys. Every value
knows where it came from; an unknown key is an error that names the nearest known one, never ignored.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from twelvefold.kernel.errors import ConfigurationError

ENV_PREFIX = "TWELVEFOLD_"
T = TypeVar("T", bound=msgspec.Struct)


class Loaded(msgspec.Struct, Generic[T], frozen=True):
    """A configuration and, for each `section.key`, where its value came from."""

    value: T
    origins: dict[str, str]


def load(
    schema: type[T],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Loaded[T]:
    """Read all three sources. Raises `ConfigurationError` naming the source, the key and the fix."""
    sections = _sections(schema)
    tree: dict[str, dict[str, Any]] = {name: {} for name in sections}
    origins = {f"{name}.{key}": "default" for name, fields in sections.items() for key in fields}

    def put(section: str, key: str, value: Any, origin: str) -> None:
        tree[section][_known(key, sections[section], f"{section}.", origin)] = value
        origins[f"{section}.{key}"] = origin

    if file is not None:
        for section, values in _read_toml(file).items():
            _known(section, sections, "", str(file))
            if not isinstance(values, dict):
                raise ConfigurationError(
                    f"{file}: '{section}' is a section; write [{section}] above its keys"
                )
            for key, value in values.items():
                put(section, key, value, str(file))
    for name, text in sorted((environ or {}).items()):
        if name.startswith(ENV_PREFIX):
            section, key = _split_variable(name, sections)
            put(section, key, text, name)
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.partition(".")
        if not (equals and dot):
            raise ConfigurationError(f"-X {override}: write it as section.key=value")
        put(_known(section, sections, "", "-X"), key, text, f"-X {path}")

    return Loaded(_convert(schema, tree, origins), origins)


def _sections(schema: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    return {
        section.name: {field.name: field.type for field in msgspec.structs.fields(section.type)}
        for section in msgspec.structs.fields(schema)
    }


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}; check that it exists and may be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from error


def _known(name: str, known: Mapping[str, Any], prefix: str, origin: str) -> str:
    if name in known:
        return name
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    fix = f"did you mean '{prefix}{nearest[0]}'?" if nearest else f"known here: {', '.join(sorted(known))}"
    raise ConfigurationError(f"{origin}: unknown key '{prefix}{name}'; {fix}", field=f"{prefix}{name}")


def _split_variable(name: str, sections: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    rest = name.removeprefix(ENV_PREFIX).lower()
    # `log_ship_url` may be log.ship_url or log_ship.url: the longest section that knows the key has it.
    begun = sorted((section for section in sections if rest.startswith(f"{section}_")), key=len, reverse=True)
    for section in begun:
        if (key := rest.removeprefix(f"{section}_")) in sections[section]:
            return section, key
    for section in begun:
        return section, _known(rest.removeprefix(f"{section}_"), sections[section], f"{section}.", name)
    keys = {f"{section}_{key}": None for section, fields in sections.items() for key in fields}
    nearest = difflib.get_close_matches(rest, keys, n=1, cutoff=0.5)
    fix = f"did you mean {ENV_PREFIX}{nearest[0].upper()}?" if nearest else "see `twelvefold config show`"
    raise ConfigurationError(f"{name}: no such setting; {fix}", field=name)


def _convert(schema: type[T], tree: dict[str, dict[str, Any]], origins: Mapping[str, str]) -> T:
    for section in msgspec.structs.fields(schema):
        for field in msgspec.structs.fields(section.type):
            path = f"{section.name}.{field.name}"
            if field.name not in tree[section.name]:
                if field.required:
                    variable = f"{ENV_PREFIX}{section.name}_{field.name}".upper()
                    raise ConfigurationError(
                        f"{path} is not set; write it to the configuration file or set {variable}", field=path
                    )
                continue
            try:
                msgspec.convert(
                    _unpacked(tree[section.name][field.name], field.type), field.type, strict=False
                )
            except (msgspec.ValidationError, ValueError) as error:
                raise ConfigurationError(f"{origins[path]}: {path}: {error}", field=path) from error
            tree[section.name][field.name] = _unpacked(tree[section.name][field.name], field.type)
    try:
        return msgspec.convert(tree, schema, strict=False)
    except msgspec.ValidationError as error:
        # Each value was good by itself, so a section's own check refused them together.
        reason, _, path = str(error).partition(" - at `$.")
        raise ConfigurationError(f"{path.rstrip('`')}: {reason}" if path else reason) from error


def _unpacked(value: Any, expected: Any) -> Any:
    """Lists arrive from the environment and from -X as comma-separated text."""
    if isinstance(value, str) and getattr(expected, "__origin__", None) in (list, tuple):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value
