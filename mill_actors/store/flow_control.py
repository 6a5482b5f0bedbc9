"""Answers to approvals, and flows that begin where another one was. SQL: `sql/flow_control.sql`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from mill_actors.errors import InvalidArgs, JobNotFound, MillError
from mill_actors.flows.children import is_forgiven
from mill_actors.flows.definition import BranchAll
from mill_actors.flows.flow_status import flow_status
from mill_actors.flows.program import Step
from mill_actors.flows.step_status import Children
from mill_actors.jobs.script import is_preview
from mill_actors.store.approvals import Asked, asked
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id, storable
from mill_actors.store.flow_rows import put_resume, wake_flows
from mill_actors.store.flow_status import FlowJob, flow_job, read_children
from mill_actors.store.flow_versions import FlowText, compiled, flow_by_hash, flow_by_path
from mill_actors.store.jobs import get_job
from mill_actors.store.notify import ring_queue
from mill_actors.store.queries import sql
from mill_actors.store.submission import Restart, Submission, encode_args

#: How often it is looked again who asks, before somebody else has to.
LOOKS = 5
#: Windmill's are unsigned numbers of 32 bits.
MOST_RESUME_ID = 2**32 - 1


class AlreadyAnswered(MillError):
    """This answer was given before."""

    def __init__(self, job: str, resume_id: int) -> None:
        self.job = job
        self.resume_id = resume_id
        super().__init__(f"The answer {resume_id} was given to job {job} before.")


def resume_flow(
    connection: Connection,
    workspace: str,
    job: str,
    value: Any,
    approver: str,
    *,
    approved: bool,
    resume_id: int | None,
    check: Callable[[Asked], None] | None = None,
) -> str:
    """Answer the approval that a flow, or something inside it, waits for; return the job that hears it.

    Nothing waits yet: the answer is kept for the first step of the flow that asks. `job` may be that of
    a step as well, which answers for the flow it is a step of. `check` raises what forbids it. Raises
    `JobNotFound`, `AlreadyAnswered` if this `resume_id` has answered, and `MillError` if the flow is over.
    """
    job = job_id(job)
    told = Submission(path="the answer", args={"value": value})
    text = encode_args(told)[len(b'{"value":') : -1]
    number = random.getrandbits(32) if resume_id is None else resume_id
    if not 0 <= number <= MOST_RESUME_ID:
        raise InvalidArgs("resume_id", f"must be between 0 and {MOST_RESUME_ID:,}")
    # A flow that just begins has no state that one could see, and so none to wake: its beginning is waited
    # for. In a transaction of its own, since its row is locked after its state, as everywhere.
    connection.execute(sql.lock_job, {"workspace": workspace, "id": job})
    with connection.transaction():
        flow = answered_flow(connection, workspace, job)
        run, _ = asked_run(connection, workspace, flow, check)
        # Whoever asks gives all answers that came before it their step.
        is_new = put_resume(
            connection, run, None, number, approved=approved, value=text, approver=storable(approver)
        )
        if not is_new:
            raise AlreadyAnswered(run, number)
        tags = wake_flows(connection, [run])
    ring_queue(connection, tags)
    return str(run)


def asked_run(
    connection: Connection, workspace: str, flow: str, check: Callable[[Asked], None] | None
) -> tuple[str, Asked | None]:
    """Return the body that an answer to a flow is for; with a `check`, locked and with what it asks."""
    for _ in range(LOOKS):
        row = connection.execute(sql.flow_asking, {"job": flow}).fetchone()
        run = flow if row is None else row[0]
        if check is None:
            return run, None
        found = asked(connection, workspace, run)
        # It may have moved on before it was locked.
        if row is None or found.waits:
            check(found)
            return run, found
    raise MillError(f"Flow {flow} moves on too fast to be answered: try again.")


def answered_flow(connection: Connection, workspace: str, job: str) -> str:
    """Return the open flow that an answer to this job is for."""
    wanted = job
    for _ in range(2):
        row = connection.execute(sql.answered_job, {"workspace": workspace, "id": wanted}).fetchone()
        if row is None:
            raise JobNotFound(job)
        is_flow, parent, status = row
        if not is_flow and parent is not None:
            wanted = parent
            continue
        if not is_flow:
            raise MillError(f"Job {job} is no flow, and no step of one: it asks for no approval.")
        if status is not None:
            raise MillError(f"Flow {wanted} is over ({status}): nothing waits for an answer.")
        return wanted
    raise JobNotFound(job)


# ---------------------------------------------------------------- restart


def plan_restart(
    connection: Connection,
    workspace: str,
    job: str,
    step: str,
    iteration: int = 0,
    args: Mapping[str, object] | bytes | None = None,
    now: FlowText | None = None,
) -> Submission:
    """Return what begins a flow anew at a step, with the results of an earlier run before it.

    The flow runs as its path means it now, or as `now` is; a preview as it was. Raises `JobNotFound`, and
    `InvalidArgs` with what is wrong.
    """
    found = flow_job(connection, workspace, job)
    old = get_job(connection, workspace, found.id)
    if found.body.address or old.path != found.version.path:
        raise InvalidArgs(found.id, f"is a part of a run of {found.version.path}: restart the whole flow")
    if found.ending is None:
        raise InvalidArgs(found.id, "is not over: only a finished flow can be restarted")
    if now is None and is_preview(found.version.hash):
        now = flow_by_hash(connection, workspace, found.version.hash)
    version = compiled(now or flow_by_path(connection, workspace, old.path))
    body = version.program.root
    at = body.by_id.get(step)
    if at is None:
        known = ", ".join(each.id for each in body.steps)
        raise InvalidArgs("step", f"{step!r} is no step of the flow itself; those are {known}")
    children = read_children(connection, found, body)
    # How the old version ended says nothing of a step of the new one that is at the same place.
    ending = found.ending if version.hash == found.version.hash else "success"
    modules = flow_status(body, found.id, children, None, ending)["modules"]
    for before, module in zip(body.steps[: at.index], modules, strict=False):
        if module["type"] == "WaitingForPriorSteps":
            raise InvalidArgs("step", f"the run has no result of {before.id!r}, which comes before {step!r}")
        if module["type"] != "Success":
            raise InvalidArgs("step", f"{before.id!r}, which comes before {step!r}, did not succeed")
    if iteration:
        _check_iteration(at, iteration, children.get(step, Children()), found)
    return Submission(
        path=old.path,
        args=old.args.encode() if args is None else args,
        workspace=workspace,
        kind="flow",
        hash=None if now is None else now.hash,
        restart=Restart(found.id, step, iteration),
    )


def _check_iteration(step: Step, iteration: int, children: Children, found: FlowJob) -> None:
    if not step.is_many or step.is_parallel:
        why = f"{step.id!r} is no loop and no branches that run one after another"
        raise InvalidArgs("iteration", why)
    done = {child.iteration: child for child in children.many if not child.is_open}
    for number in range(iteration):
        child = done.get(number)
        what = "branch" if isinstance(step.module.value, BranchAll) else "iteration"
        if child is None:
            raise InvalidArgs("iteration", f"{what} {number} of {step.id!r} did not run in job {found.id}")
        if child.is_bad and not is_forgiven(step, number):
            raise InvalidArgs("iteration", f"{what} {number} of {step.id!r} did not succeed")
