"""Errors as RFC 9457 problem+json, in one form for every door.

Invariant: whatever a client does, it gets a 4xx that names the field and the way out; a 500 is our
own fault, carries only the request id, and its cause is in the log. Everything that answers with an
error (the parser, the dispatcher, Litestar, a mounted app) passes through here.
"""

import http
import itertools
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from litestar.exceptions import HTTPException, ValidationException

from twelvefold.kernel.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidInputError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    TooLargeError,
    TwelvefoldError,
    UnauthenticatedError,
)

log = structlog.get_logger("web")

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_PROCESS = secrets.token_hex(4)
_numbers = itertools.count(secrets.randbelow(1 << 24))
_PLACE = re.compile(r"`(?:key in )?\$\.?([^`]*)`$")
_NAMED = re.compile(r"(?:missing required|unknown) field `([^`]*)`")
_MISMATCH = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_MISSING_PARAMETER = re.compile(r"^Missing required \w+ parameter '([^']*)'")
_RESERVED = frozenset({"type", "title", "status", "detail", "code", "field", "hint", "request_id"})


class RequestTimeoutError(TwelvefoldError):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408


class UnsupportedMediaTypeError(TwelvefoldError):
    """This address does not read that content type."""

    code = "unsupported_media_type"
    status = 415


class WebSocketVersionError(TwelvefoldError):
    """WebSockets here speak version 13."""

    code = "websocket_version"
    status = 426


class HeadersTooLargeError(TwelvefoldError):
    """The request's headers are larger than this server takes."""

    code = "headers_too_large"
    status = 431


class DeadlineExceededError(TwelvefoldError):
    """The answer took longer than its deadline; it may or may not have been done."""

    code = "deadline_exceeded"
    status = 503


class InternalError(TwelvefoldError):
    """Something went wrong on the server; the request id finds it in the log."""


_BY_STATUS: Mapping[int, type[TwelvefoldError]] = {
    error.status: error
    for error in (
        MalformedRequestError,
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        MethodNotAllowedError,
        ConflictError,
        RequestTimeoutError,
        GoneError,
        TooLargeError,
        UnsupportedMediaTypeError,
        InvalidInputError,
        RateLimitedError,
        HeadersTooLargeError,
        OverloadedError,
    )
}


class Problem(msgspec.Struct, frozen=True):
    """An error, ready to be sent. `headers` are lower-case pairs without content-length."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def problem_of(error: TwelvefoldError, request_id: str | None = None) -> dict[str, Any]:
    """`error` as a problem's members; its details are extension members, none can replace a standard one."""
    members: dict[str, Any] = {
        "type": f"urn:twelvefold:problem:{error.code}",
        "title": (type(error).__doc__ or http.HTTPStatus(error.status).phrase).strip().splitlines()[0],
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "field": error.field,
        "hint": error.hint,
        "request_id": request_id,
    }
    members.update((name, value) for name, value in error.details.items() if name not in _RESERVED)
    return members


def problem(error: TwelvefoldError, request_id: str | None = None) -> Problem:
    """Render `error`, with the headers that its status asks for."""
    headers = [("content-type", MEDIA_TYPE), ("cache-control", "no-store")]
    # A 429 without a wait is one that no waiting helps against: it promises none.
    if error.retry_after_seconds is not None or error.status == 503:
        # Whole seconds, rounded up: waiting exactly that long must suffice.
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_seconds or 1)))))
    if error.status == UnauthenticatedError.status:
        headers.append(("www-authenticate", "Bearer"))
    if isinstance(error, WebSocketVersionError):
        headers += [("upgrade", "websocket"), ("sec-websocket-version", "13")]
    if allow := error.details.get("allow"):
        headers.append(("allow", str(allow)))
    body = msgspec.json.encode(problem_of(error, request_id), enc_hook=str)
    return Problem(error.status, tuple(headers), body)


def problem_response(error: TwelvefoldError, scope: Mapping[str, Any]) -> Callable[[Any, Any, Any], Any]:
    """An ASGI app that answers the request of `scope` with `error`."""
    request_id = scope.get("state", {}).get("request_id")
    made = problem(as_error(error, request_id), request_id)

    async def answer(scope: Mapping[str, Any], _receive: Any, send: Any) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in made.headers]
        headers.append((b"content-length", str(len(made.body)).encode()))
        await send({"type": "http.response.start", "status": made.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else made.body
        await send({"type": "http.response.body", "body": body})

    return answer


def as_error(cause: BaseException, request_id: str | None = None) -> TwelvefoldError:
    """What to tell the client about `cause`. The unknown is logged here, once, and told as a 500."""
    if isinstance(cause, TwelvefoldError):
        if cause.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR and cause.status != OverloadedError.status:
            log.error("web.request.failed", request_id=request_id, exc_info=cause)
            return InternalError()
        return cause
    if isinstance(cause, HTTPException) and cause.status_code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return _from_litestar(cause)
    if isinstance(cause, TimeoutError):
        log.warning("web.request.late", request_id=request_id)
        return DeadlineExceededError()
    log.error("web.request.failed", request_id=request_id, exc_info=cause)
    return InternalError()


def _from_litestar(cause: HTTPException) -> TwelvefoldError:
    if isinstance(cause, ValidationException):
        return _from_validation(cause)
    kind = _BY_STATUS.get(cause.status_code, MalformedRequestError)
    if kind is MethodNotAllowedError:
        allow = (cause.headers or {}).get("allow", "")
        return MethodNotAllowedError(hint=f"it answers to {allow}", allow=allow)
    # Litestar words a 404 by its status phrase; ours says more.
    return kind() if kind is NotFoundError else kind(cause.detail or None)


def _from_validation(cause: ValidationException) -> TwelvefoldError:
    faults = [fault for fault in cause.extra or () if isinstance(fault, dict)]
    if not faults:
        missing = _MISSING_PARAMETER.search(cause.detail)
        return InvalidInputError(cause.detail, field=missing[1] if missing else None)
    listed = [
        {"field": _field(fault), "detail": str(fault.get("message", "")), "source": _source(fault)}
        for fault in faults
    ]
    first = listed[0]
    if first["detail"] == "'data'":  # Litestar's word for a body that is not there
        return InvalidInputError("the body is missing", hint="send it as JSON")
    message = f"{first['field']}: {first['detail']}" if first["field"] else first["detail"]
    return InvalidInputError(message, field=first["field"], errors=listed)


def invalid_body(cause: msgspec.DecodeError) -> InvalidInputError:
    """A JSON body that is not what the address takes: which field, what is there, and how to write it."""
    field = field_in(str(cause))
    detail = str(cause).split(" - at ", maxsplit=1)[0]
    listed = [{"field": field, "detail": detail, "source": "body"}]
    message = f"{field}: {detail}" if field else detail
    return InvalidInputError(message, field=field, hint=_how_to_write(detail), errors=listed)


def _how_to_write(detail: str) -> str | None:
    mismatch = _MISMATCH.match(detail)
    if mismatch is None:
        return None
    expected = mismatch[1].split(" | ")
    if mismatch[2] == "str" and {"int", "float"} & set(expected):
        return "write the number without quotes"
    if mismatch[2] == "str" and "bool" in expected:
        return "write true or false, without quotes"
    if "datetime" in expected:
        return "write the time as 2026-11-24T07:30:00Z"
    return "write it in quotes" if "str" in expected and mismatch[2] in ("int", "float", "bool") else None


def _field(fault: dict[str, Any]) -> str | None:
    message, key = str(fault.get("message", "")), str(fault.get("key") or "")
    key = "" if key == "data" else key.removeprefix("data.").removesuffix("_")
    inside = field_in(message)
    if not key or _PLACE.search(message) or (inside and key.endswith(inside)):
        return inside or key or None
    return f"{key}.{inside}" if inside else key


def field_in(message: str) -> str | None:
    """The field that a message of msgspec's is about, as a path (`rules[0].targets`)."""
    place = _PLACE.search(message)
    parts = [place[1]] if place and place[1] else []
    if named := _NAMED.search(message):
        parts.append(named[1])
    return ".".join(parts) or None


def _source(fault: dict[str, Any]) -> str:
    source = fault.get("source")
    return str(getattr(source, "value", source) or "body")


def render_response(error: TwelvefoldError, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A whole HTTP/1.1 response with `error`, which ends the connection.

    `headers` are the request's, for its id; names in lower case.
    """
    request_id = request_id_from(headers)
    made = problem(error, request_id)
    lines = [
        *made.headers,
        ("content-length", str(len(made.body))),
        ("x-request-id", request_id),
        ("connection", "close"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    status = http.HTTPStatus(error.status)
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("latin-1") + made.body


def request_id_from(headers: list[tuple[bytes, bytes]]) -> str:
    """The client's `x-request-id` where it is a plain token of at most 64 characters, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if REQUEST_ID.fullmatch(text):
                return text
            break
    return f"{_PROCESS}{next(_numbers):08x}"
