"""A job's result as the answer of whoever waited for it."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from mill_actors.api.answers import raw_answer
from mill_actors.jobs.jsons import decode, encode
from mill_actors.store.jobs import JobResult

#: A result that is an object may say how it is answered.
MARK = '"windmill_'
#: What a browser makes of it has no part in this origin: who looks at it may be signed in here, and whoever
#: wrote the script is not to speak for him.
_POLICY = "Content-Security-Policy"
_SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"
#: What says where an answer ends, and what becomes of the connection, which others may share.
_OURS = frozenset({
    "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Nobody is signed in as somebody else by a result.
_SESSION = re.compile(r"set-cookie: *token *=", re.IGNORECASE)


def result_answer(told: JobResult) -> web.Response:
    """Answer a result: 200, or 422 if the job failed, or what the result itself says.

    `windmill_status_code`, `windmill_content_type` and `windmill_headers` say it; then `result` is the body.
    """
    # A flow that was skipped has ended well.
    status = 422 if told.status in {"failure", "cancelled"} else 200
    if told.raw is not None and MARK in told.raw:
        value = decode(told.raw)
        if isinstance(value, dict) and any(name.startswith("windmill_") for name in value):
            return _shaped(value, status)
    return raw_answer(told.raw, status)


def _shaped(value: dict[str, Any], status: int) -> web.Response:
    code = value.get("windmill_status_code")
    if isinstance(code, int) and 200 <= code <= 599:
        status = code
    elif "result" not in value and status == 200:
        status = 204
    told = _headers(value.get("windmill_headers"))
    kind = value.get("windmill_content_type", told.get("Content-Type"))
    body = value.get("result")
    if isinstance(kind, str) and not _is_unsafe(kind):
        told["Content-Type"] = kind
        text = body if isinstance(body, str) else encode(body).decode()
        return web.Response(status=status, body=text.encode("utf-8", "replace"), headers=told)
    told["Content-Type"] = "application/json"
    return web.Response(status=status, body=encode(body) if "result" in value else b"", headers=told)


def _headers(given: Any) -> CIMultiDict[str]:
    told: CIMultiDict[str] = CIMultiDict({"X-Content-Type-Options": "nosniff"})
    for name, value in given.items() if isinstance(given, dict) else ():
        text = str(value)
        is_name = _NAME.fullmatch(name) and name.lower() not in _OURS
        if is_name and not _is_unsafe(text) and not _SESSION.match(f"{name}:{text}"):
            told[name] = text
    # Several policies with commas between them hold together.
    own = told.get(_POLICY)
    told[_POLICY] = _SANDBOX if own is None else f"{_SANDBOX}, {own}"
    return told


def _is_unsafe(text: str) -> bool:
    return any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in text)
