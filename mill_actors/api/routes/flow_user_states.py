"""Values that the steps of a flow keep for each other, under the job of the whole flow."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Raw

from mill_actors.api.answers import raw_answer, text_answer
from mill_actors.api.job_rights import checked_id, may_steer, steerable
from mill_actors.api.problems import Problem, not_found
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.errors import JobNotFound
from mill_actors.jobs.jsons import decode
from mill_actors.store.connection import Connection
from mill_actors.store.job_control import job_head
from mill_actors.store.job_notes import put_user_state, user_state

routes = Routes("jobs")

#: Beyond it an index has no room for it.
LONGEST_KEY = 255


@routes.get("/w/{workspace}/jobs/flow/user_states/{id}/{key*}", returns=Raw)
async def get_flow_user_state(call: Call[Any, Any]) -> web.Response:
    """What was kept under a key; null if nothing was, or there is no such flow."""
    job = checked_id(call.id)

    def work(connection: Connection) -> str | None:
        try:
            head = job_head(connection, call.workspace, job)
        except JobNotFound:
            return None
        if not may_steer(call.who, head):
            raise Problem(403, "forbidden", f"{call.who.owner} may not read jobs of {head.path}.", head.path)
        return user_state(connection, call.workspace, job, call.names["key"])

    return raw_answer(await call.services.run(work))


@routes.post(
    "/w/{workspace}/jobs/flow/user_states/{id}/{key*}", body=bytes, returns=str, form="text", action="run"
)
async def set_flow_user_state(call: Call[NoQuery, bytes]) -> web.Response:
    """Keep any JSON under a key of a flow that runs; no body is null."""
    key = call.names["key"]
    if len(key) > LONGEST_KEY:
        raise Problem(400, "invalid_path", f"A key has up to {LONGEST_KEY} characters.", "$.key")
    value = call.body.strip() or b"null"
    try:
        decode(value)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_body", f"The body is not JSON: {error}") from None

    def work(connection: Connection) -> None:
        head = steerable(connection, call.who, call.workspace, call.id)
        if not head.is_flow or head.status is not None:
            raise not_found(f"flow {head.id} that runs")
        put_user_state(connection, call.workspace, head.id, key, value)

    await call.services.run(work)
    return text_answer("kept")
