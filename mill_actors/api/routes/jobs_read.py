"""Reading one job: what it is, what it gave, what it printed.

Windmill has most of these below `jobs_u/`, and some below `jobs/`; here all have both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import Raw, Struct

from mill_actors.api.answers import json_answer, raw_answer, text_answer
from mill_actors.api.job_access import may_see, need_sight, seen_job
from mill_actors.api.job_models import CompletedJob, Job, QueuedJob, is_good, json_at
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, Handler, Routes
from mill_actors.api.whole_job import whole_job
from mill_actors.errors import JobNotFound
from mill_actors.store.connection import Connection
from mill_actors.store.job_reading import (
    JobGlance,
    JobView,
    job_args,
    job_glance,
    job_root,
    job_view,
    jobs_below,
    jobs_started,
    step_result,
)
from mill_actors.store.logs import read_logs, read_many_logs

routes = Routes("jobs")

#: How long the answer about an open job is held back: clients ask again at once.
HOLD_SECONDS = 1.0
#: Ids of one question.
MOST_IDS = 10_000
#: Of a flow's logs: jobs that are looked for, so many together, and about how much they may have printed.
MOST_JOBS = 10_000
LOGS_AT_ONCE = 20
MOST_CHARACTERS = 16 * 1024 * 1024
#: Of a log's end.
TAIL_CHARACTERS = 10_000


def _get(
    path: str, **options: Any
) -> Callable[[Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]], Handler]:
    """Declare a GET below both of Windmill's prefixes."""
    return routes.get(f"/w/{{workspace}}/jobs_u/{path}", also=f"/w/{{workspace}}/jobs/{path}", **options)


# -- the job -----------------------------------------------------------------------


class GetQuery(Struct, kw_only=True):
    """What to leave out."""

    no_logs: bool = False
    no_code: bool = False


async def _view(call: Call[Any, Any], told: GetQuery) -> Job:
    def read(connection: Connection) -> Job:
        found = job_view(connection, call.workspace, call.id, code=not told.no_code)
        need_sight(call.who, call.id, found.path, found.created_by)
        return whole_job(connection, call.workspace, found, logs=not told.no_logs, code=not told.no_code)

    return await call.services.run(read)


@_get("get/{id}", query=GetQuery, returns=QueuedJob | CompletedJob)
async def get_job(call: Call[GetQuery, None]) -> web.Response:
    """A job, open or over; a flow's has `flow_status` from its first moment on."""
    return json_answer(await _view(call, call.query))


async def _ended(call: Call[Any, Any], job: str) -> JobGlance:
    """Return a job that is over; one that is open is waited for for a moment, and is a 404 then."""
    head = await seen_job(call, job)
    if head.status is None:
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        async with call.services.watcher.watching(job) as news:
            while (left := deadline - asyncio.get_running_loop().time()) > 0 and await news.wait(left):
                head = await seen_job(call, job)
                if head.status is not None:
                    return head
        raise not_found(f"completed job {job}: it is not over yet")
    return head


@_get("completed/get/{id}", query=GetQuery, returns=CompletedJob)
async def get_completed_job(call: Call[GetQuery, None]) -> web.Response:
    """A job that is over; 404 while it is open, after up to a second."""
    await _ended(call, call.id)
    return json_answer(await _view(call, call.query))


# -- its result --------------------------------------------------------------------


class ResultQuery(Struct, kw_only=True):
    """`json_path`: which part of it, as in `items.0.name`."""

    json_path: str | None = None


@_get("completed/get_result/{id}", query=ResultQuery, returns=Raw)
async def get_result(call: Call[ResultQuery, None]) -> web.Response:
    """The result of a job that is over; 404 while it is open."""
    head = await seen_job(call, call.id, result=True)
    if head.status is None:
        raise not_found(f"completed job {call.id}: it is not over yet")
    return raw_answer(json_at(head.raw, call.query.json_path))


class ResultMaybe(Struct):
    """All four are always there."""

    started: bool | None
    success: bool | None
    completed: bool
    result: Raw | None


@_get("completed/get_result_maybe/{id}", returns=ResultMaybe)
async def get_result_maybe(call: Call[Any, None]) -> web.Response:
    """The result, if there is one yet; of an id that nobody has there is none yet either."""
    _need_id(call.id)
    try:
        head = await seen_job(call, call.id, result=True)
    except JobNotFound:
        return json_answer(ResultMaybe(started=False, success=None, completed=False, result=None))
    if head.status is None:
        return json_answer(ResultMaybe(head.is_running, success=None, completed=False, result=None))
    raw = None if head.raw is None else Raw(head.raw.encode())
    return json_answer(ResultMaybe(started=True, success=is_good(head.status), completed=True, result=raw))


def _need_id(text: str) -> None:
    """An id that is none would be asked for for ever."""
    try:
        UUID(text)
    except ValueError:
        raise Problem(400, "invalid_path", f"{text[:100]!r} is no id of a job.") from None


class Timing(Struct):
    """Of a job that is over."""

    created_at: datetime
    started_at: datetime | None
    duration_ms: int | None


@_get("completed/get_timing/{id}", returns=Timing)
async def get_timing(call: Call[Any, None]) -> web.Response:
    """When a job that is over was submitted and began, and how long it took."""

    def read(connection: Connection) -> JobView:
        return job_view(connection, call.workspace, call.id)

    found = await call.services.run(read)
    need_sight(call.who, call.id, found.path, found.created_by)
    if found.completed_at is None:
        raise not_found(f"completed job {call.id}: it is not over yet")
    milliseconds = None if found.duration_us is None else found.duration_us // 1000
    return json_answer(Timing(found.submitted_at, found.started_at, milliseconds))


@routes.get("/w/{workspace}/jobs/result_by_id/{id}/{node}", query=ResultQuery, returns=Raw)
async def get_result_of_step(call: Call[ResultQuery, None]) -> web.Response:
    """What a step of a flow gave, while the flow goes on or later; of a loop an array."""
    node = call.names["node"]

    def read(connection: Connection) -> str | None:
        head = job_glance(connection, call.workspace, call.id)
        need_sight(call.who, call.id, head.path, head.created_by)
        return step_result(connection, call.workspace, call.id, node)

    found = await call.services.run(read)
    if found is None:
        raise not_found(f"result of step {node[:100]!r} of job {call.id}")
    return raw_answer(json_at(found, call.query.json_path))


# -- what it was given, and printed -------------------------------------------------


@_get("get_args/{id}", returns=Raw)
async def get_args(call: Call[Any, None]) -> web.Response:
    """A job's arguments."""
    await seen_job(call, call.id)
    return raw_answer(await call.services.run(lambda c: job_args(c, call.workspace, call.id)))


async def _log(call: Call[Any, Any]) -> str:
    await seen_job(call, call.id)
    chunks = await call.services.run(lambda c: read_logs(c, call.workspace, call.id))
    return "".join(chunk.text for chunk in chunks)


@_get("get_logs/{id}", returns=str, form="text")
async def get_logs(call: Call[Any, None]) -> web.Response:
    """What a job has printed so far, all attempts after each other."""
    return text_answer(await _log(call))


@_get("get_completed_logs_tail/{id}", returns=str)
async def get_completed_logs_tail(call: Call[Any, None]) -> web.Response:
    """The end of what a job has printed, as a JSON string."""
    return json_answer((await _log(call))[-TAIL_CHARACTERS:])


@_get("get_flow_all_logs/{id}", returns=str, form="text")
async def get_flow_all_logs(call: Call[Any, None]) -> web.Response:
    """What the jobs of a flow have printed, each below its name, the first to end first."""
    await seen_job(call, call.id)
    jobs = await call.services.run(lambda c: jobs_below(c, call.workspace, call.id, MOST_JOBS))
    parts: list[str] = []
    length = 0
    for place in range(0, len(jobs), LOGS_AT_ONCE):
        some = jobs[place : place + LOGS_AT_ONCE]
        logs = await call.services.run(
            partial(read_many_logs, workspace=call.workspace, jobs=[job.id for job in some])
        )
        for job in some:
            if job.id in logs:
                where = "" if job.iteration is None else f"[{job.iteration}]"
                parts.append(f"=== {job.step or 'flow'}{where} {job.path} {job.id}\n{logs[job.id]}\n")
                length += len(parts[-1])
        if length > MOST_CHARACTERS:
            parts.append("[the rest is left out: ask for the logs of each job]\n")
            break
    return text_answer("".join(parts))


# -- its place ---------------------------------------------------------------------


@_get("get_root_job_id/{id}", returns=str)
async def get_root_job_id(call: Call[Any, None]) -> web.Response:
    """The topmost job above a job, as a JSON string: its own id, if it has no parent."""
    await seen_job(call, call.id)
    return json_answer(await call.services.run(lambda c: job_root(c, call.workspace, call.id)))


@routes.post(
    "/w/{workspace}/jobs_u/queue/get_started_at_by_ids",
    also="/w/{workspace}/jobs/queue/get_started_at_by_ids",
    body=list[UUID],
    returns=list[datetime | None],
    action="read",
)
async def get_started_at(call: Call[Any, list[UUID]]) -> web.Response:
    """When each of these jobs began: null, if it has not, or if there is none that you may read."""
    if len(call.body) > MOST_IDS:
        raise Problem(400, "invalid_body", f"At most {MOST_IDS} ids at a time.", "$")
    ids = [str(job) for job in call.body]
    found = await call.services.run(lambda c: jobs_started(c, call.workspace, ids))
    seen = {job.id: job.started_at for job in found.values() if may_see(call.who, job.path, job.created_by)}
    return json_answer([seen.get(job) for job in ids])
