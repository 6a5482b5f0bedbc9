"""FlowStatus: what a flow's job tells Windmill's UI and clients of itself. Pure.

Nothing of it is stored. It is made from what a body knows of itself while it runs (`State`), or from
how it ended, and from its children's rows; so a step that nobody reached has no row and waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from mill_actors.flows.definition import BranchAll, BranchOne, FlowStep, Static, WhileLoop
from mill_actors.flows.program import FAILURE, PREPROCESSOR, Body, Step
from mill_actors.flows.state import Phase, State
from mill_actors.flows.step_status import (
    NOBODY,
    NOTHING,
    Children,
    Json,
    chosen,
    fails,
    flow_jobs,
    job_of,
    under_way,
    waiting,
)
from mill_actors.jobs.jsons import decode


class Approver(Struct, frozen=True):
    """Who has approved."""

    resume_id: int
    approver: str


class Begun(Struct, frozen=True):
    """What a run was started with, where that is known: while it is open."""

    preprocess: bool = False
    #: Windmill's `restarted_from`
    restarted_from: Json | None = None


def flow_status(
    body: Body,
    job: str,
    children: Mapping[str, Children],
    state: State | None,
    ending: str | None,
    approvers: Mapping[str, Sequence[Approver]] | None = None,
    begun: Begun | None = None,
) -> Json:
    """Return the FlowStatus of a body.

    `children` by the ids of steps. `ending`: the job's final status, None while it is open; `state`: of
    one that has begun and not ended.
    """
    return _Reading(body, job, children, state, ending, approvers or {}, begun or Begun()).whole()


class _Reading:
    def __init__(
        self,
        body: Body,
        job: str,
        children: Mapping[str, Children],
        state: State | None,
        ending: str | None,
        approvers: Mapping[str, Sequence[Approver]],
        begun: Begun,
    ) -> None:
        self._body = body
        self._job = job
        self._children = children
        self._state = state
        self._ending = ending
        self._approvers = approvers
        self._begun = begun

    def whole(self) -> Json:
        modules = [self._module(step) for step in self._body.steps]
        self._mark_stopped(modules)
        told: Json = {
            "step": self._step(modules),
            "modules": modules,
            "failure_module": self._failure(),
            "preprocessor_module": self._preprocessor(),
            "cleanup_module": {},
        }
        state = self._state
        if state is not None and state.tries:
            name = FAILURE if state.phase is Phase.FAILURE else self._body.steps[state.at].id
            failed = self._of(name).failed_tries
            told["retry"] = {"fail_count": state.tries, "failed_jobs": list(failed)}
        conditions = self._conditions()
        if conditions is not None:
            told["approval_conditions"] = conditions
        if self._begun.restarted_from is not None:
            told["restarted_from"] = self._begun.restarted_from
        return told

    # -- where it is ---------------------------------------------------------------

    def _step(self, modules: Sequence[Json]) -> int:
        state = self._state
        if state is not None and state.phase is not Phase.NEW:
            if state.phase is Phase.FAILURE:
                return len(modules)
            return -1 if state.phase is Phase.PREPROCESSOR else state.at
        if self._ending is None:
            return -1 if self._preprocesses() else 0
        if self._of(FAILURE):
            return len(modules)
        reached = [place for place, module in enumerate(modules) if module["type"] != "WaitingForPriorSteps"]
        if not reached:
            return 0 if modules or not self._of(PREPROCESSOR) else -1
        last = reached[-1]
        return last + 1 if modules[last]["type"] == "Success" and self._ending != "failure" else last

    def _preprocesses(self) -> bool:
        has_one = self._body.flow.preprocessor is not None and self._body.role == "flow"
        return has_one and self._begun.preprocess

    def _mark_stopped(self, modules: Sequence[Json]) -> None:
        """An early stop with an error fails the step, whose own row says that it went well."""
        state = self._state
        stopped: Json | None = None
        if state is not None and state.phase is Phase.FAILURE:
            stopped = modules[state.at]
        elif self._ending == "failure":
            done = [module for module in modules if module["type"] != "WaitingForPriorSteps"]
            if done and not (self._of(FAILURE) and any(module["type"] == "Failure" for module in done)):
                stopped = done[-1]
        if stopped is not None and stopped["type"] == "Success":
            stopped["type"] = "Failure"
            for name in ("skipped", "approvers"):
                stopped.pop(name, None)

    def _of(self, step: str) -> Children:
        return self._children.get(step, NOTHING)

    # -- modules -------------------------------------------------------------------

    def _module(self, step: Step) -> Json:
        state = self._state
        children = self._of(step.id)
        if state is not None and state.at == step.index:
            if state.phase is Phase.SUSPENDED:
                return self._suspended(step)
            if state.phase is Phase.SLEEPING or not (children or state.phase in {Phase.STEP, Phase.FAILURE}):
                return waiting(step, children)
            if state.phase is Phase.STEP and children.own is None:
                return self._in_progress(step, state, children)
        if not children:
            return waiting(step, children)
        if children.own is None and self._ending is None and state is None:
            # Between two looks it has ended, or is about to begin.
            return {"type": "InProgress", "id": step.id, "job": self._job, **flow_jobs(children)}
        return self._ended(step, children)

    def _suspended(self, step: Step) -> Json:
        before = self._body.steps[step.index - 1]
        suspend = before.module.suspend
        previous = self._of(before.id)
        return {
            "type": "WaitingForEvents",
            "id": step.id,
            "count": suspend.required_events if suspend is not None else 1,
            "job": job_of(before, previous),
        }

    def _in_progress(self, step: Step, state: State, children: Children) -> Json:
        told: Json = {"type": "InProgress", "id": step.id, "job": state.job or self._job}
        value = step.module.value
        if not step.bodies:
            # In the hands of a worker that holds the flow whole: its row is written when it is over.
            return told
        if isinstance(value, BranchOne):
            child = children.last
            if child is not None and child.status == "queued":
                told["type"] = "WaitingForExecutor"
            if child is not None:
                told["job"] = child.id
            return {**told, "branch_chosen": chosen(state.iteration)}
        if step.is_parallel:
            told |= {"job": self._job, "parallel": True}
        elif children.last is not None:
            told["job"] = children.last.id
        index = state.ended if step.is_parallel else state.iteration
        if isinstance(value, BranchAll):
            told["branchall"] = {"branch": index, "len": state.length}
        else:
            told["iterator"] = {"index": index}
            if state.length >= 0:
                told["iterator"]["itered_len"] = state.length
            if isinstance(value, WhileLoop):
                told["while_loop"] = True
        return told | flow_jobs(children)

    def _ended(self, step: Step, children: Children) -> Json:
        """Return a step from its children alone: they are over, or it is one script's job."""
        own = children.own
        job = job_of(step, children)
        if own is not None and own.is_open:
            return under_way(step, own)
        told: Json = {"type": "Success", "id": step.id, "job": job}
        if fails(step, children):
            told["type"] = "Failure"
        elif self._ending is not None and any(child.is_open for child in children.many):
            told["type"] = "InProgress"
        if step.is_many and (own is None or (own.status == "success" and job == NOBODY)):
            told |= flow_jobs(children)
        if isinstance(step.module.value, BranchOne) and children.last is not None:
            told["branch_chosen"] = chosen(children.last.iteration or 0)
        if told["type"] == "Success":
            approvers = self._approvers.get(step.id)
            if approvers:
                told["approvers"] = [
                    {"resume_id": each.resume_id, "approver": each.approver or "unknown"}
                    for each in approvers
                ]
        if children.failed_tries:
            told["failed_retries"] = list(children.failed_tries)
        if told["type"] == "Success":
            # A nested flow that stopped early is `skipped` itself; the step is not.
            is_nested = own is not None and own.is_flow and isinstance(step.module.value, FlowStep)
            told["skipped"] = own is not None and own.status == "skipped" and not is_nested
        return told

    # -- beside the modules --------------------------------------------------------

    def _failure(self) -> Json:
        module = self._body.flow.failure
        told = self._special(module, FAILURE)
        if self._body.owner is not None and told["type"] != "WaitingForPriorSteps":
            return {"parent_module": self._body.owner.id, **told}
        return told

    def _preprocessor(self) -> Json | None:
        module = self._body.flow.preprocessor
        if module is None or self._body.role != "flow":
            return None
        if not self._of(PREPROCESSOR) and not self._preprocesses():
            return None
        return self._special(module, PREPROCESSOR)

    def _special(self, step: Step | None, name: str) -> Json:
        children = self._of(name)
        if step is not None and children.own is not None:
            return self._ended(step, children)
        state = self._state
        phase = Phase.FAILURE if name == FAILURE else Phase.PREPROCESSOR
        if state is not None and state.phase is phase:
            return {"type": "InProgress", "id": name, "job": state.job or self._job}
        return {"type": "WaitingForPriorSteps", "id": name}

    def _conditions(self) -> Json | None:
        state = self._state
        if state is None or state.phase is not Phase.SUSPENDED:
            return None
        suspend = self._body.steps[state.at - 1].module.suspend
        if suspend is None or not (suspend.user_auth_required or suspend.self_approval_disabled):
            return None
        groups: Any = []
        if isinstance(suspend.user_groups_required, Static):
            groups = decode(bytes(suspend.user_groups_required.value)) or []
        return {
            "user_auth_required": suspend.user_auth_required,
            "user_groups_required": groups,
            "self_approval_disabled": suspend.self_approval_disabled,
        }
