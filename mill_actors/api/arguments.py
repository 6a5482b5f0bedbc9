"""A request's body as a job's arguments, by the rules of Windmill's webhooks.

An object is the arguments; anything else is their `body`. `wrap_body=true` wraps an object too, `raw=true`
adds the text as `raw_string`, `include_query=a,b` and `include_header=x-a,b` add those.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from msgspec import Struct

from mill_actors.api.problems import Problem
from mill_actors.jobs.jsons import decode, encode

_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})

FORM = "application/x-www-form-urlencoded"


class ArgumentQuery(Struct, kw_only=True):
    """What tells how arguments are made."""

    #: names of headers, by commas; the argument is in lower case, with `_` for `-`
    include_header: str | None = None
    #: names of query parameters, by commas
    include_query: str | None = None
    wrap_body: bool = False
    raw: bool = False
    #: of a GET: base64url of the JSON
    payload: str | None = None


def arguments(request: web.Request, body: bytes, told: ArgumentQuery) -> bytes:
    """Return the arguments as a JSON object; raise a 400 `Problem` for a body that is none."""
    if told.payload is not None and request.method in {"GET", "HEAD"}:
        body = from_base64(told.payload)
    kind = request.content_type
    value: Any
    # `curl -d` says that JSON is a form.
    if kind == FORM and body and not body.lstrip().startswith((b"{", b"[")):
        value = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        text = encode(value)
    else:
        text = body.strip() or b"null"
        plain = not (told.wrap_body or told.raw or told.include_header or told.include_query)
        if plain and text.startswith(b"{"):
            return text  # whether it is JSON is checked where it is submitted
        try:
            value = _decoded(text)
        except Problem:
            if not told.raw:
                raise
            value = None
    args: dict[str, Any] = value if isinstance(value, dict) else {}
    if told.wrap_body or not isinstance(value, dict | None):
        args = {"body": value}
    if told.raw:
        args["raw_string"] = body.decode("utf-8", "replace")
    for name in _names(told.include_query):
        args[name] = request.query.get(name)
    for name in _names(told.include_header):
        args[name.lower().replace("-", "_")] = request.headers.get(name)
    return encode(args)


def event_of(request: web.Request, body: bytes, told: ArgumentQuery) -> dict[str, Any]:
    """Return a request as the `event` of a preprocessor, in Windmill's shape; without credentials."""
    plain = arguments(request, body, ArgumentQuery(payload=told.payload))
    return {
        "kind": "webhook",
        "body": _decoded(plain),
        "raw_string": body.decode("utf-8", "replace") if told.raw else None,
        "query": {name: text for name, text in request.query.items() if name != "token"},
        "headers": {
            name.lower(): text for name, text in request.headers.items() if name.lower() not in _CREDENTIALS
        },
    }


def from_base64(text: str) -> bytes:
    """Return what a `payload` parameter holds; both alphabets will do, padding need not be."""
    try:
        return base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        raise Problem(400, "invalid_query", "payload is no base64.", "$.payload") from None


def _decoded(text: bytes) -> Any:
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_body", f"The body is not JSON: {error}") from None


def _names(told: str | None) -> list[str]:
    return [name.strip() for name in (told or "").split(",") if name.strip()]
