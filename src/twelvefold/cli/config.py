"""`twelvefold config show`: the settings and where each comes from."""

from typing import Annotated

from cyclopts import Parameter

from twelvefold.cli.options import ConfigFile, Json, Overrides, verb
from twelvefold.cli.output import show, table

app = verb("config", "Show the configuration.")


@app.command(name="show")
def show_config(
    *,
    origin: Annotated[bool, Parameter(negative="", help="Also say where each value comes from.")] = False,
    config: ConfigFile = None,
    overrides: Overrides = (),
    json: Json = False,
) -> None:
    """Show every setting as it would be used now."""
    import msgspec

    from twelvefold.platform.config import load

    loaded = load(config, overrides)
    sections = msgspec.to_builtins(loaded.value)
    rows = [
        {"setting": f"{section}.{key}", "value": _hidden(value), "origin": loaded.origins[f"{section}.{key}"]}
        for section, keys in sections.items()
        for key, value in keys.items()
    ]
    columns = ("setting", "value", "origin") if origin else ("setting", "value")
    show(
        {row["setting"]: row if origin else row["value"] for row in rows},
        as_json=json,
        text=table(rows, columns),
    )


def _hidden(value: object) -> object:
    """A URL without its password."""
    if isinstance(value, str) and "@" in value and "://" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://…@{rest.rpartition('@')[2]}"
    return value
