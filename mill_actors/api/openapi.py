"""The OpenAPI 3.1 document, made of the types that validate; nothing in it is written twice."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from mill_actors import __version__
from mill_actors.api.routing import NoQuery, Route

_MEDIA = {
    "json": "application/json",
    "text": "text/plain",
    "ndjson": "application/x-ndjson",
    "events": "text/event-stream",
    "bytes": "application/octet-stream",
    "none": "text/plain",
}

_ANY: dict[str, Any] = {"application/json": {"schema": {}}}
_PAGE = Path(__file__).with_name("openapi.html")

TITLE = "mill-actors"
ABOUT = """\
Windmill's API, as far as mill-actors has it: clients written for Windmill work unmodified.

Send `Authorization: Bearer TOKEN` (or `?token=TOKEN`). A path such as `f/folder/name` stands in the URL with
its slashes. Parameters that are not known are ignored.
"""


class ProblemBody(Struct, omit_defaults=True):
    """What went wrong. `path` is that of the faulty field; some codes have further fields."""

    status: int
    code: str
    message: str
    path: str | None = None


@functools.lru_cache(maxsize=4)
def document(routes: tuple[Route, ...], base_url: str) -> bytes:
    """Return the document as JSON."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    named = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault("/api" + route.template, {})[route.method.lower()] = _operation(route, named)
    told = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__, "description": ABOUT},
        "servers": [{"url": base_url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "problem": {
                    "description": "What went wrong.",
                    "content": {"application/json": {"schema": named[ProblemBody]}},
                }
            },
        },
    }
    return msgspec.json.encode(told)


def _types(routes: Iterable[Route]) -> Iterator[Any]:
    yield ProblemBody
    for route in routes:
        if route.body not in {None, bytes}:
            yield route.body
        if route.form == "json" and route.returns not in {None, Raw, Any}:
            yield route.returns
        if route.query is not NoQuery:
            yield from (each.type for each in msgspec.structs.fields(route.query))


def _operation(route: Route, named: dict[Any, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary.removesuffix("."),
        "parameters": [*_path_parameters(route), *_query_parameters(route, named)],
        "responses": {
            str(route.status): _answer(route, named),
            "default": {"$ref": "#/components/responses/problem"},
        },
    }
    if route.returns is Raw and route.action == "run":
        # A job's result: with 422 if it failed, or with whatever status it says itself.
        told["responses"]["default"] = {"description": "The result, or what went wrong.", "content": _ANY}
    if route.description:
        told["description"] = route.description
    if route.is_public:
        told["security"] = []
    if route.form == "ndjson":
        # Read as it comes, line by line.
        lines: dict[str, Any] = {"schema": {"type": "string"}}
        told["requestBody"] = {"content": {_MEDIA["ndjson"]: lines, "text/plain": lines}}
    elif route.body is bytes and route.method != "GET":
        told["requestBody"] = {"content": {"application/json": {"schema": {}}}}
    elif route.body is not None and route.method != "GET":
        told["requestBody"] = {
            # An empty body is null.
            "required": type(None) not in get_args(route.body),
            "content": {"application/json": {"schema": named[route.body]}},
        }
    return told


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(route: Route, named: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for each in msgspec.structs.fields(route.query):
        schema = _given(named[each.type])
        if isinstance(each.default, str | int | float):
            schema["default"] = each.default
        yield {"name": each.encode_name, "in": "query", "required": each.required, "schema": schema}


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a parameter is when it is there: a query has no null, and an empty one counts as none."""
    choices = [choice for choice in schema.get("anyOf", (schema,)) if choice != {"type": "null"}]
    if {"type": "string"} in choices:
        return {"type": "string"}
    return {"anyOf": [*choices, {"const": ""}]}


def _answer(route: Route, named: dict[Any, Any]) -> dict[str, Any]:
    if route.form == "none":
        return {"description": route.summary}
    if route.form == "events":
        return {"description": route.summary, "content": {_MEDIA["events"]: {}}}
    schema: dict[str, Any] = {"type": "string"}
    if route.form == "json":
        schema = {} if route.returns in {None, Raw, Any} else named[route.returns]
    elif route.form == "bytes":
        schema = {"type": "string", "format": "binary"}
    return {"description": route.summary, "content": {_MEDIA[route.form]: {"schema": schema}}}


def page() -> str:
    """Return a page that shows the document; it loads nothing from elsewhere."""
    return _PAGE.read_text(encoding="utf-8")
