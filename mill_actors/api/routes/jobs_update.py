"""Following a job: what is new since the last time, held open until there is something, or as a stream."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from msgspec import Raw, Struct
from msgspec.structs import replace

from mill_actors.api.answers import json_answer
from mill_actors.api.job_access import need_sight
from mill_actors.api.job_updates import JobUpdate, Place, Seen, is_news, look
from mill_actors.api.problems import Problem
from mill_actors.api.routing import Call, Routes
from mill_actors.store.job_reading import JobGlance

routes = Routes("jobs")

#: How long an answer is held back while there is nothing to tell.
HOLD_SECONDS = 1.0
#: Nobody has a log that is as long.
MOST_OFFSET = 2**40


class UpdateQuery(Struct, kw_only=True):
    """What the caller has seen."""

    #: what he believes of the job
    running: bool | None = None
    log_offset: int | None = None
    get_progress: bool = False
    no_logs: bool = False
    only_result: bool = False


def seen_of(call: Call[UpdateQuery, Any], job: str) -> Seen:
    """Return what the caller says that he has seen."""
    told = call.query
    offset = told.log_offset or 0
    if not 0 <= offset <= MOST_OFFSET:
        raise Problem(400, "invalid_query", "No log has such an offset.", "$.log_offset")
    place = call.services.places.find(job, offset) if offset else Place()
    return Seen(told.running, place, offset, logs=not told.no_logs)


@routes.get("/w/{workspace}/jobs_u/getupdate/{id}", query=UpdateQuery, returns=JobUpdate)
async def get_update(call: Call[UpdateQuery, None]) -> web.Response:
    """What is new about a job; held back for up to a second while there is nothing.

    `log_offset` counts UTF-16 units, from 0: send what the last answer said, or the length of what you have.
    """
    job = call.id
    seen = seen_of(call, job)

    async def again(before: Seen) -> tuple[JobGlance, JobUpdate, Seen]:
        head, update, after = await call.services.run(lambda c: look(c, call.workspace, job, before))
        need_sight(call.who, job, head.path, head.created_by)
        return head, update, after

    head, update, after = await again(seen)
    if not is_news(head, update, seen):
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        async with call.services.watcher.watching(job) as news:
            while (left := deadline - asyncio.get_running_loop().time()) > 0 and await news.wait(left):
                before = replace(after, running=seen.running)
                head, update, after = await again(before)
                if is_news(head, update, before):
                    break
    call.services.places.keep(job, after.place)
    # Whoever asks from time to time has no other place to learn it from.
    status = None if after.flow_status is None else Raw(after.flow_status)
    return json_answer(replace(update, flow_status=status))
