"""JSON from the database, decoded whole: orjson where it suffices, else the standard library.

orjson reads integers beyond 64 bits as floats and refuses lone surrogates; a job's arguments and
results may hold both, and the database keeps them verbatim.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

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


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
