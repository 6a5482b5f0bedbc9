"""What a failed job answers: name, message and stack of an exception, for its author.

The stack holds the user's frames with the user's lines; frames of this program, of the
import machinery and of the event loop above them are left out.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from .failures import Failure
from .results import encoder

_OURS = (str(Path(__file__).parent), "<frozen importlib", "<frozen runpy")
_LIMIT = 64 * 1024

_encode = encoder(_LIMIT)


def _is_ours(trace: TracebackType) -> bool:
    filename = trace.tb_frame.f_code.co_filename
    if filename.startswith(_OURS):
        return True
    module = str(trace.tb_frame.f_globals.get("__name__"))
    return module.startswith(("asyncio.", "importlib"))


def _user_part(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace


def _cut(text: str) -> str:
    if len(text) <= _LIMIT:
        return text
    half = _LIMIT // 2
    return f"{text[:half]}\n... {len(text) - _LIMIT} characters left out ...\n{text[-half:]}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__} whose text raised {type(broken).__name__}>"


def _stack(error: BaseException) -> str:
    seen: set[int] = set()
    chained: BaseException | None = error
    while chained is not None and id(chained) not in seen:
        seen.add(id(chained))
        chained.__traceback__ = _user_part(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
    except Exception:  # noqa: BLE001 - formatting calls the user's __str__ and __repr__
        lines = traceback.format_tb(error.__traceback__)
    return "".join(lines)


def describe(error: BaseException) -> bytes:
    """Return the error as JSON: name, message, stack and, if it has some, extra attributes."""
    if isinstance(error, Failure):
        answer: dict[str, Any] = {"name": error.name, "message": _message(error), "stack": ""}
        extra: dict[str, Any] = error.extra
    else:
        message = _message(error)
        if isinstance(error, SystemExit):
            code = "" if error.code is None else repr(error.code)
            message = f"the script called sys.exit({code})"
        elif isinstance(error, MemoryError) and not message:
            # Python itself has no words for it.
            message = "the process has reached its memory limit"
        answer = {"name": type(error).__name__, "message": message, "stack": _stack(error)}
        extra = {key: value for key, value in vars(error).items() if key != "__notes__"}
    answer["message"] = _cut(answer["message"])
    answer["stack"] = _cut(answer["stack"])
    if extra:
        answer["extra"] = _attributes(extra)
    return json.dumps(answer, separators=(",", ":")).encode()


def _attributes(extra: dict[str, Any]) -> Any:
    """Return the attributes as JSON has them, or as text where it has not."""
    try:
        return json.loads(_encode(extra))
    except Exception:  # noqa: BLE001 - whatever users hang on their exceptions
        return {str(key)[:100]: _shown(value) for key, value in list(extra.items())[:100]}


def _shown(value: object) -> str:
    try:
        return repr(value)[:500]
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__}>"
