"""Starting jobs: by path, by hash, by a flow's version; and waiting for what comes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Raw
from msgspec.structs import replace

from mill_actors.api.answers import text_answer
from mill_actors.api.arguments import ArgumentQuery, arguments, event_of
from mill_actors.api.job_rights import checked_id, steerable
from mill_actors.api.problems import Problem, invalid, not_found
from mill_actors.api.results import result_answer
from mill_actors.api.routing import Call, Routes
from mill_actors.errors import JobNotFound, MillError
from mill_actors.ids import new_id
from mill_actors.jobs.jsons import encode
from mill_actors.jobs.retry import RetryPolicy
from mill_actors.jobs.script import is_preview
from mill_actors.store.connection import Connection
from mill_actors.store.jobs import cancel_job
from mill_actors.store.runnables import flow_version, has_preprocessor, script_version
from mill_actors.store.submission import Submission

routes = Routes("jobs")

Kind = Literal["script", "flow"]


class RunQuery(ArgumentQuery, kw_only=True):
    """How a job is started."""

    scheduled_for: datetime | None = None
    scheduled_in_secs: float | None = None
    parent_job: str | None = None
    tag: str | None = None
    #: an id of the caller's choice
    job_id: str | None = None
    #: the retry policy as JSON
    retry: str | None = None
    #: seconds
    timeout: float | None = None
    skip_preprocessor: bool = False
    cache_ttl: int | None = None


def submission_of(call: Call[Any, bytes], path: str, kind: Kind, digest: str | None = None) -> Submission:
    """Return what is to be submitted; raise a `Problem` if the caller may not, or it makes no sense."""
    told: RunQuery = call.query
    who = call.who
    who.need_run(kind, path)
    return Submission(
        workspace=call.workspace,
        path=path,
        hash=digest,
        kind=kind,
        args=arguments(call.request, call.body or b"", told),
        created_by=who.owner,
        id=told.job_id or None,
        key=call.request.headers.get("Idempotency-Key"),
        tag=told.tag or None,
        scheduled_for=told.scheduled_for,
        scheduled_in_seconds=told.scheduled_in_secs,
        timeout_seconds=told.timeout,
        retry=retry_of(told.retry),
        parent_job=told.parent_job or None,
    )


async def flow_submission(call: Call[Any, bytes], path: str, digest: str | None = None) -> Submission:
    """Return what is to be submitted of a flow; its preprocessor, if any, gets the request as `event`."""
    told = submission_of(call, path, "flow", digest)
    if call.query.skip_preprocessor:
        return told
    asks = await call.services.run(lambda c: has_preprocessor(c, call.workspace, path, digest))
    if not asks:
        return told
    return replace(
        told, preprocess=True, args=encode({"event": event_of(call.request, call.body, call.query)})
    )


def retry_of(text: str | None) -> RetryPolicy | None:
    """Return what a `retry` parameter says; raise a 400 `Problem`."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=RetryPolicy)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(error, "query") from error


async def check_parent(call: Call[Any, Any], told: Submission) -> None:
    """Raise a 403 `Problem` for a parent that is not the caller's to steer: its jobs are told together."""
    if told.parent_job is None:
        return
    parent = checked_id(told.parent_job)
    # A step of a flow that one worker holds whole has no row to be looked up, and speaks for itself.
    if call.who.job != parent:
        with suppress(JobNotFound):
            await call.services.run(lambda c: steerable(c, call.who, call.workspace, parent))


async def start(call: Call[Any, Any], told: Submission) -> web.Response:
    """Submit; answer the id."""
    await check_parent(call, told)
    receipt = await call.services.submitter.submit(told)
    return text_answer(receipt.id, 201)


async def wait(call: Call[Any, Any], told: Submission) -> web.Response:
    """Submit, and answer the result when it is there."""
    await check_parent(call, told)
    services = call.services
    is_known = told.id is not None or told.key is not None
    if is_known:
        fresh = (await services.submitter.submit(told)).id
        future = await services.watch(fresh)
    else:
        fresh = new_id()
        future = await services.expect(fresh)
    try:
        if not is_known:
            await services.submitter.submit(replace(told, awaited=True), fresh)
        async with asyncio.timeout(services.config.server.wait_seconds):
            result = await services.result(future)
    except TimeoutError:
        raise Problem(504, "timeout", f"Job {fresh} has no result yet; it goes on.", job=fresh) from None
    except asyncio.CancelledError:
        if services.is_over:
            raise Problem(503, "stopping", f"The server stops; job {fresh} goes on.", job=fresh) from None
        if not is_known:
            # Whoever waited has gone, and nobody was told of the job.
            with suppress(MillError):  # it is over, was never written, or the database is away
                await asyncio.shield(services.run(lambda connection: _abandon(connection, call, fresh)))
        raise
    finally:
        # Of one that was refused, or whose caller has gone, nobody else would.
        future.cancel()
    return result_answer(result)


def _abandon(connection: Connection, call: Call[Any, Any], job: str) -> None:
    cancel_job(
        connection, call.workspace, job, by=call.who.owner, reason="whoever waited has gone", force=False
    )


async def by_hash(call: Call[Any, bytes]) -> Submission:
    """Return what a hash in the route's path means."""
    digest = call.names["hash"]
    if is_preview(digest) and call.who.is_operator:
        raise Problem(403, "forbidden", "Operators run what is deployed, and nothing else.")
    path = await call.services.run(lambda c: script_version(c, call.workspace, digest))
    if path is None:
        raise not_found(f"script version {digest!r}")
    return submission_of(call, path, "script", digest)


async def by_version(call: Call[Any, bytes]) -> Submission:
    """Return what a flow's version in the route's path means."""
    number = call.names["version"]
    found = await call.services.run(lambda c: flow_version(c, call.workspace, number))
    if found is None:
        raise not_found(f"flow version {number!r}")
    path, digest = found
    return await flow_submission(call, path, digest)


_RUN: dict[str, Any] = {
    "query": RunQuery,
    "body": bytes,
    "returns": str,
    "status": 201,
    "form": "text",
    "action": "run",
}
_WAIT: dict[str, Any] = {"query": RunQuery, "body": bytes, "returns": Raw, "action": "run"}


@routes.post("/w/{workspace}/jobs/run/p/{path*}", **_RUN)
async def run_script_by_path(call: Call[RunQuery, bytes]) -> web.Response:
    """Start what a script's path means now; answers the job's id once the job is durable."""
    return await start(call, submission_of(call, call.path, "script"))


@routes.post("/w/{workspace}/jobs/run/f/{path*}", **_RUN)
async def run_flow_by_path(call: Call[RunQuery, bytes]) -> web.Response:
    """Start what a flow's path means now; answers the job's id."""
    return await start(call, await flow_submission(call, call.path))


@routes.post("/w/{workspace}/jobs/run/h/{hash}", **_RUN)
async def run_script_by_hash(call: Call[RunQuery, bytes]) -> web.Response:
    """Start one version of a script; answers the job's id."""
    return await start(call, await by_hash(call))


@routes.post("/w/{workspace}/jobs/run/fv/{version}", **_RUN)
async def run_flow_by_version(call: Call[RunQuery, bytes]) -> web.Response:
    """Start one version of a flow; answers the job's id."""
    return await start(call, await by_version(call))


@routes.post("/w/{workspace}/jobs/run_wait_result/p/{path*}", **_WAIT)
async def wait_script_by_path(call: Call[RunQuery, bytes]) -> web.Response:
    """Run a script, and answer its result: 200, or 422 if it failed, or as the result says itself."""
    return await wait(call, submission_of(call, call.path, "script"))


@routes.get("/w/{workspace}/jobs/run_wait_result/p/{path*}", **_WAIT)
async def wait_script_by_path_get(call: Call[RunQuery, bytes]) -> web.Response:
    """The same by GET: `payload` is base64 of the arguments."""
    return await wait(call, submission_of(call, call.path, "script"))


@routes.post("/w/{workspace}/jobs/run_wait_result/f/{path*}", **_WAIT)
async def wait_flow_by_path(call: Call[RunQuery, bytes]) -> web.Response:
    """Run a flow, and answer its result."""
    return await wait(call, await flow_submission(call, call.path))


@routes.get("/w/{workspace}/jobs/run_wait_result/f/{path*}", **_WAIT)
async def wait_flow_by_path_get(call: Call[RunQuery, bytes]) -> web.Response:
    """The same by GET."""
    return await wait(call, await flow_submission(call, call.path))


@routes.post("/w/{workspace}/jobs/run_wait_result/h/{hash}", **_WAIT)
async def wait_script_by_hash(call: Call[RunQuery, bytes]) -> web.Response:
    """Run one version of a script, and answer its result."""
    return await wait(call, await by_hash(call))


@routes.post("/w/{workspace}/jobs/run_wait_result/fv/{version}", **_WAIT)
async def wait_flow_by_version(call: Call[RunQuery, bytes]) -> web.Response:
    """Run one version of a flow, and answer its result."""
    return await wait(call, await by_version(call))
