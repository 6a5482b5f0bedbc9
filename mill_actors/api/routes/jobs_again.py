"""Running jobs once more, flows from a step on, and what waits for its time now."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Raw, Struct

from mill_actors.api.answers import text_answer
from mill_actors.api.job_rights import steerable
from mill_actors.api.permissions import as_told
from mill_actors.api.problems import Problem, problem_of
from mill_actors.api.routes.jobs_run import RunQuery, start
from mill_actors.api.routing import Call, NoQuery, Routes
from mill_actors.flows.definition import InputTransform, Javascript, Static
from mill_actors.jobs.script import is_preview
from mill_actors.store.connection import Connection
from mill_actors.store.flow_control import plan_restart
from mill_actors.store.flow_versions import FlowText, flow_by_hash
from mill_actors.store.job_control import MOST_JOBS, JobHead, run_now
from mill_actors.store.rerun import plan_rerun
from mill_actors.store.runnables import flow_version
from mill_actors.store.submission import Submission

routes = Routes("jobs")

#: So many are submitted together.
GROUP = 100


class Transform(Struct):
    """An argument: a value as it stands, or an expression."""

    type: Literal["static", "javascript"]
    value: Raw = msgspec.field(default_factory=lambda: Raw(b"null"))
    expr: str = ""

    @property
    def told(self) -> InputTransform:
        """The same as flows have it."""
        return Static(self.value) if self.type == "static" else Javascript(self.expr)


class RerunOptions(Struct):
    """How jobs of a path are run again."""

    #: further arguments; expressions see `job.input`, `job.id`, `job.path`, `job.scheduled_for`
    input_transforms: dict[str, Transform] = {}
    use_latest_version: bool = False


class Rerun(Struct):
    """Which jobs, and how those of a path."""

    job_ids: list[str]
    script_options_by_path: dict[str, RerunOptions] = {}
    flow_options_by_path: dict[str, RerunOptions] = {}


class RestartAt(Struct):
    """Where a flow begins."""

    step_id: str
    branch_or_iteration_n: int | None = None
    #: the number of another version
    flow_version: int | None = None
    nested_path: list[Any] | None = None


@routes.post(
    "/w/{workspace}/jobs/run/batch_rerun_jobs",
    body=Rerun,
    returns=str,
    status=201,
    form="events",
    action="run",
)
async def batch_rerun_jobs(call: Call[NoQuery, Rerun]) -> web.StreamResponse:
    """Run jobs once more, with their arguments: a line for each, the new job's id or `Error: …`.

    They run the version that they ran, or what their path means now if `use_latest_version` says so.
    """
    ids = call.body.job_ids
    if len(ids) > MOST_JOBS:
        raise Problem(400, "invalid_body", f"Up to {MOST_JOBS:,} jobs are run again at a time.", "$.job_ids")
    response = web.StreamResponse(status=201, headers={"Content-Type": "text/event-stream"})
    await response.prepare(call.request)
    for begin in range(0, len(ids), GROUP):
        lines = await asyncio.gather(*(_rerun(call, each) for each in ids[begin : begin + GROUP]))
        await response.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    await response.write_eof()
    return response


async def _rerun(call: Call[NoQuery, Rerun], job: str) -> str:
    def plan(connection: Connection) -> Submission:
        head = steerable(connection, call.who, call.workspace, job)
        _check_runnable(call, head)
        by_path = call.body.flow_options_by_path if head.is_flow else call.body.script_options_by_path
        options = by_path.get(head.path) or RerunOptions()
        return plan_rerun(
            connection,
            call.workspace,
            head.id,
            latest=options.use_latest_version,
            transforms={name: each.told for name, each in options.input_transforms.items()},
        )

    try:
        planned = await call.services.run(plan)
        told = msgspec.structs.replace(planned, created_by=call.who.owner)
        return (await call.services.submitter.submit(told)).id
    except Exception as error:  # noqa: BLE001  each job has its line
        return "Error: " + " ".join(str(problem_of(as_told(error, call.who))).split())


def _check_runnable(call: Call[Any, Any], job: JobHead) -> None:
    """Raise a 403 `Problem` for what the caller may not start: having started it once is not enough."""
    call.who.need_run("flow" if job.is_flow else "script", job.path)
    if is_preview(job.script) and call.who.is_operator:
        raise Problem(403, "forbidden", "Operators run what is deployed, and nothing else.")


@routes.post(
    "/w/{workspace}/jobs/restart/f/{id}",
    query=RunQuery,
    body=RestartAt,
    returns=str,
    status=201,
    form="text",
    action="run",
)
async def restart_flow_at_step(call: Call[RunQuery, RestartAt]) -> web.Response:
    """Begin a finished flow anew at a step of its own, or at an iteration or branch of one; answers the id.

    What came before has the results of the old run. The flow runs as its path means it now.
    """
    told = call.body
    if told.nested_path:
        raise Problem(400, "refused", "A flow begins at a step of its own, not inside one.", "$.nested_path")

    def plan(connection: Connection) -> Submission:
        head = steerable(connection, call.who, call.workspace, call.id)
        _check_runnable(call, head)
        now = None if told.flow_version is None else _version(connection, call, head.path)
        return plan_restart(
            connection, call.workspace, head.id, told.step_id, told.branch_or_iteration_n or 0, now=now
        )

    planned = await call.services.run(plan)
    query = call.query
    return await start(
        call,
        msgspec.structs.replace(
            planned,
            created_by=call.who.owner,
            id=query.job_id or None,
            tag=query.tag or None,
            scheduled_for=query.scheduled_for,
            scheduled_in_seconds=query.scheduled_in_secs,
            parent_job=query.parent_job or None,
        ),
    )


def _version(connection: Connection, call: Call[Any, RestartAt], path: str) -> FlowText:
    number = str(call.body.flow_version)
    found = flow_version(connection, call.workspace, number)
    text = None if found is None else flow_by_hash(connection, call.workspace, found[1])
    if found is None or text is None or found[0] != path:
        raise Problem(404, "not_found", f"There is no version {number} of {path}.", "$.flow_version")
    return text


@routes.post("/w/{workspace}/jobs/queue/run_now/{id}", returns=str, form="text", action="run")
async def run_queued_job_now(call: Call[NoQuery, None]) -> web.Response:
    """Let a job run that waits for its time; one that does not is no error unless it is over."""

    def work(connection: Connection) -> str:
        head = steerable(connection, call.who, call.workspace, call.id)
        if head.status is not None:
            raise Problem(400, "refused", f"Job {head.id} is over.")
        run_now(connection, call.workspace, head.id)
        return head.id

    return text_answer(await call.services.run(work))
