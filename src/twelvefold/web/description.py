"""The API's description: Litestar's OpenAPI 3.1 with our errors, and a page that shows it without scripts.

Every operation can answer with a problem; the one schema of problems stands for all of them. The page
is plain HTML made from the same description, so it works offline and under the strict policy.
"""

import html
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

import msgspec
from litestar import Litestar

_PROBLEM: Final = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong, as RFC 9457 says it. `code` is stable; errors may add members of their own.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "field": {"type": ["string", "null"]},
        "hint": {"type": ["string", "null"]},
        "request_id": {"type": ["string", "null"]},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
_ANSWERS: Final = {
    "400": "The request could not be read.",
    "401": "There is no valid API key.",
    "403": "The key may not do that.",
    "404": "There is nothing here.",
    "409": "It is taken, or has changed.",
    "422": "A value cannot be used.",
    "default": "Something else went wrong.",
}
_METHODS: Final = ("get", "post", "put", "patch", "delete")
STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace; tab-size: 2 }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 6px }
details { border-bottom: 1px solid var(--line) }
summary { cursor: pointer; padding: .5rem 0 }
summary code:first-child { display: inline-block; width: 4.5rem; font-weight: 600 }
summary span { opacity: .75; margin-left: .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-top: 1px solid var(--line) }
"""


def describe(api: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    described: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(api.openapi_schema.to_schema()))
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    # msgspec describes its structs more exactly: bounds inside of lists, and unknown fields that are refused.
    _, exact = msgspec.json.schema_components(_structs(api), ref_template="#/components/schemas/{name}")
    schemas.update({name: schema for name, schema in exact.items() if name in schemas})
    schemas.update({name: schema for name, schema in exact.items() if _is_named_in(name, schemas)})
    schemas["Problem"] = _PROBLEM
    anonymous = {
        (route.path_format, method.lower())
        for route in api.routes
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if handler.opt.get("anonymous")
    }
    for path, method, operation in _operations(described):
        if (path, method) in anonymous:
            operation["security"] = []
        if "204" in operation["responses"]:
            operation["responses"]["204"].pop("content", None)
        operation["responses"].pop("400", None)  # Litestar's own form of errors, which nobody gets
        for status, text in _ANSWERS.items():
            operation["responses"][status] = {
                "description": text,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
    return described


def _structs(api: Litestar) -> list[type[msgspec.Struct]]:
    """The structs that the handlers take and give."""
    found: dict[type[msgspec.Struct], None] = {}

    def collect(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            found[annotation] = None
        for inner in get_args(annotation):
            collect(inner)

    for route in api.routes:
        for handler in getattr(route, "route_handlers", ()):
            signature = handler.parsed_fn_signature
            collect(signature.return_type.annotation)
            if "data" in signature.parameters:
                collect(signature.parameters["data"].annotation)
    return list(found)


def _is_named_in(name: str, schemas: Mapping[str, Any]) -> bool:
    return f'"#/components/schemas/{name}"'.encode() in msgspec.json.encode(schemas)


def page(described: Mapping[str, Any]) -> bytes:
    """The description as one HTML page."""
    schemas = described["components"]["schemas"]
    groups: dict[str, list[str]] = {}
    for path, method, operation in _operations(described):
        group = (operation.get("tags") or ["Other"])[0]
        groups.setdefault(group, []).append(_operation(path, method, operation, schemas))
    sections = "".join(f"<h2>{_text(group)}</h2>{''.join(parts)}" for group, parts in sorted(groups.items()))
    title = _text(f"{described['info']['title']} API {described['info']['version']}")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<link rel=stylesheet href=/docs/style.css><title>{title}</title><h1>{title}</h1>"
        "<p>Send <code>Authorization: Bearer tf_…</code>. Errors are "
        "<code>application/problem+json</code> with a stable <code>code</code>. "
        "<a href=/openapi.json>OpenAPI 3.1</a> · <a href=/console/>Console</a></p>"
        f"{sections}</html>"
    ).encode()


def _operations(described: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in described["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>"] if operation.get("description") else []
    if operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{_text(one['name'])}</code><td>{_text(one['in'])}"
            f"{'' if one.get('required') else ', optional'}<td><code>{_text(_shape(one['schema'], schemas, 0))}</code>"
            f"<td>{_text(one.get('description', ''))}"
            for one in operation["parameters"]
        )
        parts.append(f"<table><tr><th>Name<th>In<th>Type<th>{rows}</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{_text(kind)}</code></p>{_pre(content['schema'], schemas)}")
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            for kind, content in (response.get("content") or {"": {}}).items():
                shown = _pre(content["schema"], schemas) if content.get("schema") else ""
                parts.append(f"<p>{_text(status)} <code>{_text(kind)}</code></p>{shown}")
    return (
        f"<details><summary><code>{method.upper()}</code> <code>{_text(path)}</code>"
        f"<span>{_text(operation.get('summary', ''))}</span></summary>{''.join(parts)}</details>"
    )


def _pre(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    return f"<pre>{_text(_shape(schema, schemas, 0))}</pre>"


def _shape(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> str:
    """A schema as a reader would write it down."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _shape(schemas.get(name, {}), schemas, depth) if depth < 4 else name
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " | ".join(_shape(one, schemas, depth) for one in schema[key])
    if "enum" in schema:
        return " | ".join(msgspec.json.encode(value).decode() for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_shape(schema.get('items', {}), schemas, depth)}, …]"
    if kind == "object" and schema.get("properties"):
        inner = "\t" * (depth + 1)
        lines = [
            f"{inner}{name}{'' if name in schema.get('required', ()) else '?'}: {_shape(one, schemas, depth + 1)}"
            for name, one in schema["properties"].items()
        ]
        return "{\n" + "\n".join(lines) + "\n" + "\t" * depth + "}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("maximum", "≤"),
            ("minLength", "length ≥"),
            ("maxLength", "length ≤"),
        )
        if key in schema
    ]
    name = " | ".join(kind) if isinstance(kind, list) else str(kind)
    shown = f"{name} ({schema['format']})" if "format" in schema else name
    return f"{shown} {', '.join(bounds)}".strip()


def _text(value: object) -> str:
    return html.escape(str(value))
