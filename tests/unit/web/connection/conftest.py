"""A server on real sockets with small bounds, for the tests of connections."""

import pytest
from tests.unit.web.connection.application import SMALL, App


@pytest.fixture
async def app():
    return App()


@pytest.fixture
async def server(serve, app):
    return await serve(app, limits=SMALL)
