"""Parameters that several of the routes take."""

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

Code = Annotated[str, PathParameter(description="The link's code or alias.", max_length=64)]
OwnHost = Annotated[
    str | None,
    QueryParameter(name="domain", description="One of your own hosts; else the server's.", max_length=260),
]
