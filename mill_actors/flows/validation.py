"""Whether a flow's `value` is one, and every fault of it if not. Nothing that is sent can make it raise."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from mill_actors.flows.checks import Inspection, fields
from mill_actors.flows.fault import Fault
from mill_actors.flows.shapes import FLOW
from mill_actors.flows.steps import Steps

__all__ = ["Fault", "validate"]

LANGUAGES = frozenset({"python3", "bun"})
#: Windmill's own limit is the 128 of its JSON parser.
DEEPEST = 100
#: YAML's anchors repeat a list without repeating its text: ten in ten in ten …
MOST_VALUES = 1_000_000


def validate(value: Any, path: str = "value", *, languages: Collection[str] = LANGUAGES) -> list[Fault]:
    """Return every fault, in the order of the document; unknown fields are none."""
    fault = oversize(value, path)
    if fault is not None:
        return [fault]
    faults: list[Fault] = []
    fields(Inspection(faults, Steps(value, path), languages), value, path, FLOW, ["modules"])
    return faults


def oversize(value: Any, path: str) -> Fault | None:
    """Return why something cannot even be walked through: it is too deep, endless or too large."""
    # The members that are left, of each object and list on the way to what is looked at.
    waiting: list[Iterator[Any]] = [iter([value])]
    count = 0
    while waiting:
        count += 1
        if count > MOST_VALUES:
            return Fault(path, f"has more than {MOST_VALUES:,} values")
        if len(waiting) > DEEPEST + 1:
            return Fault(path, f"is nested deeper than {DEEPEST} levels")
        try:
            item = next(waiting[-1])
        except StopIteration:
            waiting.pop()
            continue
        if isinstance(item, dict):
            waiting.append(iter(item.values()))
        elif isinstance(item, list):
            waiting.append(iter(item))
    return None
