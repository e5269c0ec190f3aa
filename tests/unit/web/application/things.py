"""A system of things, its guard, and how a problem looks."""

import asyncio
import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from twelvefold.kernel.errors import ConflictError, EngineUnavailableError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.web.guard import requires

KEY = {"authorization": "Bearer good"}


class Colour(enum.IntEnum):
    RED = 1


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=10)]
    sizes: list[Annotated[int, msgspec.Meta(ge=0, le=100)]] = []
    inner: dict[str, "Thing"] = {}
    note: Any = None
    weight: float | None = None
    open: bool = False
    colour: Colour = Colour.RED
    since: datetime | None = None


class TakenError(ConflictError):
    """That thing is taken."""

    code = "things.taken"


@post("/")
async def create(data: JSONBody[Thing]) -> Thing:
    if data.name == "taken":
        raise TakenError(field="name", hint="choose another", suggestion="taken2")
    if data.name == "down":
        raise EngineUnavailableError("database", "it was killed", retry_after_seconds=1.2)
    if data.name == "bug":
        raise ValueError("secret detail")
    return data


@get("/")
async def things(limit: Annotated[int, QueryParameter(ge=1, le=5)] = 3) -> dict[str, int]:
    return {"limit": limit}


@get("/slow")
async def slow() -> str:
    await asyncio.Event().wait()
    return ""


@get("/private", guards=[requires("things:read")])
async def private() -> str:
    return "yes"


@get("/{thing_id:int}")
async def one(thing_id: FromPath[int]) -> dict[str, int]:
    return {"id": thing_id}


class Keys:
    async def principal_of_key(self, key):
        if key == "down":
            raise EngineUnavailableError("database")
        scopes = {"good": frozenset({"things:*"}), "narrow": frozenset({"other:read"})}.get(key)
        return (
            None if scopes is None else Principal(tenant_id=TenantId(1), key_id=1, scopes=scopes, tier="free")
        )

    async def principal_of_session(self, token):
        return None


class Seen:
    def __init__(self):
        self.requests = []

    def finished(self, system, seconds, status):
        self.requests.append((system, status))


async def at_root(scope, receive, send):
    body = scope["path"].encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


def problem_in(response, status, code):
    told = response.json()
    assert (response.status_code, told["status"], told["code"]) == (status, status, code), told
    assert response.headers["content-type"] == "application/problem+json"
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["type"] == f"urn:twelvefold:problem:{code}"
    assert told["title"]
    assert told["detail"]
    return told


async def post_raw(ask, body, kind="application/json"):
    return await ask("POST", "/v1/things", content=body, headers={"content-type": kind})
