"""Walking into a value as JavaScript does, without JavaScript, and so with every digit kept."""

from __future__ import annotations

import re
from typing import Any, Final, final

from mill_actors.flows.references import Path

#: What every object of JavaScript has without having been given it.
_INHERITED = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)
_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_NUMBER_STARTS = frozenset(b"-0123456789"[i : i + 1] for i in range(11))
_FALSE = frozenset({b"null", b"false", b'""'})


class NotPlain(Exception):
    """It takes JavaScript to tell what this property is."""


class ReadOfNothing(Exception):
    """A property of null or undefined was read."""

    def __init__(self, base: str, key: str | int) -> None:
        super().__init__(f"TypeError: Cannot read properties of {base} (reading '{key}')")


@final
class Undefined:
    """JavaScript's other null: what is not there."""


UNDEFINED: Final = Undefined()


def walk(value: Any, path: Path) -> Any:
    """Return what lies at the end of a path's steps, or `UNDEFINED`.

    >>> from mill_actors.flows.references import references
    >>> walk({"a": ["x", "y"]}, references("result.a.length").path)
    2
    """
    for key, is_optional in path.steps:
        match value:
            case None | Undefined():
                if is_optional:
                    return UNDEFINED
                raise ReadOfNothing("null" if value is None else "undefined", key)
            case dict():
                value = _property(value, str(key))
            case list():
                value = len(value) if key == "length" else _item(value, key)
            case str():
                value = _of_text(value, key)
            case _:
                raise NotPlain
    return value


def is_true_text(text: bytes) -> bool:
    """Return whether JavaScript takes a value for true, given as JSON text.

    >>> [is_true_text(text) for text in (b"0.0", b'""', b'"0"', b"[]", b" null")]
    [False, False, True, True, False]
    """
    text = text.strip()
    if text[:1] in _NUMBER_STARTS:
        return float(text) != 0
    return text not in _FALSE


def _property(value: dict[str, Any], key: str) -> Any:
    found = value.get(key, UNDEFINED)
    if found is UNDEFINED and key in _INHERITED:
        raise NotPlain
    return found


def _item(value: list[Any], key: str | int) -> Any:
    index = _index(key)
    return value[index] if index < len(value) else UNDEFINED


def _of_text(value: str, key: str | int) -> Any:
    """Return a property of a text, whose characters are units of UTF-16 in JavaScript."""
    units = value.encode("utf-16-le", "surrogatepass")
    if key == "length":
        return len(units) // 2
    index = _index(key)
    if index >= len(units) // 2:
        return UNDEFINED
    return units[2 * index : 2 * index + 2].decode("utf-16-le", "surrogatepass")


def _index(key: str | int) -> int:
    if isinstance(key, int):
        return key
    if not _INDEX.fullmatch(key):
        raise NotPlain
    return int(key)
