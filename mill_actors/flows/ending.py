"""A step that is over: whether its body goes on, stops early, or ends."""

from __future__ import annotations

from mill_actors.flows.definition import BranchOne, StopAfterIf
from mill_actors.flows.expressions import ExpressionError
from mill_actors.flows.failing import Failing, bad_stop
from mill_actors.flows.program import Step
from mill_actors.flows.state import Cause, End, Ended, Ending, Stop


class Endings(Failing):
    """What follows from the end of a step."""

    def hear_single(self, step: Step, event: Ended) -> None:
        """The one child of a step has ended; or the step has, without one."""
        if step.is_many and event.status == "success" and not (step.module.mock and step.module.mock.enabled):
            # No items, no branches.
            self.end_many(step, "success", event.result)
            return
        is_branch = isinstance(step.module.value, BranchOne)
        status = event.status
        if status == "skipped" and event.stop:
            # A nested flow stopped early; the step was not skipped.
            status = "success"
        self.end_step(
            step,
            status,
            event.result,
            # A nested flow has a failure module of its own, and an early stop of its own.
            handled=is_branch and self.is_handled(event),
            stop=event.stop if is_branch else "",
        )

    def is_handled(self, event: Ended) -> bool:
        """Whether the failure module has run for a failed child: every body runs it for itself."""
        return event.iteration is not None and self.body.flow.failure is not None

    def end_many(
        self,
        step: Step,
        status: Ending,
        result: bytes | None = None,
        *,
        handled: bool = False,
        stop: Stop = "",
    ) -> None:
        """A loop or all branches are over, well or not; `stop` from further in wins."""
        after = step.module.stop_after_all_iters_if
        if result is not None:
            self.at_hand[f"results.{step.id}"] = result
        if after is not None and not stop:
            try:
                stops = self.holds(after, step, {})
            except ExpressionError as error:
                failed = bad_stop(error, is_all=True)
                self.fail_for_good(step, failed, cause=Cause.BAD_STOP_ALL, handled=handled)
                return
            if stops:
                self._stop(step, after, result, cause=Cause.STOP_ALL, handled=handled)
                return
        self.end_step(step, status, result, handled=handled, stop=stop, asked=True)

    def end_step(
        self,
        step: Step,
        status: Ending,
        result: bytes | None,
        *,
        handled: bool = False,
        stop: Stop = "",
        asked: bool = False,
    ) -> None:
        """A step is over. `result` None: it is not at hand. `asked`: its conditions to stop have been."""
        if result is not None:
            self.at_hand[f"results.{step.id}"] = result
        if status in {"failure", "cancelled"}:
            self.fail(step, status, result, handled=handled, stop=stop)
            return
        self.return_early(step)
        if stop:
            self._stop_here(step, result, stop)
            return
        after = step.module.stop_after_if
        if after is not None and status != "skipped" and not asked:
            try:
                stops = self.holds(after, step, {})
            except ExpressionError as error:
                # The step is over, and not to be repeated.
                self.fail_for_good(step, bad_stop(error, is_all=False), cause=Cause.BAD_STOP)
                return
            if stops:
                self._stop(step, after, result, cause=Cause.STOP)
                return
        self.state.open_gate = status == "skipped"
        self.go_on(step, result)

    def go_on(self, step: Step, result: bytes | None) -> None:
        """Go to the next step, or end the body with the result of this one."""
        state = self.state
        state.tries, state.delay = 0, 0.0
        state.gated = state.slept = False
        if step.index + 1 < len(self.body.steps):
            self.enter(step.index + 1)
        else:
            self.commands.append(End("success", result, step.id))

    def _stop(
        self, step: Step, stop: StopAfterIf, result: bytes | None, *, cause: Cause, handled: bool = False
    ) -> None:
        """An early stop of the step's own: with an error, as skipped, or with its result."""
        if stop.error_message is None:
            self._stop_here(step, result, "skip" if stop.skip_if_stopped else "stop")
        elif stop.skip_if_stopped:
            self._stop_here(step, self.stop_error(step, stop), "skip")
        else:
            error = self.stop_error(step, stop)
            self.fail_for_good(step, error, cause=cause, handled=handled, stop="stop")

    def _stop_here(self, step: Step, result: bytes | None, stop: Stop) -> None:
        status: Ending = "skipped" if stop == "skip" and self.body.role == "flow" else "success"
        self.commands.append(End(status, result, step.id, stop))
