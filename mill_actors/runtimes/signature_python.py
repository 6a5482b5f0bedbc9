"""The parameters of a Python script's `main`: what its annotations say, with the classes of the script."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from msgspec import UNSET

from mill_actors.runtimes.parameter import (
    DEEPEST,
    Budget,
    Parameter,
    Schema,
    is_json,
    kind_of,
    one_of,
    record,
)

_PLAIN = MappingProxyType(
    {
        "str": {"type": "string"},
        "int": {"type": "integer"},
        "float": {"type": "number"},
        "bool": {"type": "boolean"},
        "dict": {"type": "object"},
        "Dict": {"type": "object"},
        "Mapping": {"type": "object"},
        "list": {"type": "array"},
        "List": {"type": "array"},
        "Sequence": {"type": "array"},
        "tuple": {"type": "array"},
        "Tuple": {"type": "array"},
        "set": {"type": "array"},
        "bytes": {"type": "string", "contentEncoding": "base64"},
        "datetime": {"type": "string", "format": "date-time"},
        "date": {"type": "string", "format": "date"},
    }
)
_ITEMS = frozenset({"list", "List", "Sequence", "set"})
#: Around a type, these say nothing about it.
_AROUND = frozenset({"Optional", "Required", "NotRequired", "ReadOnly", "Final", "Annotated"})
_NONE: Schema = {"enum": [None]}


def parameters(code: str) -> list[Parameter] | None:
    """Return the parameters of `main`; None if the code is not Python, or has none."""
    try:
        module = ast.parse(code)
    # Too deep for the parser, in its three ways to say so.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    mains = [each for each in module.body if isinstance(each, functions) and each.name == "main"]
    if not mains:
        return None
    return list(_Reader(module).parameters(mains[-1].args))


class _Reader:
    """Reads annotations, with what the module calls by a name."""

    def __init__(self, module: ast.Module) -> None:
        self._classes = {each.name: each for each in module.body if isinstance(each, ast.ClassDef)}
        self._aliases: dict[str, ast.expr] = {}
        self._budget = Budget()
        self._inside: set[str] = set()
        for each in module.body:
            match each:
                case ast.Assign([ast.Name(name)], value):
                    self._aliases[name] = value
                case ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                    self._aliases[name] = value
                case _:
                    pass

    def parameters(self, told: ast.arguments) -> Iterator[Parameter]:
        positional = [*told.posonlyargs, *told.args]
        missing: list[ast.expr | None] = [None] * (len(positional) - len(told.defaults))
        for argument, default in zip(positional, [*missing, *told.defaults], strict=True):
            yield self._parameter(argument.arg, argument.annotation, default)
        if told.vararg is not None:
            item = self._type(told.vararg.annotation, 1)
            schema: Schema = {"type": "array", **({"items": item} if item else {})}
            yield Parameter(told.vararg.arg, schema, is_required=False)
        for argument, default in zip(told.kwonlyargs, told.kw_defaults, strict=True):
            yield self._parameter(argument.arg, argument.annotation, default)

    def _parameter(
        self, name: str, annotation: ast.expr | None, default: ast.expr | None, depth: int = 0
    ) -> Parameter:
        schema = self._type(annotation, depth)
        if default is None:
            return Parameter(name, schema, is_required=True)
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            value = ...
        known = UNSET if value is ... or not is_json(value) else value
        return Parameter(name, schema, is_required=False, default=known)

    def _type(self, told: ast.expr | None, depth: int) -> Schema:
        """Return what an annotation says; {}: anything."""
        if told is None or depth > DEEPEST or not self._budget.take():
            return {}
        match told:
            case ast.Constant(str(text)):
                return self._type(_expression(text), depth + 1)
            case ast.Constant(None):
                return _NONE
            case ast.Name(name):
                return self._named(name, depth)
            case ast.Attribute(_, name):
                # typing.List, datetime.datetime: by their last name
                return dict(_PLAIN.get(name, {}))
            case ast.BinOp(_, ast.BitOr(), _):
                return self._union(list(_flat(told)), depth)
            case ast.Subscript(ast.Name(name) | ast.Attribute(_, name), inner):
                return self._generic(name, _elements(inner), depth)
            case _:
                return {}

    def _named(self, name: str, depth: int) -> Schema:
        if name in self._inside:
            return {"type": "object"}
        if name in self._classes:
            self._inside.add(name)
            schema = self._class(self._classes[name], depth)
            self._inside.discard(name)
            return schema
        if name in self._aliases:
            told = self._type(self._aliases[name], depth + 1)
            # Windmill's way to name a type of resources: postgresql = dict
            is_resource = told.get("type") == "object" and name.islower()
            return {**told, "format": f"resource-{name}"} if is_resource else told
        return dict(_PLAIN.get(name, {}))

    def _generic(self, name: str, inner: list[ast.expr], depth: int) -> Schema:
        if name == "Literal":
            values = [each.value for each in inner if isinstance(each, ast.Constant)]
            kinds = [kind_of(value) for value in values]
            if len(values) != len(inner) or not is_json(values):
                return {}
            return {**(kinds[0] if all(kind == kinds[0] for kind in kinds) else {}), "enum": values}
        if name == "Union":
            return self._union(inner, depth)
        if name in _AROUND:
            return self._type(inner[0], depth + 1)
        if name in _ITEMS and len(inner) == 1:
            item = self._type(inner[0], depth + 1)
            return {"type": "array", **({"items": item} if item else {})}
        return dict(_PLAIN.get(name, {}))

    def _union(self, members: list[ast.expr], depth: int) -> Schema:
        choices = [self._type(each, depth + 1) for each in members]
        # None is what is not given.
        choices = [choice for choice in choices if choice != _NONE]
        return one_of(choices) if choices else {}

    def _class(self, told: ast.ClassDef, depth: int) -> Schema:
        """Return the fields of a class that is made of annotations; the values of an enumeration."""
        bases = {name for base in told.bases if (name := _last_name(base)) is not None}
        if bases & {"Enum", "StrEnum", "IntEnum"}:
            values = [
                each.value.value
                for each in told.body
                if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
            ]
            return {**kind_of(values[0]), "enum": values} if values and is_json(values) else {}
        fields = [
            self._field(each, depth)
            for each in told.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
        if not fields:
            return {"type": "object"} if bases & {"TypedDict", "dict"} else {}
        schema = record(fields)
        if any(word.arg == "total" and _is_false(word.value) for word in told.keywords):
            schema["required"] = []
        return {**schema, "format": f"resource-{told.name}"} if told.name.islower() else schema

    def _field(self, told: ast.AnnAssign, depth: int) -> Parameter:
        assert isinstance(told.target, ast.Name)
        field = self._parameter(told.target.id, told.annotation, told.value, depth + 1)
        may_be_left_out = (
            isinstance(told.annotation, ast.Subscript) and _last_name(told.annotation.value) == "NotRequired"
        )
        return Parameter(field.name, field.schema, is_required=False) if may_be_left_out else field


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _flat(union: ast.expr) -> Iterator[ast.expr]:
    """Return the members of `A | B | C`: to the parser, all but the last are a union themselves."""
    members: list[ast.expr] = []
    while isinstance(union, ast.BinOp) and isinstance(union.op, ast.BitOr):
        members.append(union.right)
        union = union.left
    yield from (union, *reversed(members))


def _elements(inner: ast.expr) -> list[ast.expr]:
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _last_name(told: ast.expr) -> str | None:
    match told:
        case ast.Name(name) | ast.Attribute(_, name):
            return name
        case _:
            return None


def _is_false(told: Any) -> bool:
    return isinstance(told, ast.Constant) and told.value is False
