"""The whole document of a flow, as Windmill's `flow.yaml` and its API have it, and what is read from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from mill_actors.errors import InvalidFlow
from mill_actors.flows.checks import (
    Check,
    Inspection,
    boolean,
    fields,
    integer,
    number,
    optional,
    record,
    text,
)
from mill_actors.flows.definition import FlowValue, decode_flow
from mill_actors.flows.fault import Fault, kind, shown
from mill_actors.flows.shapes import FLOW
from mill_actors.flows.steps import Steps
from mill_actors.flows.validation import LANGUAGES, oversize
from mill_actors.jobs.jsons import canonical, decode

Durability = Literal["step", "flow"]

_AT = re.compile(r" - at `\$(?P<path>.*)`$")


class FlowDocument(Struct, frozen=True):
    """A flow without faults."""

    summary: str
    description: str
    #: The JSON Schema of the flow's inputs, as it stands; None: it has none.
    schema: Any
    #: The `value` with all its fields; equal values have equal texts.
    value_json: bytes
    value: FlowValue
    tag: str | None = None
    #: Windmill's `dedicated_worker`.
    dedicated: bool = False
    priority: int | None = None
    timeout: float | None = None
    #: What is written down at once: every step's end, or the flow's alone.
    durability: Durability = "step"
    #: All other fields as they stand: options as they were written, and what nobody here has heard of.
    rest: Mapping[str, Any] = {}

    @property
    def whole(self) -> dict[str, Any]:
        """The document again."""
        return whole(self.summary, self.description, self.schema, decode(self.value_json), self.rest)

    @property
    def rest_json(self) -> bytes:
        """Equal ones have equal texts."""
        return canonical(self.rest)


def whole(summary: str, description: str, schema: Any, value: Any, rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document from what is kept of it."""
    told = {"summary": summary, "description": description, "schema": schema, "value": value}
    return {key: item for key, item in told.items() if key in _ALWAYS or item} | dict(rest)


def read_flow(
    document: Any, path: str | None = None, *, languages: Collection[str] = LANGUAGES
) -> FlowDocument:
    """Return what a decoded document says; raise `InvalidFlow` with every fault of it."""
    fault = oversize(document, "document")
    if fault is not None:
        raise InvalidFlow([str(fault)], path)
    if not isinstance(document, dict):
        raise InvalidFlow([f"document: must be an object, not {kind(document)}"], path)
    faults: list[Fault] = []
    told = Inspection(faults, Steps(document.get("value"), "value"), languages)
    fields(told, document, "", _DOCUMENT, ["summary", "value"])
    if faults:
        raise InvalidFlow([str(fault) for fault in faults], path)
    value_json = canonical(document["value"])
    try:
        value = decode_flow(value_json)
    except msgspec.DecodeError as error:
        raise InvalidFlow([_decoding_fault(str(error))], path) from error
    return FlowDocument(
        summary=document["summary"],
        description=document.get("description") or "",
        schema=document.get("schema"),
        value_json=value_json,
        value=value,
        tag=document.get("tag"),
        dedicated=bool(document.get("dedicated_worker")),
        priority=document.get("priority"),
        timeout=document.get("timeout"),
        durability=document.get("durability") or "step",
        # An empty description is there, or is not: only this tells.
        rest={key: item for key, item in document.items() if key not in _OWN or not (key in _ALWAYS or item)},
    )


def _decoding_fault(message: str) -> str:
    """Return a message of msgspec's as a fault.

    >>> _decoding_fault("Expected `int`, got `str` - at `$.modules[0].id`")
    'value.modules[0].id: Expected `int`, got `str`'
    """
    place = _AT.search(message)
    return str(Fault(f"value{place['path'] if place else ''}", _AT.sub("", message)))


def _durability(told: Inspection, value: Any, path: str) -> None:
    if not isinstance(value, str) or value not in {"step", "flow"}:
        told.fault(path, f'must be "step" or "flow", not {shown(value)}')


_ALWAYS = ("summary", "value")
#: What `FlowDocument` has a field for that says it word for word, if it says something.
_OWN = (*_ALWAYS, "description", "schema")
_DOCUMENT: Mapping[str, Check] = {
    "summary": text,
    "description": optional(text),
    "schema": optional(record({})),
    "value": record(FLOW, ["modules"]),
    "tag": optional(text),
    "dedicated_worker": optional(boolean),
    "priority": optional(integer(0, 100)),
    "timeout": optional(number(above=True)),
    "durability": optional(_durability),
    "on_behalf_of_email": optional(text),
    "visible_to_runner_only": optional(boolean),
    "ws_error_handler_muted": optional(boolean),
}
