"""FlowStatus of a job, running or over, and its steps one by one. SQL: `sql/flow_status.sql`.

Up to seven statements whatever the flow's size. Of a step with more than 10,000 iterations the first
10,000 are listed and `flow_jobs_count` is their number; `iterator` is right in any case. What a flow
forgets when it ends (who approved, what it was restarted from) is told while it is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.errors import InvalidArgs, JobNotFound
from mill_actors.flows.flow_status import Approver, Begun, flow_status
from mill_actors.flows.program import Body
from mill_actors.flows.state import decode_state
from mill_actors.flows.step_status import MOST_LISTED, Child, Children, Json
from mill_actors.flows.version import FlowVersion
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id
from mill_actors.store.flow_versions import compiled, flow_by_hash
from mill_actors.store.queries import sql


class FlowJob(Struct, frozen=True):
    """A job of a flow or of one of its bodies, as far as its children are looked for."""

    id: str
    version: FlowVersion
    body: Body
    ending: str | None
    state: str | None
    start: Any
    since: datetime
    until: Any


class FlowStepRow(Struct, frozen=True):
    """A job below a flow's."""

    parent: str
    id: str
    path: str
    step: str
    iteration: int | None
    status: str
    is_flow: bool
    duration_us: int | None
    #: before the flow was: it is of the run that this one was restarted from
    submitted_at: datetime
    completed_at: datetime | None


def read_flow_status(connection: Connection, workspace: str, job: str) -> Json:
    """Return the FlowStatus of a flow's job, or a body's.

    Raises `JobNotFound`, and `InvalidArgs` for a job that has no steps.
    """
    with connection.transaction():
        connection.execute(sql.one_snapshot)
        found = flow_job(connection, workspace, job)
        children = read_children(connection, found, found.body)
        approvers: dict[str, list[Approver]] = {}
        if found.ending is None:
            for step, resume_id, name in connection.execute(sql.flow_approvers, {"job": found.id}).fetchall():
                approvers.setdefault(step, []).append(Approver(resume_id, name))
    return flow_status(
        found.body,
        found.id,
        children,
        None if found.state is None else decode_state(found.state),
        found.ending,
        approvers,
        _begun(found.start),
    )


def read_flow_job(connection: Connection, workspace: str, job: str) -> FlowJob:
    """Return a flow's job, or a body's, with its version; raise as `read_flow_status` does."""
    with connection.transaction():
        connection.execute(sql.one_snapshot)
        return flow_job(connection, workspace, job)


def flow_job(connection: Connection, workspace: str, job: str) -> FlowJob:
    """Do the same as `read_flow_job`, within the caller's transaction."""
    job = job_id(job)
    row = connection.execute(sql.flow_job, {"workspace": workspace, "id": job}).fetchone()
    if row is None:
        raise JobNotFound(job)
    _, path, digest, is_flow, step, iteration, ending, address, state, start, since, until = row
    if not is_flow:
        raise InvalidArgs(job, f"is a job of the script {path}, and has no steps")
    text = flow_by_hash(connection, workspace, digest)
    if text is None:
        raise InvalidArgs(job, "was a preview, whose flow is not kept any more")
    version = compiled(text)
    if address is None:
        address = "" if path == version.path else _address(version, step, iteration)
    return FlowJob(job, version, version.program.bodies[address], ending, state, start, since, until)


def _address(version: FlowVersion, step: str, iteration: int | None) -> str:
    """Return the body of a finished job: a loop's, or a branch's, from its place."""
    name = step.partition("~")[0]
    return name if name in version.program.bodies else f"{name}.{iteration or 0}"


def read_children(connection: Connection, found: FlowJob, body: Body) -> dict[str, Children]:
    """Return the children of each step of a body, by the steps' ids, within the caller's transaction."""
    steps = [*body.steps, *(s for s in (body.flow.failure, body.flow.preprocessor) if s is not None)]
    place = {"job": found.id, "since": found.since, "until": found.until}
    rows = connection.execute(
        sql.flow_children, {**place, "steps": [step.id for step in steps], "limit": MOST_LISTED}
    ).fetchall()
    listed: dict[str, list[Child]] = {}
    for step, *child in rows:
        listed.setdefault(step, []).append(Child(*child))
    long = [step for step, children in listed.items() if len(children) >= MOST_LISTED]
    counts: dict[str, Sequence[Any]] = {}
    if long:
        counted = connection.execute(sql.flow_children_counts, {**place, "steps": long}).fetchall()
        counts = {row[0]: row[1:] for row in counted}
    retried = [step.id for step in steps if step.module.retry is not None]
    tries: dict[str, list[tuple[int, str]]] = {}
    if retried:
        parameters = {**place, "steps": retried, "limit": MOST_LISTED}
        for step, name, job in connection.execute(sql.failed_tries, parameters).fetchall():
            tries.setdefault(step, []).append((int(name.rpartition("~")[2]), job))
    return {
        step: _children(listed.get(step, []), counts.get(step), sorted(tries.get(step, [])))
        for step in listed.keys() | tries.keys()
    }


def _children(
    listed: Sequence[Child], counts: Sequence[Any] | None, tries: Sequence[tuple[int, str]]
) -> Children:
    own = [child for child in listed if child.iteration is None]
    many = sorted((c for c in listed if c.iteration is not None), key=lambda child: child.iteration or 0)
    count, bad = len(many), sum(child.is_bad for child in many)
    last = many[-1] if many else None
    if counts is not None:
        ended, bad, *row = counts
        count = ended + sum(child.is_open for child in many)
        found = Child(*row)
        if last is None or (found.iteration or 0) > (last.iteration or 0):
            last = found
    return Children(
        # One that runs counts, not one that was there before: a restart has both for a moment.
        own=next((child for child in own if child.is_open), own[-1] if own else None),
        many=many[:MOST_LISTED],
        last=last,
        count=count,
        bad=bad,
        failed_tries=[job for _, job in tries],
    )


def read_steps(
    connection: Connection,
    bodies: Sequence[str],
    since: datetime,
    quiet: Sequence[str] = (),
    limit: int = 1000,
) -> list[FlowStepRow]:
    """Return what ended below some flows' jobs since a moment, oldest first, then what is open below them.

    Children of `quiet` steps are left out once they have ended.
    """
    rows = connection.execute(
        sql.flow_steps,
        {
            "bodies": list(bodies),
            "since": since,
            "quiet": list(quiet),
            "limit": limit,
        },
    ).fetchall()
    return [FlowStepRow(*row) for row in rows]


def _begun(start: Mapping[str, Any] | None) -> Begun:
    if start is None:
        return Begun()
    restart = start.get("restart")
    restarted_from = restart and {
        "flow_job_id": restart["job"],
        "step_id": restart["step"],
        "branch_or_iteration_n": restart.get("iteration") or None,
        "flow_version": None,
    }
    return Begun(preprocess=bool(start.get("preprocess")), restarted_from=restarted_from)
