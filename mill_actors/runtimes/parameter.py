"""A parameter of a script's `main`, as far as its code tells."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

Schema = dict[str, Any]

#: Types within types, deeper than anybody fills in a form.
DEEPEST = 10
#: And as many as that: types that name each other are more than they look.
MOST_TYPES = 500


class Budget:
    """How many types may still be read."""

    def __init__(self) -> None:
        self._left = MOST_TYPES

    def take(self) -> bool:
        """Read one more; False if it is enough."""
        self._left -= 1
        return self._left >= 0


class Parameter(Struct, frozen=True):
    """`schema` is what its type says; empty: anything."""

    name: str
    schema: Schema
    is_required: bool
    #: what it is if it is not given, where that is plain JSON
    default: Any | UnsetType = UNSET

    @property
    def document(self) -> Schema:
        """Its property in the schema of all arguments; without a type it has that of its default."""
        told = self.schema or ({} if self.default is UNSET else kind_of(self.default))
        given = {} if self.default is UNSET else {"default": self.default}
        return {"description": "", **told, **given}


def kind_of(value: Any) -> Schema:
    """Return the type of a JSON value."""
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case _:
            return {}


def is_json(value: Any) -> bool:
    """Whether a literal is plain JSON, of numbers and texts that every client understands."""
    try:
        text = msgspec.json.encode(value)
        return bool(msgspec.json.decode(text) == value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError, msgspec.MsgspecError):
        return False


def one_of(choices: list[Schema]) -> Schema:
    """Return what is one of these: of constants their list, of one type that type, else anything."""
    if all("enum" in choice for choice in choices):
        values = [value for choice in choices for value in choice["enum"]]
        kinds = {choice.get("type") for choice in choices}
        return {**({"type": kinds.pop()} if len(kinds) == 1 else {}), "enum": values}
    return choices[0] if all(choice == choices[0] for choice in choices) else {}


def record(fields: list[Parameter]) -> Schema:
    """Return an object with these members."""
    return {
        "type": "object",
        "properties": {field.name: field.document for field in fields},
        "required": [field.name for field in fields if field.is_required],
    }
