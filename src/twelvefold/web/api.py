"""The management API: Litestar with our errors.

JSON bodies are checked before they are decoded: what is not JSON, not UTF-8, nested without end, or
carries a NUL (which PostgreSQL cannot store) is the client's mistake, and is told so here, once, for
all systems. A body means what its JSON says: `"1"` is a text. Only what has no types of its own (addresses and
their queries, forms, settings) is read by what is wanted of it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.utils import normalize_path

from twelvefold.kernel.errors import InvalidInputError, MalformedRequestError, NotFoundError
from twelvefold.web.problem import MEDIA_TYPE, UnsupportedMediaTypeError, as_error, invalid_body, problem

_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SKIM: Final = msgspec.json.Decoder(msgspec.Raw)


class ApiRequest(Request[Any, Any, Any]):
    """Litestar's request, which reads JSON only where it is announced, and only sound JSON."""

    async def json(self) -> Any:
        """The body as what its handler takes for `data`.

        Litestar would make a signature of parameters and body together, and read all of it by what is wanted, as
        parameters must be; what is decoded here already, it leaves alone.

        Raises:
            UnsupportedMediaTypeError: it is announced as something else.
            InvalidInputError, MalformedRequestError: as `check_json`, and where it is not what is taken.
        """
        kind = _content_type(self.scope["headers"])
        if kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaTypeError(
                f"'{kind}' is not read here", hint="send 'Content-Type: application/json'"
            )
        body = await self.body()
        check_json(body)
        wanted = self.route_handler.parsed_data_field
        try:
            return msgspec.json.decode(body, type=Any if wanted is None else wanted.annotation)
        except msgspec.DecodeError as error:
            raise invalid_body(error) from error


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> str:
    # Read from the scope: Litestar's own headers object costs 8 µs, and nobody else asks for it.
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower().decode("latin-1")
    return "application/json"


def build_api(
    routers: Sequence[Router],
    *,
    version: str,
    title: str = "Twelvefold",
    max_body_bytes: int = 10 * 1024 * 1024,
) -> Litestar:
    """One Litestar application over all systems' routers.

    `max_body_bytes` is the largest that any of them takes; our own connections bound bodies by path
    before, other ASGI servers do not.
    """
    return Litestar(
        route_handlers=list(routers),
        request_class=ApiRequest,
        exception_handlers={Exception: _answer},
        openapi_config=OpenAPIConfig(
            title=title,
            version=version,
            components=Components(
                security_schemes={
                    "key": SecurityScheme(type="http", scheme="bearer", description="An API key, `tf_…`."),
                }
            ),
            security=[{"key": []}],
        ),
        logging_config=None,
        request_max_body_size=max_body_bytes,
    )


def methods_of(api: Litestar, path: str) -> str:
    """The methods that `path` answers to, comma-separated. Raises `NotFoundError`."""
    try:
        api.asgi_router.handle_routing(path=normalize_path(path), method="TRACE")  # which nobody answers to
    except MethodNotAllowedException as answer:
        return (answer.headers or {}).get("allow", "")
    except NotFoundException:
        pass
    raise NotFoundError


def check_json(body: bytes, name: str = "the body") -> None:
    """Raise unless `body` is JSON that we can keep; `name` is what errors call it.

    Raises:
        MalformedRequestError: not JSON, not UTF-8, or nested deeper than can be read.
        InvalidInputError: a NUL character in a string.
    """
    try:
        if not body.isascii():
            body.decode()
        _SKIM.decode(body)
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"{name} is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise MalformedRequestError(f"{name} is nested too deeply") from error
    except msgspec.DecodeError as error:
        raise MalformedRequestError(f"{name} is not JSON: {error}", hint=hint_at_halves(body)) from error
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidInputError(
            f"{name} contains a NUL character, which cannot be stored",
            field=_field_with_nul(body),
        )


def hint_at_halves(text: bytes) -> str | None:
    """What may be wrong with unreadable JSON that escapes surrogates: a program that cut a text cut an emoji in two."""
    return "each \\ud83d needs its other half, as \\ude00" if _SURROGATE.search(text) else None


def _field_with_nul(body: bytes) -> str | None:
    try:
        return _nul_in(msgspec.json.decode(body))
    except (RecursionError, msgspec.DecodeError):
        return None


def _nul_in(value: Any, place: str = "") -> str | None:
    """The path of the first text with a NUL (`rules[0].name`)."""
    if isinstance(value, str):
        return place or None if "\0" in value else None
    within: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        within = ((f"{place}.{key}" if place else key, one) for key, one in value.items())
    elif isinstance(value, list):
        within = ((f"{place}[{number}]", one) for number, one in enumerate(value))
    return next((found for path, one in within if (found := _nul_in(one, path))), None)


def _answer(request: Request[Any, Any, Any], cause: Exception) -> Response[bytes]:
    request_id = request.scope.get("state", {}).get("request_id")
    made = problem(as_error(cause, request_id), request_id)
    return Response(
        content=made.body,
        status_code=made.status,
        headers={name: value for name, value in made.headers if name != "content-type"},
        media_type=MEDIA_TYPE,
    )
