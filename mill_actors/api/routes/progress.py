"""How far a job says that it is, and whether it had better hurry."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from mill_actors.api.answers import json_answer
from mill_actors.api.job_rights import checked_id, steerable
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.store.connection import Connection
from mill_actors.store.job_notes import is_draining, progress, put_progress

routes = Routes("jobs")


class Progress(Struct):
    """How far a job is; `flow_job_id` is not needed to know whose it is."""

    percent: int
    flow_job_id: str | None = None


def _check(connection: Connection, call: Call[Any, Any]) -> str:
    """Return the job's id, of one that the caller may steer, or whose own token it is."""
    job = checked_id(call.id)
    # A step of a flow that one worker holds whole has no row to be looked up.
    if call.who.job != job:
        steerable(connection, call.who, call.workspace, job)
    return job


@routes.post("/w/{workspace}/job_metrics/set_progress/{id}", body=Progress, returns=None, action="run")
async def set_job_progress(call: Call[NoQuery, Progress]) -> web.Response:
    """Say how far a job is, in percent; it is 100 only when it is over."""
    percent = min(max(call.body.percent, 0), 99)

    def work(connection: Connection) -> None:
        put_progress(connection, call.workspace, _check(connection, call), percent)

    await call.services.run(work)
    return json_answer(None)


@routes.get("/w/{workspace}/job_metrics/get_progress/{id}", returns=int | None)
async def get_job_progress(call: Call[Any, Any]) -> web.Response:
    """How far a job said that it is, in percent; null if it did not."""
    return json_answer(await call.services.run(lambda c: progress(c, call.workspace, _check(c, call))))


@routes.get("/w/{workspace}/jobs/worker_is_draining/{id}", returns=bool)
async def worker_is_draining(call: Call[Any, Any]) -> web.Response:
    """Whether the node that runs a job is about to stop, and waits for it."""
    return json_answer(await call.services.run(lambda c: is_draining(c, call.workspace, _check(c, call))))
