"""A job's result as the answer of whoever waited for it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mill_actors.api.answers import raw_answer
from mill_actors.jobs.jsons import decode, encode
from mill_actors.store.jobs import JobResult

#: A result that is an object may say how it is answered.
MARK = '"windmill_'


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
    headers = value.get("windmill_headers")
    told = {
        str(name): str(text)
        for name, text in (headers.items() if isinstance(headers, dict) else ())
        if not _is_unsafe(f"{name}{text}")
    }
    kind = value.get("windmill_content_type")
    body = value.get("result")
    if isinstance(kind, str) and not _is_unsafe(kind):
        text = body if isinstance(body, str) else encode(body).decode()
        return web.Response(status=status, body=text.encode(), headers={**told, "Content-Type": kind})
    answer = encode(body) if "result" in value else b""
    return web.Response(status=status, body=answer, content_type="application/json", headers=told)


def _is_unsafe(text: str) -> bool:
    return any(ord(letter) < 32 or ord(letter) == 127 for letter in text)
