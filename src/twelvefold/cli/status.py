"""`twelvefold status`: what runs, how fast, and how the engines are."""

from twelvefold.cli.connection import Connection
from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import show, table

app = verb("status", "Show what runs.")


@app.default
def status(*, data: Data = None, json: Json = False) -> None:
    """Ask the running platform."""
    connection = Connection.open(data)
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
