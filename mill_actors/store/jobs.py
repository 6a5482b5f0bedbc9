"""Jobs as people and programs see them, wherever they are. SQL: `sql/read.sql`, `sql/settle.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mill_actors.errors import JobNotFound
from mill_actors.store.cancelled import cancelled_result
from mill_actors.store.concurrency import free_and_admit
from mill_actors.store.connection import Connection
from mill_actors.store.decoding import decode, job_id, storable
from mill_actors.store.flow_rows import wake_flows
from mill_actors.store.notify import CANCEL, notify, ring_queue, ring_settled
from mill_actors.store.queries import sql


class Job(Struct, frozen=True):
    """Everything about one job. `args` and `result` are JSON text."""

    id: str
    workspace: str
    path: str
    script: str
    tag: str
    priority: int
    status: str
    submitted_at: datetime
    scheduled_for: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_us: int | None
    args: str
    result: str | None
    created_by: str
    worker: str | None
    attempt: int
    rescues: int
    parent_job: str | None
    cancelled_by: str | None
    cancel_reason: str | None
    cancel_requested_at: datetime | None
    expires_at: datetime | None
    concurrency_key: str | None
    admitted: bool
    is_flow: bool = False
    #: of a job below a flow: which step's of its parent, and which iteration or branch
    step: str | None = None
    iteration: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it is over."""
        return self.completed_at is not None


class ListedJob(Struct, frozen=True):
    """One line of a list: no arguments, no result."""

    id: str
    path: str
    status: str
    tag: str
    submitted_at: datetime
    scheduled_for: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_us: int | None
    created_by: str
    worker: str | None
    attempt: int


class Attempt(Struct, frozen=True):
    """An attempt before the last one."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    worker: str
    error: Any


class JobResult(Struct, frozen=True):
    """How a job ended. `raw` is the result as JSON text."""

    id: str
    status: str
    raw: str | None

    @property
    def value(self) -> Any:
        """The result, decoded."""
        return None if self.raw is None else decode(self.raw)

    @property
    def succeeded(self) -> bool:
        """Whether the job ended well."""
        return self.status == "success"


def get_job(connection: Connection, workspace: str, job: str) -> Job:
    """Return one job; raise `JobNotFound`."""
    row = connection.execute(sql.get_job, {"workspace": workspace, "id": job_id(job)}).fetchone()
    if row is None:
        raise JobNotFound(job)
    return Job(*row)


def job_attempts(connection: Connection, workspace: str, job: str) -> list[Attempt]:
    """Return the attempts before the last one, oldest first."""
    rows = connection.execute(sql.job_attempts, {"workspace": workspace, "id": job_id(job)}).fetchall()
    return [Attempt(*row) for row in rows]


def job_results(connection: Connection, ids: Sequence[str]) -> list[JobResult]:
    """Return the results of those that are finished, or have answered early."""
    rows = connection.execute(sql.job_results, {"ids": list(ids)}).fetchall()
    left = set(ids).difference(row[0] for row in rows)
    if left:
        early = connection.execute(sql.any_early, {"ids": list(left)}).fetchone()
        if early and early[0]:
            rows += connection.execute(sql.early_results, {"ids": list(left)}).fetchall()
    return [JobResult(*row) for row in rows]


def await_jobs(connection: Connection, ids: Sequence[str]) -> None:
    """Ask for a ring of `mill_settled` when these end."""
    tags = set()
    for job in ids:
        row = connection.execute(sql.await_job, {"id": job}).fetchone()
        if row is not None and row[1]:
            tags.add(row[0])
    # A claim may have passed them by while we held their rows.
    ring_queue(connection, tags)


def list_jobs(
    connection: Connection,
    workspace: str,
    *,
    status: str | None = None,
    path: str | None = None,
    limit: int = 30,
    steps: bool = False,
) -> list[ListedJob]:
    """Return open jobs first, then finished ones, newest first; `status` narrows to one state.

    Steps of flows are left out, unless `steps` asks for them.
    """
    found: list[ListedJob] = []
    with connection.transaction():
        connection.execute(sql.plan_for_values)
        if status in (None, "queued", "running"):
            rows = connection.execute(
                sql.list_queued_jobs,
                {
                    "workspace": workspace,
                    "path": path,
                    "running": None if status is None else status == "running",
                    "steps": steps,
                    "limit": limit,
                },
            ).fetchall()
            found += [ListedJob(*row) for row in rows]
        if status not in ("queued", "running") and len(found) < limit:
            rows = connection.execute(
                sql.list_completed_jobs,
                {
                    "workspace": workspace,
                    "path": path,
                    "status": status,
                    "steps": steps,
                    "limit": limit - len(found),
                },
            ).fetchall()
            found += [ListedJob(*row) for row in rows]
    return found


def count_jobs(connection: Connection, workspace: str, within_seconds: float) -> dict[str, int]:
    """Count open jobs by state, and finished ones of the last `within_seconds` by status."""
    row = connection.execute(sql.count_jobs, {"workspace": workspace}).fetchone()
    counts = dict(zip(("waiting", "scheduled", "limited", "running"), row or (0, 0, 0, 0), strict=True))
    rows = connection.execute(
        sql.count_completed_jobs, {"workspace": workspace, "within_seconds": within_seconds}
    ).fetchall()
    counts.update({row[0]: row[1] for row in rows})
    return counts


def cancel_job(
    connection: Connection,
    workspace: str,
    job: str,
    *,
    by: str,
    reason: str | None = None,
    force: bool = False,
) -> str:
    """Cancel one job: `cancelled` (it was waiting, or `force`) or `requested` (it is running).

    A running job is settled by whoever holds it; `force` takes the claim away, so that whatever
    its worker still answers is stale. Raises `JobNotFound` for a job that is unknown or over.
    """
    job, reason = job_id(job), None if reason is None else storable(reason)
    with connection.transaction():
        connection.execute(sql.lock_job, {"workspace": workspace, "id": job})
        row = connection.execute(
            sql.cancel_job,
            {
                "workspace": workspace,
                "id": job,
                "cancelled_by": by,
                "reason": reason,
                "result": cancelled_result(by, reason).decode(),
                "force": force,
                "now": None,
            },
        ).fetchone()
        if row is None:
            raise JobNotFound(job)
        became, node, awaited, key, parent, under_way = row
        tags = wake_flows(connection, [parent]) if parent is not None else set()
        if key is not None:
            ended, unrun = ([job], []) if node is not None else ([], [job])
            tags |= free_and_admit(connection, ended, [(workspace, key)], unrun=unrun)
        if under_way is not None:
            tags.add(under_way)
    ring_queue(connection, tags)
    if awaited:
        ring_settled(connection, [job])
    if node is not None:
        notify(connection, CANCEL, job)
    return str(became)


def expire_jobs(connection: Connection, limit: int = 1000) -> list[str]:
    """Cancel what was not started before its `expires_at`; return the ids."""
    with connection.transaction():
        rows = connection.execute(
            sql.expire_jobs,
            {
                "limit": limit,
                "result": cancelled_result("mill", "it was not started in time").decode(),
                "now": None,
            },
        ).fetchall()
        keys = {(row[1], row[3]) for row in rows if row[3] is not None}
        tags = wake_flows(connection, [row[4] for row in rows if row[4] is not None])
        tags |= free_and_admit(connection, [], keys, unrun=[row[0] for row in rows])
    ring_queue(connection, tags)
    ring_settled(connection, [row[0] for row in rows if row[2]])
    return [row[0] for row in rows]
