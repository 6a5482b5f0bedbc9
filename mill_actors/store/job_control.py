"""Jobs as people steer them: whose they are, and what may be done to them. SQL: `sql/job_control.sql`."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from mill_actors.errors import JobNotFound
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import job_id
from mill_actors.store.notify import ring_queue
from mill_actors.store.queries import sql

#: How many jobs one request may end.
MOST_JOBS = 10_000


class JobHead(Struct, frozen=True):
    """What says whose a job is, and what it is; `status` is None while it is open."""

    id: str
    path: str
    #: the version, by its hash
    script: str
    created_by: str
    is_flow: bool
    parent_job: str | None
    #: of an open job inside a flow
    root_job: str | None
    step: str | None
    tag: str
    status: str | None
    scheduled_for: datetime

    @property
    def flow(self) -> str | None:
        """The flow that it is or is a step of: not every parent is a flow that has it as a step."""
        if self.is_flow:
            return self.id
        return None if self.step is None else self.parent_job


def job_head(connection: Connection, workspace: str, job: str) -> JobHead:
    """Return what a job is, open or over; raise `JobNotFound`."""
    row = connection.execute(sql.job_head, {"workspace": workspace, "id": job_id(job)}).fetchone()
    if row is None:
        raise JobNotFound(job)
    return JobHead(*row)


def open_jobs_of_path(connection: Connection, workspace: str, path: str) -> list[str]:
    """Return the open jobs of a path, oldest first, at most `MOST_JOBS`; no steps of flows."""
    rows = connection.execute(
        sql.open_jobs_of_path, {"workspace": workspace, "path": path, "limit": MOST_JOBS}
    ).fetchall()
    return [row[0] for row in rows]


def run_now(connection: Connection, workspace: str, job: str) -> bool:
    """Let a job run that waits for its time; False: it does not."""
    row = connection.execute(sql.run_now, {"workspace": workspace, "id": job}).fetchone()
    if row is not None:
        ring_queue(connection, [row[0]])
    return row is not None
