"""The steps of a flow, where each stands, and whose results an expression may read from where.

Read leniently from what may have any faults: `validation` names those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal

from msgspec import Struct

from mill_actors.flows.fault import member, shown

#: Names in FlowStatus that no step of one's own may have.
RESERVED = frozenset({"failure", "preprocessor", "Input"})
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")
#: Looking for similar ids takes time, and who sends thousands of faults is helped by the first ones.
MOST_COMPARISONS = 10_000


class Step(Struct, frozen=True):
    """Where a step stands. `trail`: from the outermost list of modules inwards, each with an index."""

    path: str
    id: str | None
    trail: tuple[tuple[str, int], ...]
    #: The modules it is in, the outermost first.
    around: tuple[Step, ...] = ()
    kind: Literal["step", "failure", "preprocessor"] = "step"
    in_while: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"step {_brief(self.id)}" if self.id is not None else f"the step at {self.path}"


class Steps:
    """All steps of a flow."""

    def __init__(self, value: Any, path: str) -> None:
        self.by_path: dict[str, Step] = {}
        #: The first of each id.
        self.by_id: dict[str, Step] = {}
        self._comparisons = MOST_COMPARISONS
        if isinstance(value, dict):
            for step in _special(value, path):
                self._add(step)
            for step in _sequence(value.get("modules"), f"{path}.modules", None, in_while=False):
                self._add(step)

    def _add(self, step: Step) -> None:
        self.by_path[step.path] = step
        if step.id is not None:
            self.by_id.setdefault(step.id, step)

    def why_unreadable(self, wanted: str, reader: Step | None, *, after: bool) -> str | None:
        """Return why an expression of `reader` cannot read `results.<wanted>`; None: it can.

        `after`: it is evaluated when the step itself has ended. `reader` is None for what is
        evaluated before the flow begins.
        """
        if reader is None or reader.kind == "preprocessor":
            return "no step has run by then"
        target = self.by_id.get(wanted)
        if target is None:
            return f"there is no step {_brief(wanted)}{self._similar(wanted)}"
        if reader.kind == "failure":
            return None
        match target.kind:
            case "failure":
                return "the failure module runs last"
            case "preprocessor":
                return "what the preprocessor returns is flow_input"
            case "step":
                return _why_not_yet(target, reader, after=after)

    def _similar(self, wanted: str) -> str:
        self._comparisons -= len(self.by_id)
        near = get_close_matches(wanted, self.by_id, n=1) if self._comparisons >= 0 else []
        return f"; did you mean {_brief(near[0])}?" if near else ""


def _why_not_yet(target: Step, reader: Step, *, after: bool) -> str | None:
    if target.path == reader.path:
        has_one = after or reader.in_while
        return None if has_one else f"{target.name} has no result before it has run"
    for level, (theirs, ours) in enumerate(zip(target.trail, reader.trail, strict=False)):
        if theirs == ours:
            continue
        outer = (*target.around, target)[level]
        if theirs[0] != ours[0]:
            return f"{target.name} is in another branch of {target.around[level - 1].name}"
        if theirs[1] > ours[1]:
            inside = f" is inside {outer.name}, which" if outer is not target else ""
            return f"{target.name}{inside} runs later"
        if outer is not target:
            return f"{target.name} is inside {outer.name}: read {member('results', outer.id or '<its id>')}"
        return None
    if len(target.trail) < len(reader.trail):
        return f"{target.name} is around it and has not ended by then"
    return f"{target.name} is inside it{': read result' if after else ' and runs later'}"


def bodies(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the lists of modules in a module's `value`, each with its path."""
    match value:
        case {"type": "forloopflow" | "whileloopflow"}:
            yield f"{path}.modules", value.get("modules")
        case {"type": "branchone" | "branchall"}:
            branches = value.get("branches")
            for index, branch in enumerate(branches if isinstance(branches, list) else ()):
                if isinstance(branch, dict):
                    yield f"{path}.branches[{index}].modules", branch.get("modules")
            if value["type"] == "branchone":
                yield f"{path}.default", value.get("default")
        case _:
            pass


def _special(value: dict[Any, Any], path: str) -> Iterator[Step]:
    kinds: tuple[Literal["failure", "preprocessor"], ...] = ("failure", "preprocessor")
    for each in kinds:
        module = value.get(f"{each}_module")
        if isinstance(module, dict):
            yield Step(f"{path}.{each}_module", _id(module), (), kind=each)


def _sequence(modules: Any, path: str, outer: Step | None, *, in_while: bool) -> Iterator[Step]:
    for index, module in enumerate(modules if isinstance(modules, list) else ()):
        if not isinstance(module, dict):
            continue
        trail = (*(outer.trail if outer else ()), (path, index))
        around = (*outer.around, outer) if outer else ()
        step = Step(f"{path}[{index}]", _id(module), trail, around, in_while=in_while)
        yield step
        value = module.get("value")
        is_while = isinstance(value, dict) and value.get("type") == "whileloopflow"
        for inner, body in bodies(value, f"{step.path}.value"):
            yield from _sequence(body, inner, step, in_while=in_while or is_while)


def _id(module: dict[Any, Any]) -> str | None:
    found = module.get("id")
    return found if isinstance(found, str) and found else None


def _brief(wanted: str) -> str:
    return wanted if _PLAIN.fullmatch(wanted) else shown(wanted)
