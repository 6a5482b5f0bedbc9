"""What comes next: one body of a flow, one event, and what then has to be written and started.

`advance` is pure: no I/O, no clock, no randomness of its own. Where an expression names something
that is not at hand it raises `Missing` and has changed nothing: fetch, and call it again.

What each option means is Windmill's; docs/flows.md has the table, with what was chosen where
Windmill's sources contradict each other.
"""

from __future__ import annotations

import msgspec

from mill_actors.errors import InvalidArgs
from mill_actors.flows.children import Children, is_forgiven
from mill_actors.flows.definition import (
    BranchAll,
    BranchOne,
    FlowStep,
    ForLoop,
    RawScript,
    ScriptStep,
    WhileLoop,
)
from mill_actors.flows.expressions import Evaluator, ExpressionError, Scope
from mill_actors.flows.gates import Gates
from mill_actors.flows.inputs import Inputs, View
from mill_actors.flows.program import FAILURE, PREPROCESSOR, Body, Step
from mill_actors.flows.state import (
    Begin,
    End,
    Ended,
    Event,
    Lost,
    Phase,
    Recount,
    ReplaceInput,
    StartFlow,
    State,
    Transition,
    Woken,
)
from mill_actors.flows.work import result_of
from mill_actors.jobs.jsons import decode

__all__ = ["advance", "is_forgiven"]

_DEFAULT_EVALUATOR = Evaluator()


def advance(
    body: Body, state: State, event: Event, scope: Scope, evaluator: Evaluator = _DEFAULT_EVALUATOR
) -> Transition:
    """Return what a body becomes and wants after an event; raise `Missing`.

    The scope is that of the body's run, with the event's result in it. An event that is old (of a
    child that no longer counts) changes nothing.

    No transition reads what it has itself recorded: the end of a recorded child is an event of its
    own, and by then its row is written.
    """
    machine = _Machine(body, msgspec.structs.replace(state), scope, Inputs(evaluator))
    machine.take(event)
    return Transition(machine.state, machine.commands)


class _Machine(Gates, Children):
    def take(self, event: Event) -> None:
        state = self.state
        match event:
            case Begin():
                if state.phase is Phase.NEW:
                    self._begin(event)
            case Ended():
                self._hear(event)
            case Woken(due, resumes):
                if state.phase is Phase.SLEEPING and due:
                    self.wake()
                elif state.phase is Phase.SUSPENDED:
                    self.hear_answers(resumes, due=due)
            case Lost():
                if state.phase in {Phase.STEP, Phase.FAILURE, Phase.PREPROCESSOR} and state.job is not None:
                    self._start_again()
            case Recount(ended, failed, missing):
                if state.phase is Phase.STEP and self.step.is_parallel:
                    state.ended, state.failed = ended, failed
                    self.start_children(self.step, missing)
                    self.feed(self.step)

    def _hear(self, event: Ended) -> None:
        state = self.state
        if state.phase not in {Phase.STEP, Phase.FAILURE, Phase.PREPROCESSOR}:
            return
        if state.phase is Phase.STEP and event.step == self.step.id:
            step = self.step
            if step.is_parallel and event.iteration is not None:
                self.hear_parallel(step, event)
            elif event.job == state.job:
                state.job = None
                if event.iteration is None or not step.is_many:
                    self.hear_single(step, event)
                elif step.is_loop:
                    self.hear_iteration(step, event)
                else:
                    self.hear_branch(step, event)
        elif event.job == state.job and state.phase is Phase.PREPROCESSOR and event.step == PREPROCESSOR:
            self._hear_preprocessor(event)
        elif event.job == state.job and state.phase is Phase.FAILURE and event.step == FAILURE:
            self.hear_failure_module(event)

    # -- the beginning -------------------------------------------------------------

    def _begin(self, event: Begin) -> None:
        flow = self.body.flow
        if self.body.role == "flow" and event.at == 0 and event.iteration == 0:
            if event.preprocess and flow.preprocessor is not None:
                self._run_preprocessor(flow.preprocessor)
                return
            if self._is_skipped():
                return
        # An approval before the step to begin with has been given already.
        self.state.gated = event.at > 0
        self.enter(event.at, event.iteration)

    def _is_skipped(self) -> bool:
        expr = self.body.flow.value.skip_expr
        if not expr:
            return False
        try:
            if not self.inputs.evaluator.is_true(expr, self.view(0)):
                return False
        except ExpressionError as error:
            self.commands.append(End("failure", result_of(error, "skip_expr")))
            return True
        self.commands.append(End("skipped", b'"stopped early"', stop="skip"))
        return True

    def _run_preprocessor(self, preprocessor: Step) -> None:
        self.state.phase, self.state.at = Phase.PREPROCESSOR, -1
        view = View(self.scope, self.body, None, at_hand=self.at_hand)
        try:
            self.start_leaf(preprocessor, preprocessor, None, self.text("flow_input"), view)
        except (ExpressionError, InvalidArgs) as error:
            self.record(preprocessor, None, "failure", result_of(error))

    def _hear_preprocessor(self, event: Ended) -> None:
        """Its result is the flow's input from now on: an object, or one with a `value`."""
        preprocessor = self.step
        if event.status != "success":
            self.fail(preprocessor, event.status, event.result)
            return
        text = self.text(f"results.{PREPROCESSOR}") if event.result is None else event.result
        result = decode(text)
        args = b"{}" if result is None else b'{"value":%b}' % text
        if isinstance(result, dict):
            args = text
        self.commands.append(ReplaceInput(args))
        self.at_hand["flow_input"] = args
        self.state.phase, self.state.tries, self.state.delay = Phase.NEW, 0, 0.0
        if not self._is_skipped():
            self.enter(0)

    # -- a step --------------------------------------------------------------------

    def start(self, step: Step, iteration: int = 0) -> None:
        if step is self.body.flow.preprocessor:
            self._run_preprocessor(step)
            return
        self.begin_step(step.index)
        module = step.module
        view = self.view(step.index)
        try:
            if module.mock is not None and module.mock.enabled:
                self.record(step, None, "success", bytes(module.mock.return_value))
            elif module.skip_if is not None and self.inputs.evaluator.is_true(module.skip_if.expr, view):
                self.record(step, None, "skipped", view.text("previous_result"))
            else:
                self._run(step, view, iteration)
        except (ExpressionError, InvalidArgs) as error:
            self.record(step, None, "failure", result_of(error))

    def _run(self, step: Step, view: View, iteration: int) -> None:
        state = self.state
        if step.bodies:
            self.timeout(step, view)  # raises before there is anything to undo
        match step.module.value:
            case RawScript() | ScriptStep() as value:
                self.start_leaf(step, step, None, self.inputs.args(value.input_transforms, view), view)
            case FlowStep(_, transforms):
                args = self.inputs.args(transforms, view)
                self.commands.append(StartFlow(step, step, None, args, self.timeout(step, view)))
            case ForLoop() as loop:
                self.start_loop(step, loop, view, iteration)
            case WhileLoop():
                self.start_while(step, iteration)
            case BranchOne() as value:
                self._choose(step, value, view)
            case BranchAll(branches):
                state.length = state.width = len(branches)
                if not branches:
                    self.record(step, None, "success", b"[]")
                elif step.is_parallel:
                    self.feed(step)
                else:
                    self.next_branch(step, iteration)
            case _:
                self.record(step, None, "success", view.text("previous_result"))

    def _choose(self, step: Step, value: BranchOne, view: View) -> None:
        chosen = 0
        for number, branch in enumerate(value.branches, start=1):
            if branch.expr and self.inputs.evaluator.is_true(branch.expr, view):
                chosen = number
                break
        self.state.iteration = chosen
        if step.bodies[chosen].steps:
            self.state.started = 1
            self.start_child(step, chosen)
        else:
            self.record(step, chosen, "success", view.text("previous_result"))

    # -- what was lost -------------------------------------------------------------

    def _start_again(self) -> None:
        """Start the one child again that was under way: nobody has it, and it left nothing."""
        state = self.state
        if state.phase is Phase.PREPROCESSOR:
            self._run_preprocessor(self.step)
        elif state.phase is Phase.FAILURE:
            self.run_failure()
        elif self.step.bodies and state.started:
            self.start_child(self.step, state.iteration)
        else:
            self.start(self.step)
