"""What comes from outside and from the database: JSON decoded whole, ids, text that can be stored.

JSON is read by orjson where it suffices, else by the standard library: orjson reads integers beyond
64 bits as floats and refuses lone surrogates, and a job's arguments and results may hold both.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn
from uuid import UUID

import orjson

from mill_actors.errors import JobNotFound

_LONG_NUMBER = re.compile(r"\d{19}")
_LONG_NUMBER_BYTES = re.compile(rb"\d{19}")


def decode(text: str | bytes) -> Any:
    """Return what a JSON text means; raise ValueError if it is none.

    >>> decode(b'{"n": 36893488147419103232}')
    {'n': 36893488147419103232}
    """
    is_long = _LONG_NUMBER.search(text) if isinstance(text, str) else _LONG_NUMBER_BYTES.search(text)
    if not is_long:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return json.loads(text, parse_constant=_refuse)


def job_id(text: str) -> str:
    """Return an id as the database writes it; raise `JobNotFound` for what can be nobody's."""
    try:
        return str(UUID(text))
    except ValueError:
        raise JobNotFound(text) from None


def storable(text: str) -> str:
    """Return a text without what Postgres' text cannot hold: NUL and halves of surrogate pairs."""
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
