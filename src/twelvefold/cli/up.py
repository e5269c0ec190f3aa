"""`twelvefold up`: start everything, say where to go, stay until told to end."""

import json as json_module
import sys
from typing import Annotated

from cyclopts import Parameter

from twelvefold.cli.options import ConfigFile, Data, Json, Overrides, verb

app = verb("up", "Start engines, web and workers on this machine.")


@app.default
def up(
    *systems: Annotated[str, Parameter(help="Which systems to run; all, if none is named.")],
    data: Data = None,
    port: Annotated[int | None, Parameter(help="The port; 0 takes any free one [default: 8012].")] = None,
    config: ConfigFile = None,
    overrides: Overrides = (),
    json: Json = False,
) -> None:
    """Start everything and stay. Ctrl-C or SIGTERM ends it in order."""
    import msgspec

    from twelvefold.platform.config import load
    from twelvefold.platform.places import data_folder
    from twelvefold.platform.up import Up

    settings = [*overrides, *([f"server.port={port}"] if port is not None else [])]
    loaded = load(config, settings)
    platform = Up(data_folder(data), loaded, systems, _note)
    if not json:
        print("starting …", file=sys.stderr)  # noqa: T201
    try:
        started = platform.start()
    except KeyboardInterrupt:
        print("ended while starting; nothing runs", file=sys.stderr)  # noqa: T201
        return
    try:
        if json:
            print(json_module.dumps(msgspec.to_builtins(started)), flush=True)  # noqa: T201
        else:
            print(_welcome(started.url, started.console_url, started.data_dir), flush=True)  # noqa: T201
        platform.wait()
        if not json:
            print("\nending: answering what is under way, then stopping …", file=sys.stderr)  # noqa: T201
    finally:
        platform.stop()


def _welcome(url: str, console_url: str, data_dir: str) -> str:
    return f"""
  Twelvefold runs at {url}

  console   {console_url}   (opens once, within ten minutes)
  data      {data_dir}
  API       {url}/docs

  Try:      twelvefold links create https://example.com/
  End it:   Ctrl-C
"""


def _note(name: str, what: str, detail: str) -> None:
    print(f"{name}: {what} ({detail})", file=sys.stderr, flush=True)  # noqa: T201
