"""A flow drawn: as a tree for the terminal, as text for Mermaid; with states, if there are any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mill_actors.flows.definition import (
    BranchAll,
    BranchOne,
    FlowStep,
    ForLoop,
    Javascript,
    RawScript,
    ScriptStep,
    WhileLoop,
)

if TYPE_CHECKING:
    from rich.tree import Tree

    from mill_actors.flows.program import Body, Program, Step

#: FlowStatus' types as people call them, and how they look.
STATES: Mapping[str, tuple[str, str]] = {
    "WaitingForPriorSteps": ("", "dim"),
    "WaitingForEvents": ("waits for approval", "yellow"),
    "WaitingForExecutor": ("queued", "yellow"),
    "InProgress": ("running", "cyan"),
    "Success": ("success", "green"),
    "Failure": ("failure", "red"),
}
_COLOURS = {"green": "#cfc", "red": "#fcc", "cyan": "#cdf", "yellow": "#ffc"}
_LONGEST = 60


def what(step: Step) -> str:
    """Return what a step is, in a few words."""
    value = step.module.value
    match value:
        case RawScript(_, language):
            return language
        case ScriptStep(path):
            return path
        case FlowStep(path):
            return f"flow {path}"
        case ForLoop():
            over = value.iterator.expr if isinstance(value.iterator, Javascript) else "a list"
            return f"for each of {_cut(over)}{', in parallel' if step.is_parallel else ''}"
        case WhileLoop():
            return "while"
        case BranchOne():
            return "one of"
        case BranchAll():
            return f"all of{', in parallel' if step.is_parallel else ''}"
        case _:
            return "identity"


def options(step: Step) -> list[str]:
    """Return what a step says beside what it runs."""
    module = step.module
    told = []
    if module.skip_if is not None:
        told.append("may be skipped")
    if module.mock is not None and module.mock.enabled:
        told.append("mocked")
    if module.retry is not None:
        told.append("retry")
    if module.stop_after_if is not None or module.stop_after_all_iters_if is not None:
        told.append("may stop")
    if module.continue_on_error:
        told.append("goes on after errors")
    if module.sleep is not None:
        told.append("then sleeps")
    if module.suspend is not None and module.suspend.required_events:
        told.append("then approval")
    return told


def state_of(module: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a module of a FlowStatus in words, and its style."""
    if module is None:
        return "", ""
    words, style = STATES[module["type"]]
    if module["type"] == "Success" and module.get("skipped"):
        words = "skipped"
    iterator = module.get("iterator")
    branchall = module.get("branchall")
    if iterator is not None:
        words += f" {iterator['index']}" + (f"/{iterator['itered_len']}" if "itered_len" in iterator else "")
    elif branchall is not None:
        words += f" {branchall['branch']}/{branchall['len']}"
    elif "flow_jobs" in module:
        count = module.get("flow_jobs_count", len(module["flow_jobs"]))
        words += f" ({count} {'job' if count == 1 else 'jobs'})"
    chosen = module.get("branch_chosen")
    if chosen is not None:
        words += ", default" if chosen["type"] == "default" else f", branch {chosen['branch'] + 1}"
    return words, style


def branch_names(step: Step) -> list[str]:
    """Return what stands over each of a step's bodies; a loop's has no name."""
    value = step.module.value
    match value:
        case BranchOne(branches):
            return ["default", *(each.summary or f"if {_cut(each.expr)}" for each in branches)]
        case BranchAll(branches):
            return [each.summary or f"branch {number}" for number, each in enumerate(branches, 1)]
        case _:
            return [""] * len(step.bodies)


# ---------------------------------------------------------------- the terminal


def draw_tree(title: str, program: Program, body: Body, status: Mapping[str, Any] | None) -> Tree:
    """Return the flow as a tree. A body's states are those of its own steps."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(title, style="bold"))
    states = _states(status)
    for special in (program.preprocessor,):
        if special is not None and not body.address:
            _add_step(tree, special, states)
    _add_body(tree, body, states)
    if program.failure is not None:
        _add_step(tree, program.failure, states)
    return tree


def _add_body(tree: Tree, body: Body, states: Mapping[str, Mapping[str, Any]]) -> None:
    for step in body.steps:
        if not _is_gate(step):
            _add_step(tree, step, states)


def _add_step(tree: Tree, step: Step, states: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.text import Text

    words, style = state_of(states.get(step.id))
    line = Text.assemble((step.id, "bold"), "  ", what(step))
    if step.module.summary:
        line.append(f"  “{step.module.summary}”")
    told = options(step)
    if told:
        line.append(f"  ({', '.join(told)})", style="dim")
    if words:
        line.append(f"  {words}", style=style)
    branch = tree.add(line)
    for name, inner in zip(branch_names(step), step.bodies, strict=True):
        # What is inside has a state an iteration, and none of its own here.
        _add_body(branch if not name else branch.add(Text(name, style="italic")), inner, {})


# ---------------------------------------------------------------- Mermaid


def mermaid(program: Program, body: Body, status: Mapping[str, Any] | None) -> str:
    """Return the flow as a Mermaid flowchart."""
    return "\n".join(["flowchart TD", *_Mermaid(_states(status)).lines(program, body)])


class _Mermaid:
    def __init__(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        self._states = states
        self._classes: dict[str, list[str]] = {}

    def lines(self, program: Program, body: Body) -> Iterator[str]:
        yield "  start([start])"
        ends = ["start"]
        if program.preprocessor is not None and not body.address:
            yield from self._step(program.preprocessor, ends, self._states)
        yield from self._body(body, ends, self._states)
        yield "  finish([end])"
        yield from (f"  {end} --> finish" for end in ends)
        if program.failure is not None:
            yield from self._node(program.failure, self._states)
            yield f"  start -. on error .-> {_name(program.failure.id)}"
        for style, names in self._classes.items():
            yield f"  classDef {style} fill:{_COLOURS[style]}"
            yield f"  class {','.join(names)} {style}"

    def _body(self, body: Body, ends: list[str], states: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """Draw a sequence after `ends`, which become those of its last step."""
        for step in body.steps:
            if not _is_gate(step):
                yield from self._step(step, ends, states)

    def _step(self, step: Step, ends: list[str], states: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        name = _name(step.id)
        yield from self._node(step, states)
        yield from (f"  {end} --> {name}" for end in ends)
        ends[:] = [name]
        if step.is_loop:
            inner = [name]
            yield from self._body(step.bodies[0], inner, {})
            yield from (f"  {end} -. next .-> {name}" for end in inner if end != name)
        elif step.bodies:
            joined: list[str] = []
            for place, (title, body) in enumerate(zip(branch_names(step), step.bodies, strict=True)):
                head = f"{name}_b{place}"
                yield f'  {head}["{_quoted(title)}"]'
                yield f"  {name} --> {head}"
                inner = [head]
                yield from self._body(body, inner, {})
                joined += inner
            ends[:] = joined or [name]

    def _node(self, step: Step, states: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        words, style = state_of(states.get(step.id))
        text = _quoted(" ".join([step.id, step.module.summary or what(step)]))
        if words:
            text += f"<br/>{_quoted(words)}"
        opening, closing = ("{{", "}}") if step.bodies else ("[", "]")
        yield f'  {_name(step.id)}{opening}"{text}"{closing}'
        if style in _COLOURS:
            self._classes.setdefault(style, []).append(_name(step.id))


def _name(step: str) -> str:
    # `end` and the like are words of Mermaid's.
    return "s_" + step.replace("-", "_")


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _is_gate(step: Step) -> bool:
    """Whether it is the step that the compiler puts after a last one that sleeps or asks."""
    steps: Sequence[Step] = step.body.steps
    return step.index > 0 and step.id == f"{steps[step.index - 1].id}-v"


def _states(status: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    if status is None:
        return {}
    found = {module["id"]: module for module in status["modules"]}
    for name in ("failure_module", "preprocessor_module"):
        module = status.get(name)
        if module is not None:
            found[name.removesuffix("_module")] = module
    return found
