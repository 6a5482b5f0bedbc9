"""Ending jobs: one, several, or all of a path."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import json_answer, text_answer
from mill_actors.api.job_rights import checked_id, may_steer, steerable
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.errors import JobNotFound
from mill_actors.store.connection import Connection
from mill_actors.store.job_control import MOST_JOBS, JobHead, job_head, open_jobs_of_path
from mill_actors.store.jobs import cancel_job

routes = Routes("jobs")


class CancelBody(Struct):
    """Why; it stands in the job's result."""

    reason: str | None = None


class SelectionQuery(Struct):
    """Whether what runs is asked to end, or taken from its worker at once."""

    force_cancel: bool = False


Cancel = Call[NoQuery, CancelBody | None]
_BODY: dict[str, Any] = {"body": CancelBody | None, "returns": str, "form": "text", "action": "run"}


async def _cancel(call: Cancel, *, force: bool) -> web.Response:
    reason = None if call.body is None else call.body.reason

    def work(connection: Connection) -> str:
        head = steerable(connection, call.who, call.workspace, call.id)
        if _end(connection, call, head, reason, force=force):
            return head.id
        return f"queued job id {head.id} is already completed"

    return text_answer(await call.services.run(work))


def _end(
    connection: Connection, call: Call[Any, Any], head: JobHead, reason: str | None, *, force: bool
) -> bool:
    """Cancel a job; False: it is over."""
    if head.status is not None:
        return False
    try:
        cancel_job(connection, call.workspace, head.id, by=call.who.owner, reason=reason, force=force)
    except JobNotFound:
        if head.root_job not in {None, head.id} and head.is_flow:
            raise Problem(
                400,
                "refused",
                f"{head.id} is a part of flow {head.root_job}: cancel that.",
                job=head.root_job,
            ) from None
        return False  # it has ended just now
    return True


@routes.post("/w/{workspace}/jobs_u/queue/cancel/{id}", **_BODY)
async def cancel_queued_job(call: Cancel) -> web.Response:
    """Cancel a job: one that waits is over, one that runs is asked to end.

    What is over already is no error, however often it is asked for.
    """
    return await _cancel(call, force=False)


@routes.post("/w/{workspace}/jobs/queue/cancel/{id}", **_BODY)
async def cancel_queued_job_as_user(call: Cancel) -> web.Response:
    """The same as below jobs_u."""
    return await _cancel(call, force=False)


@routes.post("/w/{workspace}/jobs_u/queue/force_cancel/{id}", **_BODY)
async def force_cancel_queued_job(call: Cancel) -> web.Response:
    """Cancel a job at once: its worker is no longer listened to."""
    return await _cancel(call, force=True)


@routes.post("/w/{workspace}/jobs/queue/force_cancel/{id}", **_BODY)
async def force_cancel_queued_job_as_user(call: Cancel) -> web.Response:
    """The same as below jobs_u."""
    return await _cancel(call, force=True)


@routes.post("/w/{workspace}/jobs_u/queue/cancel_persistent/{path*}", **_BODY)
async def cancel_persistent_queued_jobs(call: Cancel) -> web.Response:
    """Cancel all open jobs of a path; answers how many."""
    call.who.need("run", call.path)
    reason = None if call.body is None else call.body.reason

    def work(connection: Connection) -> int:
        ids = open_jobs_of_path(connection, call.workspace, call.path)
        return len(_end_each(connection, call, ids, reason, force=False))

    count = await call.services.run(work)
    return text_answer(f"{count} jobs of {call.path} are cancelled")


@routes.post(
    "/w/{workspace}/jobs/queue/cancel_selection",
    query=SelectionQuery,
    body=list[str],
    returns=list[str],
    action="run",
)
async def cancel_selection(call: Call[SelectionQuery, list[str]]) -> web.Response:
    """Cancel these jobs; answers those that were open, and the caller's to cancel."""
    if len(call.body) > MOST_JOBS:
        raise Problem(400, "invalid_body", f"Up to {MOST_JOBS:,} jobs are cancelled at a time.", "$")
    ids = [checked_id(each) for each in call.body]
    force = call.query.force_cancel
    return json_answer(await call.services.run(lambda c: _end_each(c, call, ids, None, force=force)))


def _end_each(
    connection: Connection, call: Call[Any, Any], ids: list[str], reason: str | None, *, force: bool
) -> list[str]:
    ended = []
    for job in dict.fromkeys(ids):
        try:
            head = job_head(connection, call.workspace, job)
            if may_steer(call.who, head) and _end(connection, call, head, reason, force=force):
                ended.append(job)
        except (JobNotFound, Problem):
            continue
    return ended
