"""Whether a JSON value has another one in it, as PostgreSQL's `@>` has it. Pure."""

from __future__ import annotations

from typing import Any


def contains(value: Any, wanted: Any) -> bool:
    """Whether `wanted` is in `value`: objects by their keys, arrays by their members, in any order.

    >>> contains({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}})
    True
    """
    match wanted:
        case dict():
            return isinstance(value, dict) and all(
                name in value and contains(value[name], each) for name, each in wanted.items()
            )
        case list():
            return isinstance(value, list) and all(any(contains(v, each) for v in value) for each in wanted)
        case bool() | None:
            return value is wanted
        case _:
            return not isinstance(value, bool) and bool(value == wanted)
