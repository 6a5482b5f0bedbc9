"""What is wrong with a flow, and where in it."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import Struct

_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_LONGEST = 60


class Fault(Struct, frozen=True):
    """One fault; `path` as in `value.modules[2].value.iterator`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def member(path: str, key: str) -> str:
    """Return the path of a member.

    >>> member("value.flow_env", "KEY"), member("value.flow_env", "my key"), member("", "tag")
    ('value.flow_env.KEY', 'value.flow_env["my key"]', 'tag')
    """
    if _WORD.fullmatch(key) and len(key) <= _LONGEST:
        return f"{path}.{key}" if path else key
    return f"{path}[{shown(key)}]"


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not all of a long one."""
    try:
        text = json.dumps(value) if isinstance(value, str) else repr(value)
    except ValueError:  # an integer of more than 4300 digits
        text = kind(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def kind(value: Any) -> str:
    """Return what a value is, in words: `null`, `a number`, `an object`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"
