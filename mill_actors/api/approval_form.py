"""The fields of an approval's form, made of its JSON Schema, and what was entered into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from mill_actors.jobs.jsons import decode, encode

#: How many fields a page shows.
MOST_FIELDS = 200
#: What its fields are called in the form, so that none is taken for a button.
PREFIX = "field."


class WrongEntry(ValueError):
    """What was entered is not what the field is for."""


def form_html(schema: Any, defaults: Any, entered: Mapping[str, str] | None = None) -> str:
    """Return the fields as HTML; `entered` is what somebody sent before."""
    given = defaults if isinstance(defaults, dict) else {}
    parts = []
    for name, field, needed in _fields(schema):
        kind = _kind(field)
        value = given.get(name, field.get("default"))
        shown = (entered or {}).get(PREFIX + name)
        if shown is None:
            shown = _shown(value, kind)
        title = field.get("title")
        shown_title = escape(title if isinstance(title, str) else name)
        about = field.get("description")
        hint = f"<span>{escape(about)}</span>" if isinstance(about, str) and about else ""
        field_html = _input(name, field, kind, shown, needed=needed)
        parts.append(f"<label>{shown_title}{hint}{field_html}</label>")
    return "\n".join(parts)


def entered_value(schema: Any, entered: Mapping[str, str]) -> dict[str, Any]:
    """Return what was entered, as the schema has it; raise `WrongEntry`."""
    told = {}
    for name, field, needed in _fields(schema):
        kind = _kind(field)
        text = entered.get(PREFIX + name)
        if kind == "boolean":
            told[name] = text is not None
        elif text is None or (text == "" and kind != "string"):
            if needed:
                raise WrongEntry(f"{name} is missing.")
        else:
            told[name] = _value(name, kind, text)
            if isinstance(field.get("enum"), list) and told[name] not in field["enum"]:
                raise WrongEntry(f"{name} is not one of those to choose from.")
    return told


def _fields(schema: Any) -> Iterator[tuple[str, dict[str, Any], bool]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    order, needed = schema.get("order"), schema.get("required")
    first = [each for each in order if isinstance(each, str)] if isinstance(order, list) else []
    names = [name for name in dict.fromkeys([*first, *properties]) if name in properties]
    for name in names[:MOST_FIELDS]:
        field = properties[name]
        yield name, field if isinstance(field, dict) else {}, isinstance(needed, list) and name in needed


def _kind(field: dict[str, Any]) -> str:
    kind = field.get("type")
    return kind if kind in {"string", "boolean", "integer", "number"} else "json"


def _shown(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == "boolean":
        return "on" if value is True else ""
    return value if isinstance(value, str) and kind != "json" else encode(value).decode()


def _input(name: str, field: dict[str, Any], kind: str, shown: str, *, needed: bool) -> str:
    attributes = f'name="{escape(PREFIX + name)}"' + (" required" if needed and kind != "boolean" else "")
    if isinstance(field.get("enum"), list) and kind != "boolean":
        choices = [each if isinstance(each, str) else encode(each).decode() for each in field["enum"]]
        options = "".join(
            f"<option{' selected' if each == shown else ''}>{escape(each)}</option>"
            for each in ([] if needed else [""]) + choices
        )
        return f"<select {attributes}>{options}</select>"
    match kind:
        case "boolean":
            return f'<input type="checkbox" {attributes}{" checked" if shown else ""}>'
        case "integer" | "number":
            step = "1" if kind == "integer" else "any"
            return f'<input type="number" step="{step}" {attributes} value="{escape(shown)}">'
        case "string":
            return f'<input type="text" {attributes} value="{escape(shown)}">'
        case _:
            return f"<textarea {attributes}>\n{escape(shown)}</textarea>"


def _value(name: str, kind: str, text: str) -> Any:
    if kind == "string":
        return text
    try:
        value = decode(text)
    except (ValueError, RecursionError):
        raise WrongEntry(f"{name} is {'no number' if kind != 'json' else 'not JSON'}.") from None
    wanted: Any = int if kind == "integer" else int | float
    if kind != "json" and (isinstance(value, bool) or not isinstance(value, wanted)):
        raise WrongEntry(f"{name} is no {'whole ' if kind == 'integer' else ''}number.")
    return value
