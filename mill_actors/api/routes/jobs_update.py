"""Following a job: what is new since the last time, held open until there is something, or as a stream."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from msgspec import Raw
from msgspec.structs import replace

from mill_actors.api.answers import json_answer
from mill_actors.api.job_events import UpdateEvent, stream_job
from mill_actors.api.job_following import Following, UpdateQuery
from mill_actors.api.job_rights import checked_id
from mill_actors.api.job_updates import JobUpdate
from mill_actors.api.routes.jobs_run import (
    RunQuery,
    by_hash,
    by_version,
    check_parent,
    flow_submission,
    submission_of,
)
from mill_actors.api.routing import Call, Routes
from mill_actors.store.submission import Submission

routes = Routes("jobs")

#: How long an answer is held back while there is nothing to tell.
HOLD_SECONDS = 1.0


@routes.get(
    "/w/{workspace}/jobs_u/getupdate/{id}",
    also="/w/{workspace}/jobs/getupdate/{id}",
    query=UpdateQuery,
    returns=JobUpdate,
)
async def get_update(call: Call[UpdateQuery, None]) -> web.Response:
    """What is new about a job; held back for up to a second while there is nothing.

    `log_offset` counts UTF-16 units, from 0: send what the last answer said, or the length of what you have.
    """
    following = Following(call, call.id, call.query)
    _, update, is_new = await following.look()
    if not is_new:
        now = asyncio.get_running_loop().time
        end = now() + HOLD_SECONDS
        async with call.services.watcher.watching(call.id) as news:
            while not is_new and (left := end - now()) > 0 and await news.wait(left):
                following.believe(call.query.running)
                _, update, is_new = await following.look()
    following.keep_place()
    # Whoever asks from time to time has no other place to learn it from.
    status = following.seen.flow_status
    return json_answer(replace(update, flow_status=None if status is None else Raw(status)))


# -- streams -----------------------------------------------------------------------


@routes.get(
    "/w/{workspace}/jobs_u/getupdate_sse/{id}",
    also="/w/{workspace}/jobs/getupdate_sse/{id}",
    query=UpdateQuery,
    returns=UpdateEvent,
    form="events",
)
async def stream_updates(call: Call[UpdateQuery, None]) -> web.StreamResponse:
    """What is new about a job as server-sent events, each a JSON object with a `type`.

    `update` comes at once and whenever something is new; the last one has the job, or its result
    (`only_result`). `ping` says that the stream lives, `timeout` that it ends here, after a minute: come
    again with `log_offset`.
    """
    return await stream_job(call, checked_id(call.id), call.query)


class StreamedRunQuery(RunQuery, kw_only=True):
    """How a job is started, and what its stream tells."""

    get_progress: bool = False
    no_logs: bool = False
    only_result: bool = False


async def _run(call: Call[StreamedRunQuery, bytes], told: Submission) -> web.StreamResponse:
    await check_parent(call, told)
    query = call.query
    receipt = await call.services.submitter.submit(told)
    wanted = UpdateQuery(
        get_progress=query.get_progress, no_logs=query.no_logs, only_result=query.only_result
    )
    return await stream_job(call, receipt.id, wanted)


_STREAM: dict[str, Any] = {
    "query": StreamedRunQuery,
    "body": bytes,
    "returns": UpdateEvent,
    "form": "events",
    "action": "run",
}


@routes.post("/w/{workspace}/jobs/run_and_stream/p/{path*}", **_STREAM)
async def stream_script_by_path(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """Run a script, and answer what comes of it as server-sent events, as getupdate_sse has them."""
    return await _run(call, submission_of(call, call.path, "script"))


@routes.get("/w/{workspace}/jobs/run_and_stream/p/{path*}", **_STREAM)
async def stream_script_by_path_get(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """The same by GET: `payload` is base64 of the arguments."""
    return await _run(call, submission_of(call, call.path, "script"))


@routes.post("/w/{workspace}/jobs/run_and_stream/f/{path*}", **_STREAM)
async def stream_flow_by_path(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """Run a flow, and answer what comes of it as server-sent events."""
    return await _run(call, await flow_submission(call, call.path))


@routes.get("/w/{workspace}/jobs/run_and_stream/f/{path*}", **_STREAM)
async def stream_flow_by_path_get(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """The same by GET."""
    return await _run(call, await flow_submission(call, call.path))


@routes.post("/w/{workspace}/jobs/run_and_stream/h/{hash}", **_STREAM)
async def stream_script_by_hash(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """Run one version of a script, and answer what comes of it as server-sent events."""
    return await _run(call, await by_hash(call))


@routes.get("/w/{workspace}/jobs/run_and_stream/h/{hash}", **_STREAM)
async def stream_script_by_hash_get(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """The same by GET."""
    return await _run(call, await by_hash(call))


@routes.post("/w/{workspace}/jobs/run_and_stream/fv/{version}", **_STREAM)
async def stream_flow_by_version(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """Run one version of a flow, and answer what comes of it as server-sent events."""
    return await _run(call, await by_version(call))


@routes.get("/w/{workspace}/jobs/run_and_stream/fv/{version}", **_STREAM)
async def stream_flow_by_version_get(call: Call[StreamedRunQuery, bytes]) -> web.StreamResponse:
    """The same by GET."""
    return await _run(call, await by_version(call))
