"""Who may steer a job: whoever started it, and whoever may run what it runs."""

from __future__ import annotations

from uuid import UUID

from mill_actors.api.job_access import PLACES
from mill_actors.api.permissions import Principal
from mill_actors.api.problems import Problem
from mill_actors.store.connection import Connection
from mill_actors.store.job_control import JobHead, job_head


def may_steer(who: Principal, job: JobHead) -> bool:
    """Whether somebody may cancel a job, answer for it, or note something about it."""
    return (
        who.is_admin or job.created_by == who.owner or (job.path[:2] in PLACES and who.may("run", job.path))
    )


def steerable(connection: Connection, who: Principal, workspace: str, job: str) -> JobHead:
    """Return a job that somebody may steer; raise `JobNotFound` or a 403 `Problem`."""
    found = job_head(connection, workspace, checked_id(job))
    if not may_steer(who, found):
        raise Problem(403, "forbidden", f"{who.owner} may not touch jobs of {found.path}.", found.path)
    return found


def checked_id(job: str) -> str:
    """Return a job's id in its usual form; raise a 400 `Problem` for what is none."""
    try:
        return str(UUID(job))
    except ValueError:
        raise Problem(400, "invalid_id", f"{job!r} is no job's id.", "$.id") from None
