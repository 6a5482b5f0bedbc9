"""The parameters of a TypeScript script's `main`: what its types say, with the types of the script.

Tree-sitter reads the code, as far as it is TypeScript; what cannot be read is passed over.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import tree_sitter_typescript
from msgspec import UNSET
from tree_sitter import Language, Node, Parser

from mill_actors.runtimes.parameter import DEEPEST, Budget, Parameter, Schema, kind_of, one_of, record

_PREDEFINED = MappingProxyType(
    {
        "string": {"type": "string"},
        "number": {"type": "number"},
        "boolean": {"type": "boolean"},
        "object": {"type": "object"},
    }
)
_NAMED = MappingProxyType(
    {
        "Date": {"type": "string", "format": "date-time"},
        "Record": {"type": "object"},
        "Object": {"type": "object"},
        "bigint": {"type": "integer"},
        "String": {"type": "string"},
        "Number": {"type": "number"},
        "Boolean": {"type": "boolean"},
        # Windmill's own
        "Base64": {"type": "string", "contentEncoding": "base64"},
        "Email": {"type": "string", "format": "email"},
    }
)
_LISTS = frozenset({"Array", "ReadonlyArray"})
#: Around a type, these say nothing about its members' types.
_AROUND = frozenset({"Readonly", "Required", "NonNullable"})
_NOTHING: Schema = {"enum": [None]}
_FUNCTIONS = frozenset(
    {"function_declaration", "function_expression", "arrow_function", "function_signature"}
)
_DECLARATIONS = frozenset({"type_alias_declaration", "interface_declaration", "enum_declaration"})


@functools.cache
def _language() -> Language:
    return Language(tree_sitter_typescript.language_typescript())


def parameters(code: str) -> list[Parameter] | None:
    """Return the parameters of `main`, or of a default export; None if there is neither."""
    root = Parser(_language()).parse(code.encode("utf-8", "replace")).root_node
    reader = _Reader(root)
    main = reader.functions.get("main") or reader.functions.get("default")
    if main is None:
        return None
    told = main.child_by_field_name("parameters")
    if told is None:  # (one) => …, without its brackets
        one = main.child_by_field_name("parameter")
        return [] if one is None else [Parameter(_text(one), {}, is_required=True)]
    return list(reader.parameters(told))


class _Reader:
    """Reads types, with what the module calls by a name."""

    def __init__(self, root: Node) -> None:
        self.functions: dict[str, Node] = {}
        self._types: dict[str, Node] = {}
        self._budget = Budget()
        self._inside: set[str] = set()
        for statement in root.named_children:
            if statement.type != "export_statement":
                self._declare(statement)
                continue
            declared = statement.child_by_field_name("declaration") or statement.child_by_field_name("value")
            if declared is None:
                continue
            self._declare(declared)
            is_default = any(child.type == "default" for child in statement.children)
            if is_default and declared.type in _FUNCTIONS:
                self.functions["default"] = declared

    def _declare(self, told: Node) -> None:
        name = told.child_by_field_name("name")
        if told.type in _FUNCTIONS and name is not None:
            self.functions[_text(name)] = told
        elif told.type in _DECLARATIONS and name is not None:
            self._types[_text(name)] = told
        elif told.type in {"lexical_declaration", "variable_declaration"}:
            for each in told.named_children:
                name, value = each.child_by_field_name("name"), each.child_by_field_name("value")
                if name is not None and value is not None and value.type in _FUNCTIONS:
                    self.functions[_text(name)] = value

    def parameters(self, told: Node) -> Iterator[Parameter]:
        for each in told.named_children:
            pattern = each.child_by_field_name("pattern")
            if each.type not in {"required_parameter", "optional_parameter"} or pattern is None:
                continue
            schema = self._type(each.child_by_field_name("type"), 0)
            if pattern.type in {"object_pattern", "array_pattern"}:
                # All arguments at once, without a name of its own.
                yield from self._members(each.child_by_field_name("type"), 0)
                continue
            if pattern.type == "rest_pattern":
                listed = schema if schema.get("type") == "array" else {"type": "array"}
                yield Parameter(_text(pattern).removeprefix("...").strip(), listed, is_required=False)
                continue
            if pattern.type == "this":
                continue
            value = each.child_by_field_name("value")
            default = UNSET if value is None else _literal(value, 0)
            if not schema and isinstance(default, int | float) and not isinstance(default, bool):
                schema = {"type": "number"}
            needed = each.type == "required_parameter" and value is None
            needed = needed and not _may_be_undefined(each.child_by_field_name("type"))
            yield Parameter(_text(pattern), schema, is_required=needed, default=default)

    def _type(self, told: Node | None, depth: int) -> Schema:
        """Return what a type says; {}: anything."""
        if told is None or depth > DEEPEST or not self._budget.take():
            return {}
        match told.type:
            case "type_annotation" | "parenthesized_type" | "readonly_type" | "literal_type":
                inner = told.named_children[0] if told.named_children else None
                if told.type == "literal_type":
                    return _constant(inner)
                return self._type(inner, depth)
            case "predefined_type":
                return dict(_PREDEFINED.get(_text(told), {}))
            case "array_type":
                return self._list(told.named_children[0], depth)
            case "tuple_type":
                return {"type": "array"}
            case "object_type":
                return record(list(self._members(told, depth)))
            case "union_type":
                return self._union(told, depth)
            case "type_identifier":
                return self._named(_text(told), depth)
            case "nested_type_identifier":
                # RT.Postgresql, as Windmill's command line makes them
                module, _, name = _text(told).rpartition(".")
                return _resource(name) if module == "RT" else {}
            case "generic_type":
                return self._generic(told, depth)
            case _:
                return {}

    def _list(self, item: Node, depth: int) -> Schema:
        schema = self._type(item, depth + 1)
        return {"type": "array", **({"items": schema} if schema else {})}

    def _union(self, told: Node, depth: int) -> Schema:
        choices = [self._type(member, depth + 1) for member in _flat(told)]
        # Null and undefined are what is not given.
        choices = [choice for choice in choices if choice != _NOTHING]
        return one_of(choices) if choices else {}

    def _named(self, name: str, depth: int) -> Schema:
        declared = self._types.get(name)
        if declared is None:
            return dict(_NAMED.get(name, {}))
        if declared.type == "enum_declaration":
            return _enum(declared)
        if name in self._inside:
            return {"type": "object"}
        self._inside.add(name)
        if declared.type == "interface_declaration":
            schema = record(list(self._members(declared.child_by_field_name("body"), depth + 1)))
        else:
            schema = self._type(declared.child_by_field_name("value"), depth + 1)
        self._inside.discard(name)
        # Windmill's way to name a type of resources: type Postgresql = object
        return _resource(name) if schema == {"type": "object"} else schema

    def _generic(self, told: Node, depth: int) -> Schema:
        name, given = told.child_by_field_name("name"), told.child_by_field_name("type_arguments")
        inner = [] if given is None else given.named_children
        word = "" if name is None else _text(name)
        if word in _LISTS and len(inner) == 1:
            return self._list(inner[0], depth)
        if word in _AROUND and len(inner) == 1:
            return self._type(inner[0], depth + 1)
        if word == "Partial" and len(inner) == 1:
            schema = self._type(inner[0], depth + 1)
            return {**schema, "required": []} if "required" in schema else schema
        if word == "Resource" and inner and inner[0].type == "literal_type":
            named = _constant(inner[0].named_children[0]).get("enum", [""])[0]
            return _resource(str(named))
        return dict(_NAMED.get(word, {}))

    def _members(self, told: Node | None, depth: int) -> Iterator[Parameter]:
        """Return the members of an object's type, whatever it is called."""
        while told is not None and told.type in {"type_annotation", "parenthesized_type"}:
            told = told.named_children[0] if told.named_children else None
        if told is not None and told.type == "type_identifier" and depth <= DEEPEST:
            declared = self._types.get(_text(told))
            if declared is not None:
                body = declared.child_by_field_name("body") or declared.child_by_field_name("value")
                yield from self._members(body, depth + 1)
            return
        if told is None or told.type not in {"object_type", "interface_body"}:
            return
        for each in told.named_children:
            name = each.child_by_field_name("name")
            if each.type != "property_signature" or name is None:
                continue
            word = _string(name) if name.type == "string" else _text(name)
            is_optional = any(child.type == "?" for child in each.children)
            schema = self._type(each.child_by_field_name("type"), depth + 1)
            if word is not None:
                yield Parameter(word, schema, is_required=not is_optional)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _flat(union: Node) -> list[Node]:
    """Return the members of a union: to the parser, all but the last are a union themselves."""
    members: list[Node] = []
    waiting = [union]
    while waiting:
        node = waiting.pop()
        if node.type == "union_type":
            waiting += reversed(node.named_children)
        else:
            members.append(node)
    return members


def _may_be_undefined(told: Node | None) -> bool:
    if told is None:
        return False
    inner = told.named_children[0] if told.named_children else None
    return (
        inner is not None
        and inner.type == "union_type"
        and any(_text(member) == "undefined" for member in _flat(inner))
    )


def _resource(name: str) -> Schema:
    """Return a resource of a type, by Windmill's name of it.

    >>> _resource("MyDatabase")
    {'type': 'object', 'format': 'resource-my_database'}
    """
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return {"type": "object", "format": f"resource-{snake.lstrip('_')}"}


def _enum(told: Node) -> Schema:
    body = told.child_by_field_name("body")
    values: list[Any] = []
    for place, each in enumerate(() if body is None else body.named_children):
        value = each.child_by_field_name("value")
        values.append(place if value is None else _literal(value, 0))
    if not values or not all(isinstance(value, str | int | float) for value in values):
        return {}
    kind = {"type": "string"} if all(isinstance(value, str) for value in values) else {"type": "number"}
    return {**kind, "enum": values}


def _constant(told: Node | None) -> Schema:
    if told is None or told.type in {"null", "undefined"}:
        return _NOTHING
    value = _literal(told, 0)
    return {} if value is UNSET else {**kind_of(value), "enum": [value]}


def _literal(told: Node, depth: int) -> Any:
    """Return the value of a literal; UNSET for what is computed."""
    if depth > DEEPEST:
        return UNSET
    match told.type:
        case "string":
            found = _string(told)
            return UNSET if found is None else found
        case "true" | "false" | "null":
            return {"true": True, "false": False, "null": None}[told.type]
        case "number" | "unary_expression":
            return _number(_text(told))
        case "array":
            items = [_literal(each, depth + 1) for each in told.named_children]
            return UNSET if any(item is UNSET for item in items) else items
        case "object":
            members: dict[str, Any] = {}
            for each in told.named_children:
                key, value = each.child_by_field_name("key"), each.child_by_field_name("value")
                if each.type != "pair" or key is None or value is None:
                    return UNSET
                name = _string(key) if key.type == "string" else _text(key)
                item = _literal(value, depth + 1)
                if name is None or item is UNSET or key.type not in {"string", "property_identifier"}:
                    return UNSET
                members[name] = item
            return members
        case _:
            return UNSET


def _number(text: str) -> Any:
    try:
        found = json.loads(text.replace("_", ""))
    except (ValueError, RecursionError):
        return UNSET
    return found if isinstance(found, int | float) and abs(found) < 2**53 else UNSET


def _string(told: Node) -> str | None:
    parts = []
    for each in told.named_children:
        text = _text(each)
        if each.type == "escape_sequence":
            try:
                text = {"\\'": "'"}.get(text) or json.loads(f'"{text}"')
            except ValueError:
                return None
        parts.append(text)
    found = "".join(parts)
    return None if any("\ud800" <= letter <= "\udfff" for letter in found) else found
