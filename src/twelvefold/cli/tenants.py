"""`twelvefold tenants`: who shares this platform."""

from typing import Literal

from twelvefold.cli.connection import Connection
from twelvefold.cli.options import Data, Json, verb
from twelvefold.cli.output import show, table

app = verb("tenants", "Tenants.")


@app.command
def create(
    name: str,
    *,
    tier: Literal["free", "pro", "enterprise"] = "free",
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a tenant and print the key that owns it; it is shown this once. Its keys have at most this tier."""
    made = Connection.open(data).call("POST", "/v1/tenants", {"name": name, "tier": tier})
    show(made, as_json=json, text=made["owner_key"]["key"])


@app.command(name="list")
def list_tenants(*, data: Data = None, json: Json = False) -> None:
    """Show all tenants, newest first."""
    found = Connection.open(data).call("GET", "/v1/tenants?limit=500")
    show(found, as_json=json, text=table(found["items"], ("id", "name", "created_at")))
