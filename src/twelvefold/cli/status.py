"""`twelvefold status`: what runs, how fast, and how the engines are."""

from typing import Annotated

from cyclopts import Parameter

from twelvefold.cli.connection import Connection
from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import show, table

app = verb("status", "Show what runs.")


@app.default
def status(
    *,
    env: Annotated[bool, Parameter(negative="", help="Only print URL and KEY, for `eval`.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Ask the running platform."""
    connection = Connection.open(data)
    if env:
        print(f"export URL={connection.url} KEY={connection.api_key}")  # noqa: T201
        return
    found = connection.call("GET", "/v1/platform/status")
    systems = [system for system in found["systems"] if system["running"]]
    engines = [engine | {"healthy": "yes" if engine["healthy"] else "NO"} for engine in found["engines"]]
    text = "\n\n".join(
        (
            f"{connection.url}  (version {found['version']}, data in {found['data_dir']})",
            table(
                systems,
                ("name", "requests_per_second", "p50_ms", "p99_ms", "errors_per_second", "queue_depth"),
            ),
            table(engines, ("name", "kind", "healthy", "latency_ms", "detail")),
        )
    )
    show(found, as_json=json, text=text)
