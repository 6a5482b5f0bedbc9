"""A step that failed: tried again, passed over, or the end of its body after the failure module."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any
from zlib import crc32

from mill_actors.errors import InvalidArgs
from mill_actors.flows.definition import RawScript, ScriptStep, StopAfterIf
from mill_actors.flows.expressions import ExpressionError
from mill_actors.flows.inputs import View
from mill_actors.flows.program import FAILURE, Step
from mill_actors.flows.state import Cause, End, Ended, Ending, Forget, Phase, ReturnEarly, Sleep, Stop
from mill_actors.flows.work import Work, result_of
from mill_actors.jobs.jsons import decode, encode
from mill_actors.jobs.retry import RetryPolicy

#: Windmill's longest pause between two tries.
LONGEST_RETRY_SECONDS = 6 * 3600.0


class Failing(Work):
    """What becomes of a body when a step of it fails."""

    @abstractmethod
    def go_on(self, step: Step, result: bytes | None) -> None:
        """Go to the next step, or end the body with the result of this one."""

    def return_early(self, step: Step) -> None:
        """Tell who waits for the flow, if this is the step whose result it gets."""
        if self.body.role == "flow" and self.body.flow.value.early_return == step.id:
            self.commands.append(ReturnEarly(step))

    def fail(
        self, step: Step, status: Ending, result: bytes | None, *, handled: bool = False, stop: Stop = ""
    ) -> None:
        """A step failed. An early stop with an error, further in, is neither repeated nor passed over."""
        delay = None if stop or status == "cancelled" else self._retry_delay(step, result)
        if delay is not None:
            self._set_aside(step, delay)
            if delay > 0 and not step.is_leaf:
                # Its children start at different times: the pause is the body's own.
                self.state.phase, self.state.job = Phase.SLEEPING, None
                self.state.slept = self.state.gated = True
                self.commands.append(Sleep(delay))
            else:
                self.start(step)
            return
        if self.body.flow.failure is None:
            self.return_early(step)
        if step.module.continue_on_error and not stop:
            self.state.open_gate = True
            self.go_on(step, result)
            return
        self.fail_for_good(step, result, handled=handled, stop=stop)

    def _set_aside(self, step: Step, delay: float) -> None:
        self.commands.append(Forget(step, self.state.tries))
        self.state.tries += 1
        self.state.delay = delay

    def _retry_delay(self, step: Step, result: bytes | None) -> float | None:
        """Return how long to wait before the next try; None: there is none."""
        retry = step.module.retry
        if retry is None:
            return None
        given: dict[str, Any] = {
            name: value for name in ("constant", "exponential") if (value := getattr(retry, name)) is not None
        }
        # As random as the flow's own names: a retry must come out the same when it is decided again.
        spread = (crc32(f"{self.body.address}:{step.id}:{self.state.tries}".encode()) % 2001 - 1000) / 1000
        delay = RetryPolicy(**given).delay_seconds(self.state.tries + 1, spread)
        if delay is None:
            return None
        if retry.retry_if is not None:
            at_hand = {} if result is None else {"result": result, "previous_result": result}
            try:
                if not self.inputs.evaluator.is_true(retry.retry_if.expr, self.view_after(step, at_hand)):
                    return None
            except ExpressionError:
                return None
        return min(delay, LONGEST_RETRY_SECONDS)

    def fail_for_good(
        self,
        step: Step,
        result: bytes | None,
        *,
        cause: Cause = Cause.RESULT,
        handled: bool = False,
        stop: Stop = "",
    ) -> None:
        """The body fails, once its failure module has run; `handled`: it has, further in."""
        if self.body.flow.failure is None or handled:
            self.commands.append(End("failure", result, step.id, stop))
            return
        state = self.state
        state.phase, state.job, state.tries, state.cause = Phase.FAILURE, None, 0, cause
        self.run_failure(result)

    def run_failure(self, result: bytes | None = None) -> None:
        """Run the failure module; `result` None: what it is told has to be found out again."""
        module, failed = self.body.flow.failure, self.step
        assert module is not None
        value = module.module.value
        assert isinstance(value, RawScript | ScriptStep)
        if result is None:
            result = self._result_by_cause()
        view = self.view_after(failed, {} if result is None else {"previous_result": result})
        view.at_hand = {**view.at_hand, "error": _error_of_step(view, failed.id)}
        try:
            self.start_leaf(module, module, None, self.inputs.args(value.input_transforms, view), view)
        except (ExpressionError, InvalidArgs) as fault:
            self.record(module, None, "failure", result_of(fault))

    def hear_failure_module(self, event: Ended) -> None:
        """The failure module has ended, and with it the body: badly, unless it says `recover`."""
        module = self.body.flow.failure
        assert module is not None
        result = self.text(f"results.{FAILURE}") if event.result is None else event.result
        recovers = False
        if event.status == "success" and b'"recover"' in result:
            answer = decode(result)
            recovers = isinstance(answer, dict) and answer.get("recover") is True
        elif event.status == "failure":
            delay = self._retry_delay(module, result)
            if delay is not None:
                self._set_aside(module, delay)
                self.run_failure()
                return
        stop: Stop = "stop" if self.state.cause in {Cause.STOP, Cause.STOP_ALL} else ""
        self.commands.append(End("success" if recovers else "failure", result, FAILURE, stop))

    # -- early stops with an error -------------------------------------------------

    def stop_error(self, step: Step, stop: StopAfterIf) -> bytes:
        """Return the result of a body that an early stop ends with an error."""
        error: dict[str, Any] = {
            "name": "EarlyStopError",
            "message": stop.error_message or f"stop after if: {stop.expr}",
        }
        if stop.error_include_result:
            error["result"] = decode(self.view_after(step).text("previous_result"))
        return encode({"error": error})

    def asked_of(self, step: Step) -> dict[str, bytes]:
        """Return what `stop_after_if` is asked about, if that is not the step's result: an iteration."""
        number = self.state.iteration
        if not step.is_loop or (step.module.mock is not None and step.module.mock.enabled):
            return {}
        result = self.text(f"child.{step.id}.{number}")
        return {"result": result, "previous_result": result}

    def _result_by_cause(self) -> bytes | None:
        """Return the error that the failure module is told, where it is not the step's result."""
        step, cause = self.step, self.state.cause
        if cause is Cause.RESULT:
            return None
        is_all = cause in {Cause.STOP_ALL, Cause.BAD_STOP_ALL}
        stop = step.module.stop_after_all_iters_if if is_all else step.module.stop_after_if
        assert stop is not None
        if cause in {Cause.STOP, Cause.STOP_ALL}:
            return self.stop_error(step, stop)
        try:
            self.holds(stop, step, {} if is_all else self.asked_of(step))
        except ExpressionError as error:
            return bad_stop(error, is_all=is_all)
        return None


def bad_stop(error: ExpressionError, *, is_all: bool) -> bytes:
    """Return the result of a body that ends because nobody can tell whether it should stop."""
    return result_of(error, "stop_after_all_iters_if" if is_all else "stop_after_if")


def _error_of_step(view: View, step: str) -> bytes:
    """Return the `error` that a failure module sees: with the id of the step that failed."""
    error = decode(view.text("error"))
    if isinstance(error, dict):
        error.setdefault("step_id", step)
    return encode(error)
