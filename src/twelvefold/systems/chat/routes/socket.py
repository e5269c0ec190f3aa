"""Our own WebSocket, `/v1/chat/socket`: JSON objects in text messages, or MessagePack in binary ones.

This is its door: who gets in, and in which form they are spoken to. A key or the console's cookie names the
tenant and its user; everybody else is let in as nobody, and says who they are with their first word, a token.
"""

from twelvefold.kernel.errors import UnauthenticatedError
from twelvefold.systems.chat.contracts import MAX_TEXT_BYTES
from twelvefold.systems.chat.routes.caller import Callers
from twelvefold.systems.chat.routes.connection import ChatSocket, Services
from twelvefold.systems.chat.routes.forms import FORMS, JSON, MSGPACK
from twelvefold.systems.chat.settings import ChatSettings
from twelvefold.web.socket_routes import Accepted, Handshake, SocketRoute

MAX_MESSAGE_BYTES = 3 * MAX_TEXT_BYTES + 64 * 1024
"""A text at the limit fits also where its encoder writes every other character as `\\u…`; beyond it is 1009."""


class SocketDoor:
    """See the module."""

    def __init__(self, services: Services, settings: ChatSettings) -> None:
        self._services = services
        self._callers = Callers(services.tokens)
        self._settings = settings

    def route(self) -> SocketRoute:
        """The endpoint."""
        return SocketRoute("/v1/chat/socket", self._connect)

    async def _connect(self, handshake: Handshake) -> Accepted:
        caller = None
        if handshake.principal is not None:
            if not handshake.principal.may("chat:write"):
                raise UnauthenticatedError("this needs the scope 'chat:write'")
            caller = self._callers.by_principal(handshake.principal, handshake.query.get("user", ""))
        asked = [one for one in handshake.subprotocols if one in FORMS]
        form = MSGPACK if MSGPACK in asked or handshake.query.get("format") == "msgpack" else JSON
        return Accepted(
            handler=ChatSocket(self._services, form, caller),
            subprotocol=asked[0] if asked else "",
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_backlog_bytes=self._settings.max_socket_bytes,
        )
