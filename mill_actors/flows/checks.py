"""Checks of single values: what each takes is said by its name, and what it finds goes to `Inspection`.

Members of objects are looked at in the order of the document, so that faults are too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct

from mill_actors.flows.fault import Fault, kind, member, shown
from mill_actors.flows.steps import Step, Steps

#: Windmill's numbers have 32 bits.
LARGEST = 2**31 - 1
# Python refuses to write integers of more than 4300 digits.
_BITS = 14_000
_SURROGATE = re.compile("[\ud800-\udfff]")


class Inspection(Struct, frozen=True):
    """What checks share: the faults so far, the flow's steps, and the step that is looked at."""

    faults: list[Fault]
    steps: Steps
    languages: Collection[str]
    step: Step | None = None

    @property
    def name(self) -> str:
        """The step's, for messages."""
        return "the step" if self.step is None else self.step.name

    def fault(self, path: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(path or "document", message))


Check = Callable[[Inspection, Any, str], None]


def fields(
    told: Inspection, value: Any, path: str, known: Mapping[str, Check], required: Collection[str] = ()
) -> None:
    """Check an object member by member; unknown members may hold any JSON."""
    if not isinstance(value, dict):
        told.fault(path, f"must be an object, not {kind(value)}")
        return
    for name in required:
        if name not in value:
            told.fault(member(path, name), "is missing")
    for key, item in value.items():
        if isinstance(key, str) and not _SURROGATE.search(key):
            known.get(key, anything)(told, item, member(path, key))
        else:
            told.fault(path, f"has a key that is no text: {shown(key)}")


def record(known: Mapping[str, Check], required: Collection[str] = ()) -> Check:
    """Return a check of objects with these members."""
    return lambda told, value, path: fields(told, value, path, known, required)


def items(check: Check) -> Check:
    """Return a check of lists."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if not isinstance(value, list):
            told.fault(path, f"must be a list, not {kind(value)}")
            return
        for index, item in enumerate(value):
            check(told, item, f"{path}[{index}]")

    return run


def optional(check: Check) -> Check:
    """Return the check, for values that may be null."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if value is not None:
            check(told, value, path)

    return run


def anything(told: Inspection, value: Any, path: str) -> None:
    """Check that it is JSON: YAML has dates, and Python has more."""
    match value:
        case None | bool():
            pass
        case str():
            text(told, value, path)
        case int():
            if value.bit_length() > _BITS:
                told.fault(path, "has too many digits")
        case float():
            if not math.isfinite(value):
                told.fault(path, f"is {value}, which is not in JSON")
        case list():
            items(anything)(told, value, path)
        case dict():
            fields(told, value, path, {})
        case _:
            told.fault(path, f"is {kind(value)}, which is not in JSON: put it in quotes")


def text(told: Inspection, value: Any, path: str) -> None:
    """Check that it is text."""
    if not isinstance(value, str):
        told.fault(path, f"must be text, not {kind(value)}")
    elif _SURROGATE.search(value):
        told.fault(path, "is no Unicode text")


def boolean(told: Inspection, value: Any, path: str) -> None:
    """Check that it is true or false."""
    if not isinstance(value, bool):
        told.fault(path, f"must be true or false, not {kind(value)}")


def integer(low: int, high: int = LARGEST) -> Check:
    """Return a check of whole numbers."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            is_broken = isinstance(value, float)
            told.fault(path, f"must be a whole number, not {shown(value) if is_broken else kind(value)}")
        elif not low <= value <= high:
            told.fault(path, f"must be {_range(low, high)}, not {_number(value)}")

    return run


def number(low: float = 0, high: float = LARGEST, *, above: bool = False) -> Check:
    """Return a check of numbers; `above`: `low` itself is too low."""

    def run(told: Inspection, value: Any, path: str) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            told.fault(path, f"must be a number, not {kind(value)}")
        elif not low <= value <= high or (above and value == low):
            wanted = f"above {low}" if above else _range(low, high)
            told.fault(path, f"must be {wanted}, not {_number(value)}")

    return run


def _range(low: float, high: float) -> str:
    return f"{low} or more" if high == LARGEST else f"{low} to {high}"


def _number(value: float) -> str:
    return "such a large number" if isinstance(value, int) and value.bit_length() > 64 else str(value)
