"""One transition in the making: the state it changes, the commands it collects, and how work is started.

`Work` is the lowest of the layers that `machine` is made of: work, failing, ending, children, gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from mill_actors.errors import InvalidArgs
from mill_actors.flows.definition import ForLoop, RawScript, ScriptStep, StopAfterIf
from mill_actors.flows.expressions import ExpressionError, Missing, Scope, UnknownName
from mill_actors.flows.inputs import Inputs, View
from mill_actors.flows.program import Body, Step
from mill_actors.flows.state import Command, Ending, Phase, Record, StartBody, StartJob, State
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.outcome import error_result


class Work(ABC):
    """A body's run during one transition."""

    def __init__(self, body: Body, state: State, scope: Scope, inputs: Inputs) -> None:
        self.body = body
        self.state = state
        self.scope = scope
        self.inputs = inputs
        self.commands: list[Command] = []
        #: names with their texts for the rest of this transition
        self.at_hand: dict[str, bytes] = {}
        #: the items of the loop that starts: not kept anywhere yet
        self._items: list[Raw] = []

    @abstractmethod
    def enter(self, at: int, iteration: int = 0) -> None:
        """Pass the gates of the step before, and start the one at `at`."""

    @abstractmethod
    def start(self, step: Step, iteration: int = 0) -> None:
        """Start a step, from its beginning or with this iteration."""

    # -- what there is -------------------------------------------------------------

    @property
    def step(self) -> Step:
        """The step in progress."""
        if self.state.at < 0:
            assert self.body.flow.preprocessor is not None
            return self.body.flow.preprocessor
        return self.body.steps[self.state.at]

    def text(self, name: str) -> bytes:
        """Return the JSON text of a name of this run, null if there is no such thing."""
        found = self.at_hand.get(name)
        if found is not None:
            return found
        try:
            return self.scope.value(name)
        except UnknownName:
            return b"null"

    def view(self, at: int, overlay: dict[str, Any] | None = None) -> View:
        """Return what the expressions of the step at `at` see before it runs."""
        before = self.body.steps[at - 1].id if at > 0 else None
        return View(self.scope, self.body, before, overlay=overlay, at_hand=self.at_hand, until=at)

    def view_after(self, step: Step, at_hand: dict[str, bytes] | None = None) -> View:
        """Return what the expressions see that are asked when a step is over."""
        return View(self.scope, self.body, step.id, at_hand={**self.at_hand, **(at_hand or {})})

    def holds(self, stop: StopAfterIf, step: Step, at_hand: dict[str, bytes]) -> bool:
        """Whether an early stop is due."""
        return self.inputs.evaluator.is_true(stop.expr, self.view_after(step, at_hand))

    def timeout(self, step: Step, view: View) -> float | None:
        """Return how many seconds a job of a step may take."""
        given = step.module.timeout
        return None if given is None else self.inputs.number(given, view, "timeout")

    # -- starting ------------------------------------------------------------------

    def begin_step(self, at: int) -> None:
        """Set the counters of the step at `at`; those of its tries stay."""
        state = self.state
        state.phase, state.at, state.job = Phase.STEP, at, None
        state.iteration = state.started = state.ended = state.failed = state.length = state.width = 0
        state.counted = state.gated = state.slept = state.open_gate = False

    def record(self, step: Step, iteration: int | None, status: Ending, result: bytes) -> None:
        """A child that does not run: its row is written, and its end comes as an event."""
        self.commands.append(Record(step, iteration, status, b"{}", result))

    def start_leaf(self, step: Step, leaf: Step, iteration: int | None, args: bytes, view: View) -> None:
        """Run a script: the step's own, or (`step` is not `leaf`) that of a body it is all of."""
        seconds = self.timeout(leaf, view)
        if seconds is None and step is not leaf:
            seconds = self.timeout(step, self.view(step.index))
        # The children of a loop that is tried again do not wait: the loop has.
        tries, delay = (self.state.tries, self.state.delay) if step is leaf else (0, 0.0)
        self.commands.append(
            StartJob(step, leaf, iteration, args, delay if tries else 0.0, seconds, tries + 1)
        )

    def start_children(self, step: Step, numbers: Iterable[int]) -> None:
        """Start several; what is not at hand for any of them is asked for at once."""
        names: frozenset[str] = frozenset()
        for number in numbers:
            try:
                self.start_child(step, number)
            except Missing as missing:
                names |= missing.names
        if names:
            raise Missing(names)

    def start_child(self, step: Step, number: int) -> None:
        """Start the body of one iteration or one branch; of a plain script, the script itself."""
        inner = step.inner(number)
        try:
            if not inner.steps:
                # An empty body is an empty flow: its result is its input.
                self.record(step, number, "success", self.text("flow_input"))
            elif inner.is_direct:
                self._start_direct(step, number, inner.steps[0])
            else:
                seconds = self.timeout(step, self.view(step.index))
                overlay = encode(self._overlay(step, number))
                self.commands.append(StartBody(step, number, inner.address, overlay, seconds))
        except (ExpressionError, InvalidArgs) as error:
            self.record(step, number, "failure", result_of(error))

    def _start_direct(self, step: Step, number: int, leaf: Step) -> None:
        value = leaf.module.value
        assert isinstance(value, RawScript | ScriptStep)
        overlay = self._overlay(step, number) if step.is_loop else {}
        view = View(self.scope, leaf.body, None, overlay=overlay, at_hand=self.at_hand)
        if step.is_loop and step.carries_on:
            view = self._carried(step, number, overlay)
        self.start_leaf(step, leaf, number, self.inputs.args(value.input_transforms, view), view)

    def _carried(self, step: Step, number: int, overlay: dict[str, Any]) -> View:
        """Return the view of an iteration that sees the result of the one before."""
        view = self.view(step.index, overlay)
        if number > 0 or step.index == 0:
            # Before the first of a first step there is the input, which has no item yet.
            before = self.text(f"child.{step.id}.{number - 1}" if number else "flow_input")
            view.at_hand = {**self.at_hand, "previous_result": before}
        return view

    def _overlay(self, step: Step, number: int) -> dict[str, Any]:
        """Return what a body's `flow_input` has beside the flow's: `iter`, and those further out."""
        if not step.is_loop:
            return _iters(self.view(step.index), "") if self.body.has_iter else {}
        value: Any = number
        if isinstance(step.module.value, ForLoop) and not self.state.counted:
            items = self._items
            value = decode(bytes(items[number]) if items else self.text(f"item.{step.id}.{number}"))
        overlay = {"iter": {"index": number, "value": value}}
        if self.body.has_iter:
            overlay |= _iters(self.view(step.index), "_parent")
        return overlay


def _iters(view: View, suffix: str) -> dict[str, Any]:
    """Return what the loops around a body have put into its input, under names one further out."""
    found: dict[str, Any] = {}
    name = "iter"
    while True:
        try:
            found[name + suffix] = view.decoded(name)
        except UnknownName:
            return found
        name += "_parent"


def result_of(error: ExpressionError | InvalidArgs, where: str = "") -> bytes:
    """Return the result of a step that an expression has failed; `where`: which, if it is not plain."""
    name = "ExpressionError" if isinstance(error, ExpressionError) else "ExecutionErr"
    return error_result(name, f"{where}: {error}" if where else str(error))
