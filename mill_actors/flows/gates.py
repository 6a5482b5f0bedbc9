"""What a step has to wait for: the approval and the sleep that the step before it asks for."""

from __future__ import annotations

from mill_actors.errors import InvalidArgs
from mill_actors.flows.expressions import ExpressionError
from mill_actors.flows.failing import Failing
from mill_actors.flows.state import AskApproval, End, KeepResume, Phase, Resume, Sleep
from mill_actors.flows.work import result_of
from mill_actors.jobs.jsons import encode

#: An approval that says nothing waits as long as Windmill's.
APPROVAL_SECONDS = 24 * 3600.0


class Gates(Failing):
    """How a body gets from one step to the next."""

    def enter(self, at: int, iteration: int = 0) -> None:
        """Pass the gates of the step before, and start the one at `at`."""
        state = self.state
        state.at, state.job = at, None
        if at >= len(self.body.steps):
            self._end_at_once()
            return
        if at > 0:
            before = self.body.steps[at - 1]
            suspend = before.module.suspend
            if suspend is not None and suspend.required_events and not (state.gated or state.open_gate):
                state.phase = Phase.SUSPENDED
                seconds = APPROVAL_SECONDS if suspend.timeout is None else suspend.timeout
                self.commands.append(AskApproval(before, suspend.required_events, seconds))
                return
            state.gated = True
            if before.module.sleep is not None and not state.slept:
                try:
                    seconds = self.inputs.number(before.module.sleep, self.view(at), "sleep")
                except (ExpressionError, InvalidArgs) as error:
                    self.begin_step(at)
                    self.record(self.body.steps[at], None, "failure", result_of(error))
                    return
                if seconds > 0:
                    state.phase = Phase.SLEEPING
                    self.commands.append(Sleep(seconds))
                    return
        self.start(self.body.steps[at], iteration)

    def _end_at_once(self) -> None:
        if self.body.steps:
            self.commands.append(End("success", None, self.body.steps[-1].id))
        else:
            self.commands.append(End("success", self.text("flow_input")))

    def wake(self) -> None:
        """The sleep is over."""
        self.state.slept = True
        self.enter(self.state.at)

    def hear_answers(self, resumes: tuple[Resume, ...], *, due: bool) -> None:
        """Somebody answered, or nobody did in time."""
        before = self.body.steps[self.state.at - 1]
        suspend = before.module.suspend
        assert suspend is not None
        refused = next((resume for resume in resumes if not resume.approved), None)
        if refused is not None:
            error = {
                "message": f"Disapproved by {refused.approver or 'unknown'}",
                "name": "SuspendedDisapproved",
            }
        elif sum(resume.approved for resume in resumes) >= suspend.required_events:
            self._pass()
            return
        elif due:
            error = {"message": "Timed out waiting to be resumed", "name": "SuspendedTimedOut"}
        else:
            return
        failed = encode({"error": error})
        if suspend.continue_on_disapprove_timeout:
            self.commands.append(KeepResume(before, failed))
            values = [bytes(resume.value) for resume in resumes if resume.approved]
            self.at_hand["resume"] = failed
            self.at_hand["resumes"] = b"[%b]" % b",".join([*values, failed])
            self._pass()
            return
        # The step that would have come next is the one that failed, and it is not tried again.
        step = self.step
        self.begin_step(step.index)
        self.record(step, None, "failure", failed)
        self.fail_for_good(step, failed)

    def _pass(self) -> None:
        self.state.gated = True
        self.enter(self.state.at)
