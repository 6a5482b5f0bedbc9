"""What goes wrong, as an answer: one shape, whatever it is.

    {"status": 400, "code": "invalid_body", "message": "Expected `str`, got `int`", "path": "$.summary"}

`path` is that of the faulty field, where there is one; other fields belong to a code.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import msgspec
from aiohttp import web

from mill_actors.errors import (
    FlowNotFound,
    InvalidArgs,
    InvalidFlow,
    InvalidToken,
    JobNotFound,
    MillError,
    ScriptNotFound,
    StoreRefused,
    StoreUnavailable,
    SubmissionConflict,
)
from mill_actors.store.access import MemberNotFound
from mill_actors.store.deployments import VersionConflict
from mill_actors.store.flow_control import AlreadyAnswered
from mill_actors.store.people import PersonExists
from mill_actors.store.shared_values import PathTaken, SharedValueNotFound
from mill_actors.store.submitter import TooBusy

logger = logging.getLogger(__name__)

#: msgspec ends its messages with where the fault is.
_WHERE = re.compile(r" - at `(.*)`$", re.DOTALL)


class Problem(MillError):
    """An answer that says what is wrong."""

    def __init__(self, status: int, code: str, message: str, path: str | None = None, **more: object) -> None:
        self.status = status
        self.code = code
        self.path = path
        self.more = more
        self.headers: dict[str, str] = {}
        if status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="mill"'
        elif status == 503:
            self.headers["Retry-After"] = "1"
        super().__init__(message)

    def body(self) -> bytes:
        """Return it as JSON."""
        told: dict[str, Any] = {"status": self.status, "code": self.code, "message": str(self)}
        if self.path is not None:
            told["path"] = self.path
        return msgspec.json.encode({**told, **self.more})

    def answer(self) -> web.Response:
        """Return it as a response."""
        return web.Response(
            status=self.status, body=self.body(), content_type="application/json", headers=self.headers
        )


def not_found(what: str) -> Problem:
    """There is no such thing."""
    return Problem(404, "not_found", f"There is no {what}.")


def invalid(error: Exception, where: str) -> Problem:
    """What msgspec refused; `where` is `body`, `query` or the like."""
    message = str(error)
    found = _WHERE.search(message)
    path = None if found is None else found[1]
    return Problem(400, f"invalid_{where}", _WHERE.sub("", message) or "It is nested too deeply", path)


def problem_of(error: BaseException) -> Problem:
    """Return what an error means to whoever asked. A bug is logged here, and told without its words."""
    match error:
        case Problem():
            return error
        case JobNotFound() | MemberNotFound() | SharedValueNotFound():
            return Problem(404, "not_found", str(error))
        case PersonExists():
            return Problem(400, "taken", str(error))
        case PathTaken():
            return Problem(400, "taken", str(error), error.path)
        case ScriptNotFound() | FlowNotFound():
            return Problem(404, "not_found", str(error), similar=error.similar)
        case InvalidArgs():
            return Problem(400, "invalid_args", str(error))
        case InvalidFlow():
            return Problem(400, "invalid_flow", str(error), faults=error.faults)
        case InvalidToken():
            return Problem(401, "unauthorized", str(error))
        case VersionConflict():
            return Problem(400, "version_conflict", str(error), "$.parent_hash", found=error.found)
        case SubmissionConflict():
            return Problem(409, "conflict", str(error), job=error.job_id)
        case AlreadyAnswered():
            return Problem(409, "conflict", str(error), job=error.job)
        case StoreRefused():
            return Problem(400, "invalid_value", f"The database refused a value: {error}".strip())
        case StoreUnavailable():
            return Problem(503, "unavailable", "The database is away. Try again.")
        case TooBusy():
            return Problem(503, "busy", "More submissions wait than this server takes. Come again.")
        case MillError():
            return Problem(400, "refused", str(error))
        case RecursionError():
            return Problem(400, "invalid_value", "It is nested too deeply.")
        case web.RequestPayloadError():
            return Problem(400, "invalid_body", "The body is not what its headers say it is.")
        case web.HTTPException():
            told = Problem(error.status, (error.reason or "error").lower().replace(" ", "_"), _words(error))
            if isinstance(error, web.HTTPMethodNotAllowed):
                told.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return told
        case _:
            logger.error("a request failed", exc_info=error)
            return Problem(500, "internal", "This is a bug of the server's: its log says more.")


def _words(error: web.HTTPException) -> str:
    match error:
        case web.HTTPNotFound():
            return "There is no such route: /api/openapi.json lists them all."
        case web.HTTPMethodNotAllowed():
            return f"{error.method} is not for this route: {', '.join(sorted(error.allowed_methods))} may be."
        case web.HTTPRequestEntityTooLarge():
            return "The body is too large."
        case _:
            return error.reason or "The request was refused."
