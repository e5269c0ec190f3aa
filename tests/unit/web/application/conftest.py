"""An application with one system of things, for the tests of the dispatcher."""

import httpx2
import pytest
from litestar import Router
from tests.unit.web.application.things import Keys, Seen, at_root, create, one, private, slow, things

from twelvefold.kernel.clock import ManualClock
from twelvefold.web.application import Application
from twelvefold.web.guard import Guard
from twelvefold.web.mount import Mount


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def make(seen):
    def make(**more):
        mount = Mount(
            name="things",
            routers=(Router("/v1/things", route_handlers=[create, things, slow, private, one]),),
            root=at_root,
            root_prefixes=("/t/", "/"),
        )
        guard = Guard(Keys(), ManualClock())
        return Application([mount], guard=guard, observer=seen, version="1", **more)

    return make


@pytest.fixture
async def ask(make):
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=make()), base_url="http://test"
    ) as client:

        async def ask(method, path, **more):
            return await client.request(method, path, **more)

        yield ask
