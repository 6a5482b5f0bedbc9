"""One job as the API tells it. SQL: `sql/job_reading.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from mill_actors.errors import JobNotFound
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id
from mill_actors.store.queries import sql

#: Results of one step that are told together.
MOST_RESULTS = 10_000
#: Bodies of a flow that are looked into for a step, level by level.
MOST_BODIES = 1_000
DEEPEST = 10


class JobGlance(Struct, frozen=True):
    """Who may read a job, and how it ended. `raw` is its result as JSON text, if that was asked for."""

    path: str
    created_by: str
    is_flow: bool
    is_running: bool
    #: None while it is open
    status: str | None
    raw: str | None


class JobView(Struct, frozen=True):
    """A job with what its version and its member say. `args` and `result` are JSON text."""

    id: str
    path: str
    script: str
    tag: str
    priority: int
    submitted_at: datetime
    scheduled_for: datetime
    created_by: str
    attempt: int
    parent_job: str | None
    is_flow: bool
    step: str | None
    worker: str | None
    cancelled_by: str | None
    cancel_reason: str | None
    is_cancelled: bool
    is_running: bool
    started_at: datetime | None
    completed_at: datetime | None
    duration_us: int | None
    #: None while it is open
    status: str | None
    args: str | None
    result: str | None
    email: str | None = None
    language: str | None = None
    code: str | None = None


class StartedJob(Struct, frozen=True):
    """When a job began, if it did."""

    id: str
    path: str
    created_by: str
    started_at: datetime | None


def job_glance(connection: Connection, workspace: str, job: str, *, result: bool = False) -> JobGlance:
    """Return what says who may read a job; raise `JobNotFound`."""
    told = {"workspace": workspace, "id": job_id(job), "result": result}
    row = connection.execute(sql.job_glance, told).fetchone()
    if row is None:
        raise JobNotFound(job)
    return JobGlance(*row)


def job_view(connection: Connection, workspace: str, job: str, *, code: bool = False) -> JobView:
    """Return a job; raise `JobNotFound`."""
    told = {"workspace": workspace, "id": job_id(job), "code": code}
    row = connection.execute(sql.job_view, told).fetchone()
    if row is None:
        raise JobNotFound(job)
    return JobView(*row)


def job_args(connection: Connection, workspace: str, job: str) -> str:
    """Return a job's arguments as JSON text; a body of a flow has none."""
    row = connection.execute(sql.job_args, {"workspace": workspace, "id": job_id(job)}).fetchone()
    return "{}" if row is None else str(row[0])


def job_root(connection: Connection, workspace: str, job: str) -> str:
    """Return the topmost job above a job: itself, if it has no parent."""
    row = connection.execute(sql.job_root, {"workspace": workspace, "id": job_id(job)}).fetchone()
    assert row is not None
    return str(row[0])


def jobs_started(connection: Connection, workspace: str, jobs: Sequence[str]) -> dict[str, StartedJob]:
    """Return those of these jobs that are there, by their ids."""
    rows = connection.execute(sql.jobs_started, {"workspace": workspace, "ids": list(jobs)}).fetchall()
    return {row[0]: StartedJob(*row) for row in rows}


def step_result(connection: Connection, workspace: str, flow: str, step: str) -> str | None:
    """Return what a step of a flow gave, as JSON text; None if it has not ended.

    Of a loop, or of all branches, it is an array. Steps inside of branches and loops are found too: the
    outermost counts.
    """
    bodies = [job_id(flow)]
    for _ in range(DEEPEST):
        told = {"workspace": workspace, "bodies": bodies, "step": step, "limit": MOST_RESULTS}
        rows = connection.execute(sql.results_of_step, told).fetchall()
        if rows:
            is_own = rows[0][0]
            texts = [row[1] or "null" for row in rows]
            return texts[0] if is_own else f"[{','.join(texts)}]"
        told = {"workspace": workspace, "bodies": bodies, "limit": MOST_BODIES}
        bodies = [row[0] for row in connection.execute(sql.bodies_below, told).fetchall()]
        if not bodies:
            break
    return None


class JobBelow(Struct, frozen=True):
    """A job of a flow: which step's, and which iteration's or branch's. The flow's own has none."""

    id: str
    step: str | None
    iteration: int | None
    path: str


def jobs_below(connection: Connection, workspace: str, flow: str, limit: int) -> list[JobBelow]:
    """Return a flow's job and all below it, the first to end first."""
    told = {"workspace": workspace, "id": job_id(flow), "limit": limit}
    return [JobBelow(*row) for row in connection.execute(sql.jobs_below, told).fetchall()]
