"""JSON as it comes from outside and goes out again: whole numbers of any size, any text.

By orjson where it suffices, else by the standard library: orjson reads integers beyond 64 bits as
floats and refuses lone surrogates, and a job's arguments and results may hold both.
"""

from __future__ import annotations

import json
import math
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


def encode(value: Any) -> bytes:
    """Return a value of JSON as its text; what is no number becomes null, as JSON.stringify has it.

    >>> encode({"n": 36893488147419103232, "x": float("nan")})
    b'{"n":36893488147419103232,"x":null}'
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        pass
    # In ASCII: a lone surrogate has no bytes of its own.
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).encode()


def canonical(value: Any) -> bytes:
    """Return a value's text with sorted keys: equal values have equal texts.

    >>> canonical({"b": 1, "a": [2]})
    b'{"a":[2],"b":1}'
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        text = json.dumps(
            _finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
        )
    # A lone surrogate is told as JSON tells it.
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_finite(item) for item in value]
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case _:
            return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
