"""What a route answers. The Content-Type is part of the contract: Windmill's clients parse by it."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

__all__ = ["JsonAnswer", "Raw", "json_answer", "raw_answer", "text_answer"]


class JsonAnswer(Struct, omit_defaults=True, kw_only=True):
    """Base of what is answered as JSON: fields that are None are left out, as Windmill does."""


def json_answer(value: Any, status: int = 200) -> web.Response:
    """Answer JSON."""
    return raw_answer(msgspec.json.encode(value), status)


def raw_answer(text: bytes | str | None, status: int = 200) -> web.Response:
    """Answer what is JSON already; None is null."""
    if isinstance(text, str):
        text = text.encode()
    return web.Response(
        status=status, body=b"null" if text is None else text, content_type="application/json"
    )


def text_answer(text: str, status: int = 200) -> web.Response:
    """Answer plain text: an id, a hash, a word."""
    return web.Response(status=status, text=text)
