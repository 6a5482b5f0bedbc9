"""A job's arguments, as people write them on a command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mill_actors.errors import InvalidArgs


def read_arguments(pairs: Sequence[str], whole: str | None, *, whole_name: str = "--args") -> dict[str, Any]:
    """Return `--args` with each `--arg` over it; raise `InvalidArgs`.

    A value of `--arg` that parses as JSON is that JSON, any other is text.

    >>> read_arguments(["n=3", "name=Ada", "tags=[1]"], '{"n": 1, "deep": {"a": null}}')
    {'n': 3, 'deep': {'a': None}, 'name': 'Ada', 'tags': [1]}
    """
    arguments = _whole(whole_name, whole) if whole is not None else {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidArgs("--arg", f"{pair!r} is not KEY=VALUE")
        arguments[name] = _value(text)
    return arguments


def _whole(name: str, told: str) -> dict[str, Any]:
    value = read_json(name, told)
    if not isinstance(value, dict):
        raise InvalidArgs(name, "must be a JSON object")
    return value


def read_json(subject: str, told: str) -> Any:
    """Return a value that was given as JSON, or as @ and a file's name; raise `InvalidArgs`."""
    text = told
    if told.startswith("@"):
        try:
            text = Path(told[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgs(subject, f"{told[1:]} cannot be read: {error}") from None
    try:
        return _strict(text)
    except ValueError as error:
        raise InvalidArgs(subject, f"is not JSON: {error}") from None


def _value(text: str) -> Any:
    try:
        return _strict(text)
    except ValueError:
        return text


def _strict(text: str) -> Any:
    # Python reads NaN and Infinity as numbers, which JSON does not have.
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)
