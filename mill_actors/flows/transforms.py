"""Expressions and InputTransforms: values that are fixed or told when the flow runs."""

from __future__ import annotations

from typing import Any

from mill_actors.flows.checks import Check, Inspection, anything, fields
from mill_actors.flows.fault import kind, member, shown
from mill_actors.flows.syntax import steps_read, syntax_error


def expression(*, after: bool = False) -> Check:
    """Return a check of JavaScript; `after`: it is evaluated when its step has ended."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if not isinstance(value, str):
            told.fault(path, f"must be text, not {kind(value)}")
        elif not value.strip():
            told.fault(path, "is empty")
        elif error := syntax_error(value):
            told.fault(path, f"is no JavaScript: {error}")
        else:
            for wanted in steps_read(value):
                why = told.steps.why_unreadable(wanted, told.step, after=after)
                if why is not None:
                    told.fault(path, f"reads {member('results', wanted)}, and {why}")

    return run


def transform(static: Check = anything, *, after: bool = False) -> Check:
    """Return a check of InputTransforms; `static`: what a fixed value has to be."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            told.fault(path, f"must be an object with a type, not {kind(value)}")
            return
        match value.get("type", MISSING):
            case "static":
                fields(told, value, path, {"type": skip, "value": static})
            case "javascript":
                fields(told, value, path, {"type": skip, "expr": expression(after=after)}, ["expr"])
            case "ai":
                told.fault(path, f"{told.name} wants a model to fill it in, which is not available here")
            case other:
                unknown_type(told, other, path, "static and javascript")

    return run


def skip(told: Inspection, value: Any, path: str) -> None:
    """Check nothing: the type was read before."""


#: The type of an object that has none.
MISSING = object()


def unknown_type(told: Inspection, value: Any, path: str, known: str) -> None:
    """Note that there is no such type."""
    what = "is missing" if value is MISSING else f"is {shown(value)}"
    told.fault(f"{path}.type", f"{what}; there are {known}")
