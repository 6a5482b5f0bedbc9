"""Who may look at a job: admins, whoever may read its path, and whoever created it."""

from __future__ import annotations

from typing import Any

from mill_actors.api.permissions import Principal
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call
from mill_actors.store.job_reading import JobGlance, job_glance

#: What lies elsewhere belongs to nobody but its creator.
PLACES = {"f/", "u/", "g/"}


def may_see(who: Principal, path: str, created_by: str) -> bool:
    """Whether somebody may look at a job."""
    return who.is_admin or created_by == who.owner or (path[:2] in PLACES and who.may("read", path))


def need_sight(who: Principal, job: str, path: str, created_by: str) -> None:
    """Raise a 403 `Problem` if he may not."""
    if not may_see(who, path, created_by):
        raise Problem(403, "forbidden", f"{who.owner} may not read job {job}.", path)


async def seen_job(call: Call[Any, Any], job: str, *, result: bool = False) -> JobGlance:
    """Return a job that the caller may look at; raise a 404 or 403 otherwise."""
    head = await call.services.run(lambda c: job_glance(c, call.workspace, job, result=result))
    need_sight(call.who, job, head.path, head.created_by)
    return head
