"""What became of a run's steps, in words and colours; of what is inside loops in counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mill_actors.flows.definition import BranchOne
from mill_actors.flows.program import FAILURE

if TYPE_CHECKING:
    from mill_actors.flows.program import Body, Step
    from mill_actors.flows.tally import Tallies, Tally

#: FlowStatus' types as people call them, and how they look.
STATES: Mapping[str, tuple[str, str]] = {
    "WaitingForPriorSteps": ("", "dim"),
    "WaitingForEvents": ("waits for approval", "yellow"),
    "WaitingForExecutor": ("queued", "yellow"),
    "InProgress": ("running", "cyan"),
    "Success": ("success", "green"),
    "Failure": ("failure", "red"),
}
#: Counts: the name of one run that is there, of one among many, and how it looks; what weighs most comes
#: first, and gives a line its colour.
_COUNTS: Mapping[str, tuple[str, str, str]] = {
    "failed": ("failure", "failed", "red"),
    "cancelled": ("cancelled", "cancelled", "red"),
    "running": ("running", "running", "cyan"),
    "asking": ("waits for approval", "waiting for approval", "yellow"),
    "sleeping": ("sleeps", "sleeping", "yellow"),
    "queued": ("queued", "queued", "yellow"),
    "done": ("success", "done", "green"),
    "skipped": ("skipped", "skipped", "green"),
}
#: … and in which order they are told.
_TOLD = ("done", "failed", "cancelled", "skipped", "running", "asking", "sleeping", "queued")

Words = tuple[str, str]
NOTHING: Words = ("", "")


class RunStates:
    """The states of one run of the body at an address; without a run there are none."""

    def __init__(
        self,
        address: str = "",
        status: Mapping[str, Any] | None = None,
        tallies: Tallies | None = None,
    ) -> None:
        self._address = address
        self._modules = {} if status is None else _modules(status)
        self._tallies = tallies

    def of_step(self, step: Step) -> Words:
        """Return a step's words, and their style."""
        own = state_of(self._modules.get(step.id))
        if self._tallies is None or (step.id in self._modules and (own[0] or step.id != FAILURE)):
            return own
        told = self._tallies.steps.get(step.id)
        if told is None:
            return NOTHING  # a preprocessor that nobody asked for
        if step.is_many:
            inner = [self._tallies.bodies[body.address] for body in step.bodies]
            words, style = counted(inner, "iterations" if step.is_loop else "branches")
            besides, other = counted([told])
            return "; besides ".join(filter(None, [words, besides])), style or other
        is_one = step.id != FAILURE and not self._repeats(step.body)
        return plain(told) if is_one else counted([told])

    def of_body(self, body: Body) -> Words:
        """Return the words for a branch: whether it was chosen, or what became of it."""
        if self._tallies is None or body.owner is None:
            return NOTHING
        told = self._tallies.bodies[body.address]
        repeats = self._repeats(body)
        if isinstance(body.owner.module.value, BranchOne):
            chosen = f"chosen {told.of}" if repeats else "chosen"
            return (chosen, plain(told)[1]) if told.of else NOTHING
        return counted([told]) if repeats else plain(told)

    def _repeats(self, body: Body) -> bool:
        """Whether a body may run more than once here: there is a loop around it."""
        while body.address != self._address and body.owner is not None:
            if body.owner.is_loop:
                return True
            body = body.owner.body
        return False


NO_RUN = RunStates()


def plain(told: Tally) -> Words:
    """Return what became of one run of a step."""
    for name, (word, _, style) in _COUNTS.items():
        if getattr(told, name):
            return word, style
    return NOTHING


def counted(tallies: Sequence[Tally], noun: str = "") -> Words:
    """Return what became of many.

    >>> from mill_actors.flows.tally import Tally
    >>> counted([Tally(40, done=37, failed=2, running=1)])
    ('done 37, failed 2, running 1 of 40', 'red')
    """
    counts = {name: sum(getattr(told, name) for told in tallies) for name in _COUNTS}
    words = [f"{_COUNTS[name][1]} {counts[name]:,}" for name in _TOLD if counts[name]]
    if not words:
        return NOTHING
    style = next(style for name, (_, _, style) in _COUNTS.items() if counts[name])
    whole = f" of {sum(told.of for told in tallies):,}"
    return ", ".join(words) + whole + (f" {noun}" if noun else ""), style


def state_of(module: Mapping[str, Any] | None) -> Words:
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


def _modules(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = {module["id"]: module for module in status["modules"]}
    for name in ("failure_module", "preprocessor_module"):
        module = status.get(name)
        if module is not None:
            found[name.removesuffix("_module")] = module
    return found
