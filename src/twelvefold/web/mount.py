"""What one system adds to the web: its part of `/v1`, its addresses at the root, its hot requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Router

from twelvefold.web.lanes import BodyLane, Lane
from twelvefold.web.socket_routes import SocketRoute

AsgiApp = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A system as the web sees it.

    Attributes:
        name: the system's name, `links`; its requests are counted under it.
        routers: Litestar routers with whole paths (`/v1/links`, `/v1/pastes`).
        segments: the path segments below `/v1` that belong to this system, for counting.
        sockets: WebSocket endpoints, anywhere.
        root: ASGI app for addresses outside `/v1`.
        root_prefixes: which addresses `root` gets (`/yourls-api.php`); whole segments. `/` means
            all that nobody else has.
        lane: hot `GET /segment` requests; one system may have it.
        body_lanes: other hot requests, by `(method, path)`.
        body_limits: path prefix to the largest body in bytes, where the server's default does not fit.
        hot_requests: how many requests the lanes have answered since the start of the process.
        figures: what the process tells of the system on the metrics page; a name that ends in `_total` counts up.
        queue_depth: what waits to be worked on, for the overview.
        on_drain: called when the server begins to drain: responses that would wait end now.
    """

    name: str
    routers: tuple[Router, ...] = ()
    segments: tuple[str, ...] = ()
    sockets: tuple[SocketRoute, ...] = ()
    root: AsgiApp | None = None
    root_prefixes: tuple[str, ...] = ()
    lane: Lane | None = None
    body_lanes: Mapping[tuple[str, str], BodyLane] = field(default_factory=dict)
    body_limits: Mapping[str, int] = field(default_factory=dict)
    hot_requests: Callable[[], int] | None = None
    figures: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    queue_depth: Callable[[], int] | None = None
    on_drain: Callable[[], None] | None = None
