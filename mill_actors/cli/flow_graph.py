"""A flow drawn: as a tree for the terminal, as text for Mermaid; with states, if there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mill_actors.cli.flow_states import NO_RUN, RunStates, Words
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


def draw_tree(title: str, program: Program, body: Body, states: RunStates = NO_RUN) -> Tree:
    """Return the flow as a tree."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(title, style="bold"))
    for special in (program.preprocessor,):
        if special is not None and not body.address:
            _add_step(tree, special, states)
    _add_body(tree, body, states)
    if program.failure is not None:
        _add_step(tree, program.failure, states)
    return tree


def _add_body(tree: Tree, body: Body, states: RunStates) -> None:
    for step in body.steps:
        if not _is_gate(step):
            _add_step(tree, step, states)


def _add_step(tree: Tree, step: Step, states: RunStates) -> None:
    from rich.text import Text

    words, style = states.of_step(step)
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
        if not name:
            _add_body(branch, inner, states)
            continue
        head = Text(name, style="italic")
        words, style = states.of_body(inner)
        if words:
            head.append(f"  {words}", style=style)
        _add_body(branch.add(head), inner, states)


# ---------------------------------------------------------------- Mermaid


def mermaid(program: Program, body: Body, states: RunStates = NO_RUN) -> str:
    """Return the flow as a Mermaid flowchart."""
    return "\n".join(["flowchart TD", *_Mermaid(states).lines(program, body)])


class _Mermaid:
    def __init__(self, states: RunStates) -> None:
        self._states = states
        self._classes: dict[str, list[str]] = {}

    def lines(self, program: Program, body: Body) -> Iterator[str]:
        yield "  start([start])"
        ends = ["start"]
        if program.preprocessor is not None and not body.address:
            yield from self._step(program.preprocessor, ends)
        yield from self._body(body, ends)
        yield "  finish([end])"
        yield from (f"  {end} --> finish" for end in ends)
        if program.failure is not None:
            yield self._node(program.failure)
            yield f"  start -. on error .-> {_name(program.failure.id)}"
        for style, names in self._classes.items():
            yield f"  classDef {style} fill:{_COLOURS[style]}"
            yield f"  class {','.join(names)} {style}"

    def _body(self, body: Body, ends: list[str]) -> Iterator[str]:
        """Draw a sequence after `ends`, which become those of its last step."""
        for step in body.steps:
            if not _is_gate(step):
                yield from self._step(step, ends)

    def _step(self, step: Step, ends: list[str]) -> Iterator[str]:
        name = _name(step.id)
        yield self._node(step)
        yield from (f"  {end} --> {name}" for end in ends)
        ends[:] = [name]
        if step.is_loop:
            inner = [name]
            yield from self._body(step.bodies[0], inner)
            yield from (f"  {end} -. next .-> {name}" for end in inner if end != name)
        elif step.bodies:
            joined: list[str] = []
            for place, (title, body) in enumerate(zip(branch_names(step), step.bodies, strict=True)):
                head = f"{name}_b{place}"
                yield f'  {head}["{self._labelled(head, title, self._states.of_body(body))}"]'
                yield f"  {name} --> {head}"
                inner = [head]
                yield from self._body(body, inner)
                joined += inner
            ends[:] = joined or [name]

    def _node(self, step: Step) -> str:
        name = _name(step.id)
        title = " ".join([step.id, step.module.summary or what(step)])
        opening, closing = ("{{", "}}") if step.bodies else ("[", "]")
        return f'  {name}{opening}"{self._labelled(name, title, self._states.of_step(step))}"{closing}'

    def _labelled(self, name: str, title: str, state: Words) -> str:
        """Return what stands in a node, whose colour is noted."""
        words, style = state
        if style in _COLOURS:
            self._classes.setdefault(style, []).append(name)
        return _quoted(title) + (f"<br/>{_quoted(words)}" if words else "")


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
