"""For whom a request speaks: a user by their token, or any user of a tenant by the tenant's API key."""

from typing import Any, NamedTuple
from urllib.parse import unquote

from litestar import Request

from twelvefold.kernel.errors import InvalidInputError, UnauthenticatedError
from twelvefold.kernel.tenancy import Principal, TenantId
from twelvefold.systems.chat.service.tokens import Tokens
from twelvefold.web.guard import principal_in, require

TOKEN_HEADER = "Chat-Token"  # noqa: S105  # the name of a header
USER_HEADER = "Chat-User"
MAX_USER = 128


class Caller(NamedTuple):
    """Who, of which tenant. `by_key`: the tenant itself speaks for the user."""

    tenant: TenantId
    user: str
    by_key: bool


class Callers:
    """Finds the caller of a request."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def of(self, request: Request[Any, Any, Any], scope: str) -> Caller:
        """The caller. Raises `UnauthenticatedError`, `ForbiddenError`."""
        token = request.headers.get(TOKEN_HEADER)
        if token:
            return await self.by_token(token)
        principal = require(principal_in(request.scope), scope)
        return self.by_principal(principal, _named(request.headers.get(USER_HEADER, "")))

    async def by_token(self, token: str) -> Caller:
        """The user of a token."""
        found = await self._tokens.verify(token)
        if not found.user:
            raise UnauthenticatedError("this token names no user")
        return Caller(TenantId(found.tenant_id), found.user, by_key=False)

    def by_principal(self, principal: Principal, user: str) -> Caller:
        """A key's own user, or the one that it speaks for."""
        user = user or f"key-{principal.key_id}"
        if len(user) > MAX_USER or any(character < " " or character == "\x7f" for character in user):
            raise InvalidInputError("a user's id has at most 128 printable characters", field=USER_HEADER)
        return Caller(principal.tenant_id, user, by_key=True)


def _named(header: str) -> str:
    """A user's id as headers carry it. Two that cannot be told apart must not become one user."""
    try:
        if header.isascii():
            return unquote(header, errors="strict")
    except UnicodeDecodeError:
        pass
    raise InvalidInputError(
        "a user's id is ASCII here, or percent-encoded UTF-8",
        field=USER_HEADER,
        hint="send J%C3%B6rg for Jörg",
    )
