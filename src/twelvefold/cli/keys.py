"""`twelvefold keys`: API keys, and the console's login link."""

from datetime import datetime
from typing import Annotated, Literal

from cyclopts import Parameter

from twelvefold.cli.connection import Connection
from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import show, table

app = verb("keys", "API keys.")


@app.command
def create(
    name: str,
    *,
    scope: Annotated[
        tuple[str, ...], Parameter(negative="", help="links:write, links:*, …; may be repeated.")
    ] = ("*",),
    tier: Literal["free", "pro", "enterprise"] = "free",
    expires_at: datetime | None = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a key and print it; it is shown this once."""
    body: dict[str, object] = {"name": name, "scopes": list(scope), "tier": tier}
    if expires_at is not None:
        body["expires_at"] = expires_at.astimezone().isoformat()
    made = Connection.open(data).call("POST", "/v1/keys", body)
    show(made, as_json=json, text=made["key"])


@app.command(name="list")
def list_keys(*, data: Data = None, json: Json = False) -> None:
    """Show all keys, newest first."""
    found = Connection.open(data).call("GET", "/v1/keys?limit=500")
    rows = [key | {"scopes": " ".join(key["scopes"])} for key in found["items"]]
    columns = ("id", "name", "prefix", "scopes", "tier", "last_used_at", "expires_at", "revoked_at")
    show(found, as_json=json, text=table(rows, columns))


@app.command
def revoke(key_id: str, *, data: Data = None, json: Json = False) -> None:
    """End a key; within ten minutes `keys restore` brings it back."""
    ended = Connection.open(data).call("DELETE", f"/v1/keys/{key_id}")
    show(ended, as_json=json, text=f"revoked {ended['name']} ({ended['prefix']}…)")


@app.command
def restore(key_id: str, *, data: Data = None, json: Json = False) -> None:
    """Undo a revocation of the last ten minutes."""
    back = Connection.open(data).call("POST", f"/v1/keys/{key_id}/restore")
    show(back, as_json=json, text=f"{back['name']} ({back['prefix']}…) is good again")


@app.command
def login(*, data: Data = None, json: Json = False) -> None:
    """Print a link that logs in to the console once, within ten minutes."""
    connection = Connection.open(data)
    url = connection.url + connection.call("POST", "/v1/session/links")["path"]
    show({"console_url": url}, as_json=json, text=url)
