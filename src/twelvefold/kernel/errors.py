"""Errors that a caller can act on.

Each carries a stable code (`links.alias_taken`), an HTTP status, the field at fault and what to do
about it. The class docstring is the default message. The web turns them into RFC 9457 problem+json;
a library user catches the class.
"""

from typing import Any, ClassVar


class TwelvefoldError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        hint: str | None = None,
        retry_after_seconds: float | None = None,
        **details: Any,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.field = field
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        self.details = details
        super().__init__(self.message)


class InvalidInputError(TwelvefoldError):
    """The request has a value that cannot be used."""

    code = "invalid_input"
    status = 422


class MalformedRequestError(TwelvefoldError):
    """The request could not be read."""

    code = "malformed_request"
    status = 400


class UnauthenticatedError(TwelvefoldError):
    """This needs an API key."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(TwelvefoldError):
    """This API key may not do that."""

    code = "forbidden"
    status = 403


class NotFoundError(TwelvefoldError):
    """There is nothing here."""

    code = "not_found"
    status = 404


class MethodNotAllowedError(TwelvefoldError):
    """This address does not answer to that method."""

    code = "method_not_allowed"
    status = 405


class ConflictError(TwelvefoldError):
    """That is taken, or has changed since you read it."""

    code = "conflict"
    status = 409


class GoneError(TwelvefoldError):
    """This was here and has ended."""

    code = "gone"
    status = 410


class TooLargeError(TwelvefoldError):
    """The request is larger than this server takes."""

    code = "too_large"
    status = 413


class RateLimitedError(TwelvefoldError):
    """Too many requests; wait before the next."""

    code = "rate_limited"
    status = 429


class OverloadedError(TwelvefoldError):
    """The server is at its limit and refused this early; nothing was done."""

    code = "overloaded"
    status = 503


class EngineUnavailableError(TwelvefoldError):
    """An engine behind the server does not answer; try again."""

    code = "engine_unavailable"
    status = 503

    def __init__(self, engine: str, reason: str = "", *, retry_after_seconds: float = 1.0) -> None:
        self.engine = engine
        message = f"{engine} does not answer" + (f": {reason}" if reason else "")
        super().__init__(message, retry_after_seconds=retry_after_seconds, engine=engine)


class ConfigurationError(TwelvefoldError):
    """The configuration cannot be used."""

    code = "configuration"


class RefusedError(TwelvefoldError):
    """Refused, because going on could lose data."""

    code = "refused"
